//! MTA-STS policies of the rows: their records, what their hosts say, and how they say it wrongly.

use std::fs;
use std::path::Path;

use crate::harness::certificates::{Certificate, self_signed};
use crate::harness::nginx::{Site, policy};
use crate::published::Addresses;
use crate::row::{Row, Zone};
use crate::server::Certificates;

/// What a row's domain has.
#[derive(Clone, Debug)]
pub struct Policy {
    pub mode: &'static str,
    /// Patterns; `{d}` is the domain. Empty: the exchangers' names.
    pub mx: &'static [&'static str],
    pub served: Served,
    pub record: Record,
}

/// How the policy host behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    Well,
    /// Its name is a CNAME to the host of somebody else, which knows the name (RFC 8461 §8.2).
    ByAlias,
    NotFound,
    /// 301 to where the policy is.
    Redirected,
    AsHtml,
    ExpiredCertificate,
    WrongName,
    SelfSigned,
    Oversized,
    /// `mode` has a value that is none.
    Malformed,
    /// Nobody listens there.
    Down,
    /// It has no address.
    Nowhere,
}

/// What stands at `_mta-sts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    One,
    /// Two valid ones: none counts.
    Two,
    WithoutId,
    /// One, and a TXT record of another kind.
    BesideAnother,
    /// A CNAME to the record.
    ByAlias,
    Missing,
}

/// The lines of the zone: the record, and the policy host.
pub fn records(row: &Row, policy: &Policy, at: &Addresses<'_>) -> Vec<(Zone, String)> {
    let (domain, zone) = (row.domain(), row.zone);
    let owner = format!("_mta-sts.{domain}");
    let text = |id: &str| format!("TXT \"v=STSv1; id={id};\"");
    let mut lines = match policy.record {
        Record::One => vec![format!("{owner}. {}", text("1"))],
        Record::Two => vec![format!("{owner}. {}", text("1")), format!("{owner}. {}", text("2"))],
        Record::WithoutId => vec![format!("{owner}. TXT \"v=STSv1;\"")],
        Record::BesideAnother => {
            vec![format!("{owner}. {}", text("1")), format!("{owner}. TXT \"of another kind\"")]
        }
        Record::ByAlias => {
            let target = format!("_sts.{domain}");
            vec![format!("{owner}. CNAME {target}."), format!("{target}. {}", text("1"))]
        }
        Record::Missing => vec![],
    };
    let host = format!("mta-sts.{domain}");
    lines.extend(match policy.served {
        Served::Nowhere => vec![],
        Served::Down => vec![format!("{host}. A {}", at.nobody)],
        Served::ByAlias => vec![
            format!("{host}. CNAME policies.{domain}."),
            format!("policies.{domain}. A {}", at.policy_hosts),
        ],
        _ => vec![format!("{host}. A {}", at.policy_hosts)],
    });
    lines.into_iter().map(|line| (zone, line)).collect()
}

/// The policy's text (RFC 8461 §3.2).
pub fn policy_text(mode: &str, mx: &[String]) -> String {
    let mx: String = mx.iter().map(|pattern| format!("mx: {pattern}\r\n")).collect();
    format!("version: STSv1\r\nmode: {mode}\r\n{mx}max_age: 86400\r\n")
}

fn text_of(row: &Row, policy: &Policy) -> String {
    let mx: Vec<String> = match policy.mx {
        [] => (0..row.hosts.len()).map(|number| row.host_name(number)).collect(),
        patterns => patterns.iter().map(|p| p.replace("{d}", &row.domain())).collect(),
    };
    let mode = if policy.served == Served::Malformed { "strict" } else { policy.mode };
    let mut text = policy_text(mode, &mx);
    if policy.served == Served::Oversized {
        text += &format!("comment: {}\r\n", "x".repeat(70_000));
    }
    text
}

/// The certificates of the policy hosts, by the names that sites have for them.
pub fn certificates(rows: &[Row], of: &Certificates) -> Vec<(&'static str, Certificate)> {
    let hosts = rows.iter().filter(|row| row.policy.is_some());
    let names: Vec<String> = hosts.map(|row| format!("mta-sts.{}", row.domain())).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    vec![
        ("good", of.trusted.leaf(&names)),
        ("expired", of.trusted.expired(&names)),
        ("wrong-name", of.trusted.leaf(&["mta-sts.elsewhere.test"])),
        ("self-signed", self_signed(&names)),
    ]
}

/// A site for each row with a policy; the texts lie in `folder`.
pub fn sites(rows: &[Row], folder: &Path) -> Vec<Site> {
    let of = |row: &Row| {
        let said = row.policy.as_ref()?;
        let name = format!("mta-sts.{}", row.domain());
        let file = folder.join(&name);
        fs::write(&file, text_of(row, said)).unwrap();
        let well = policy(&file, "text/plain");
        let (certificate, lines) = match said.served {
            Served::Well | Served::ByAlias | Served::Oversized | Served::Malformed => {
                ("good", well)
            }
            Served::NotFound => ("good", "return 404;".to_owned()),
            Served::Redirected => {
                let elsewhere = policy(&file, "text/plain").replace("/.well-known", "/there");
                let here = "location /.well-known { return 301 /there/mta-sts.txt; }";
                ("good", format!("{here} {elsewhere}"))
            }
            Served::AsHtml => ("good", policy(&file, "text/html")),
            Served::ExpiredCertificate => ("expired", well),
            Served::WrongName => ("wrong-name", well),
            Served::SelfSigned => ("self-signed", well),
            Served::Down | Served::Nowhere => return None,
        };
        Some(Site { name, certificate, lines })
    };
    rows.iter().filter_map(of).collect()
}
