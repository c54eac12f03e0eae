//! `probe`: the findings of a target, passed on as they come.

use std::io;

use serde_json::json;
use tokio::sync::mpsc;

use posthaste_mail::address::Host;
use posthaste_mail::admin::request::{self, Request};
use posthaste_mail::route::destination::DestinationKey;

use crate::admin::connection::{Fault, Line};
use crate::admin::method::{Answer, params};
use crate::admin::{Desk, RemoteDoor};
use crate::messages::admin::Examine;

pub(super) async fn probe(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let (door, destination) = match wanted(request, desk) {
        Ok(wanted) => wanted,
        Err(fault) => return Ok(Err(fault)),
    };
    let (to, mut findings) = mpsc::unbounded_channel();
    match door.examine.send(Examine { destination, findings: to }).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => return Ok(Err(Fault::refused(why))),
        Err(e) => {
            return Ok(Err(Fault::internal(format!("{} does not answer: {e}", door.name))));
        }
    }
    let mut count = 0;
    loop {
        let finding = tokio::select! {
            finding = findings.recv() => finding,
            // Nobody waits for it, or he has much else to say: others may have the place.
            () = line.reader.is_over() => return Ok(Ok(json!({ "ended": true }))),
        };
        match finding {
            Some(finding) => line.item(request, json!(finding)).await?,
            None => return Ok(Ok(json!({ "count": count }))),
        }
        count += 1;
    }
}

fn wanted<'a>(
    request: &Request,
    desk: &'a Desk,
) -> Result<(&'a RemoteDoor, DestinationKey), Fault> {
    let request::Probe { domain, target } = params(request)?;
    let destination = match Host::parse(&domain) {
        Ok(Host::Domain(domain)) => DestinationKey::Domain(domain),
        Ok(Host::Literal(address)) => DestinationKey::Literal(address),
        Ok(Host::Unqualified) => DestinationKey::Unqualified,
        Err(e) => return Err(Fault::params(format!("domain {domain:?}: {e}"))),
    };
    let names: Vec<&str> = desk.remotes.iter().map(|door| door.name.as_str()).collect();
    let known = names.join(", ");
    let is_forwarder = |name: &String| desk.servers.iter().any(|servers| servers.target() == name);
    let door = match (&target, &desk.remotes[..]) {
        // Its servers are no affair of the domain.
        (Some(name), _) if is_forwarder(name) => Err(format!(
            "{name} is no target.remote, its servers are those of the configuration: posthaste explain '&{name}'"
        )),
        (_, []) if !desk.servers.is_empty() => Err(format!(
            "there is no target.remote; posthaste explain {domain} tells of mail that waits for a forwarder"
        )),
        (_, []) => Err("there is no target.remote".to_string()),
        (None, [only]) => Ok(only),
        (None, _) => Err(format!("which target.remote? There are: {known}")),
        (Some(name), doors) => doors
            .iter()
            .find(|door| door.name == *name)
            .ok_or_else(|| format!("no target.remote {name}; there are: {known}")),
    };
    Ok((door.map_err(Fault::refused)?, destination))
}
