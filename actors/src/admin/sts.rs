//! The caches of MTA-STS: `sts.list`, `sts.show`, `sts.refresh`, `sts.forget`.

use std::io;

use actix::Recipient;
use serde_json::json;
use slog::info;

use posthaste_mail::address::Domain;
use posthaste_mail::admin::request::{Request, Sts};

use crate::admin::Desk;
use crate::admin::connection::{Fault, Line};
use crate::admin::method::{Answer, params};
use crate::messages::policy::{ForgetPolicy, RefreshPolicy, ShowPolicies, ShowPolicy};

/// A cache as the operator's requests reach it.
#[derive(Clone)]
pub struct StsDoor {
    /// Of the `mx_auth` block that it belongs to.
    pub name: String,
    pub list: Recipient<ShowPolicies>,
    pub show: Recipient<ShowPolicy>,
    pub refresh: Recipient<RefreshPolicy>,
    pub forget: Recipient<ForgetPolicy>,
}

/// Caches that are meant; there is at least one.
fn meant<'a>(desk: &'a Desk, which: &Sts) -> Result<Vec<&'a StsDoor>, Fault> {
    if desk.caches.is_empty() {
        return Err(Fault::refused("no mtasts cache is configured"));
    }
    let wanted = |door: &&StsDoor| which.cache.as_ref().is_none_or(|name| *name == door.name);
    let doors: Vec<&StsDoor> = desk.caches.iter().filter(wanted).collect();
    if doors.is_empty() {
        let known: Vec<&str> = desk.caches.iter().map(|door| door.name.as_str()).collect();
        let name = which.cache.as_deref().unwrap_or_default();
        return Err(Fault::refused(format!("no cache {name}; there are: {}", known.join(", "))));
    }
    Ok(doors)
}

fn domain(which: &Sts) -> Result<Domain, Fault> {
    let text = which.domain.as_deref().ok_or_else(|| Fault::params("missing field `domain`"))?;
    Domain::parse(text).map_err(|e| Fault::params(format!("{text}: {e}")))
}

fn silent(door: &StsDoor) -> Fault {
    Fault::internal(format!("cache {} does not answer", door.name))
}

/// A line for each policy, page by page.
pub(super) async fn list(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let doors = match params(request).and_then(|which| meant(desk, &which)) {
        Ok(doors) => doors,
        Err(fault) => return Ok(Err(fault)),
    };
    let mut count = 0;
    for door in doors {
        let mut after = None;
        loop {
            let Ok(page) = door.list.send(ShowPolicies { after }).await else {
                return Ok(Err(silent(door)));
            };
            for policy in page.lines {
                line.item(request, json!(policy)).await?;
                count += 1;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(Ok(json!({ "count": count })))
}

/// What each cache has of one domain. One of them is enough.
pub(super) async fn show(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let (domain, doors) = match one_domain(request, desk) {
        Ok(meant) => meant,
        Err(fault) => return Ok(Err(fault)),
    };
    let (mut count, mut none) = (0, Vec::new());
    for door in doors {
        match door.show.send(ShowPolicy { domain: domain.clone() }).await {
            Ok(Ok(view)) => {
                line.item(request, json!(view)).await?;
                count += 1;
            }
            Ok(Err(why)) => none.push(format!("{}: {why}", door.name)),
            Err(_) => return Ok(Err(silent(door))),
        }
    }
    if count == 0 {
        return Ok(Err(Fault::refused(none.join("; "))));
    }
    Ok(Ok(json!({ "count": count })))
}

/// Every cache fetches it; the ones that cannot are told at the end.
pub(super) async fn refresh(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let (domain, doors) = match one_domain(request, desk) {
        Ok(meant) => meant,
        Err(fault) => return Ok(Err(fault)),
    };
    let (mut count, mut failed) = (0, Vec::new());
    for door in doors {
        match door.refresh.send(RefreshPolicy { domain: domain.clone() }).await {
            Ok(Ok(view)) => {
                line.item(request, json!(view)).await?;
                count += 1;
            }
            Ok(Err(why)) => failed.push(format!("{}: {why}", door.name)),
            Err(_) => return Ok(Err(silent(door))),
        }
    }
    if failed.is_empty() {
        return Ok(Ok(json!({ "count": count })));
    }
    Ok(Err(Fault::refused(failed.join("; "))))
}

pub(super) async fn forget(request: &Request, uid: u32, desk: &Desk) -> Answer {
    let (domain, doors) = one_domain(request, desk)?;
    let mut forgotten = 0;
    for door in doors {
        match door.forget.send(ForgetPolicy { domain: domain.clone() }).await {
            Ok(was_there) => forgotten += u64::from(was_there),
            Err(_) => return Err(silent(door)),
        }
    }
    info!(desk.log, "MTA-STS policy forgotten"; "domain" => %domain, "uid" => uid,
        "caches" => forgotten);
    if forgotten == 0 {
        return Err(Fault::refused(format!("no policy of {domain} in the cache")));
    }
    Ok(json!({ "forgotten": forgotten }))
}

fn one_domain<'a>(request: &Request, desk: &'a Desk) -> Result<(Domain, Vec<&'a StsDoor>), Fault> {
    let which: Sts = params(request)?;
    let doors = meant(desk, &which)?;
    Ok((domain(&which)?, doors))
}
