//! `probe` for people: a part for each finding, in the order in which they come, and the verdict at the end.

use std::io;

use posthaste_mail::admin::finding::{
    AddressLine, AddressStanding, ContactLine, ExchangersLine, Finding, HostLine, PolicyLine,
    SessionView, VerdictEnd, VerdictLine,
};
use posthaste_mail::outcome::{Failure, SessionFacts};

use crate::show::event::session;
use crate::show::page::{Page, Tone};

#[derive(Default)]
pub struct Report {
    verdict: Option<VerdictLine>,
    begun: bool,
}

impl Report {
    pub fn finding(&mut self, page: &mut Page<'_>, finding: Finding) -> io::Result<()> {
        match finding {
            Finding::Exchangers(line) => {
                self.part(page, Tone::Title, &exchangers(&line))?;
                for host in &line.hosts {
                    page.plain(&format!("  {:>5} {}", host.preference, host.host))?;
                }
                trouble(page, line.failure.as_ref())
            }
            Finding::Host(line) => {
                self.part(page, Tone::Title, &host(&line))?;
                for address in &line.addresses {
                    page.plain(&format!("  {}", of_address(address)))?;
                }
                trouble(page, line.failure.as_ref())
            }
            Finding::Policies(line) => {
                self.part(page, Tone::Title, &format!("policies for {}", line.host))?;
                policies(page, &line)
            }
            Finding::Contact(line) => self.contact(page, &line),
            Finding::Verdict(line) => {
                self.verdict = Some(line);
                Ok(())
            }
            Finding::Stopped { why } => self.part(page, Tone::Bad, &why),
        }
    }

    fn contact(&mut self, page: &mut Page<'_>, line: &ContactLine) -> io::Result<()> {
        let beside = if line.in_attempt { "" } else { ", which a delivery now does not need" };
        self.part(page, Tone::Title, &format!("{}{beside}", place(&line.host, &line.address)))?;
        if let Some(failure) = &line.failure {
            page.line(Tone::Bad, &format!("  no session: {}", told(failure)))?;
        }
        match &line.session {
            Some(view) => of_session(page, view),
            None => Ok(()),
        }
    }

    pub fn end(&mut self, page: &mut Page<'_>) -> io::Result<()> {
        let Some(line) = self.verdict.take() else { return Ok(()) };
        let (tone, text) = verdict(&line);
        self.part(page, tone, &text)
    }

    /// The first line of a part, with a blank one before it.
    fn part(&mut self, page: &mut Page<'_>, tone: Tone, text: &str) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            page.plain("")?;
        }
        page.line(tone, text)
    }
}

fn exchangers(line: &ExchangersLine) -> String {
    let mut text = format!("MX of {}{}", line.domain, alias(line.canonical.as_deref()));
    if line.failure.is_some() {
        return text;
    }
    text += &format!(", {}", authentic(line.authentic));
    if line.implicit {
        text += ": none, the domain is its own exchanger";
    }
    if line.ourselves {
        text += "; we are one of them, and only those before us count";
    }
    text
}

fn host(line: &HostLine) -> String {
    let (alias, preference) = (alias(line.canonical.as_deref()), line.preference);
    format!("addresses of {}{alias}, preference {preference}", line.host)
}

fn alias(canonical: Option<&str>) -> String {
    canonical.map(|name| format!(", an alias of {name}")).unwrap_or_default()
}

fn authentic(is: bool) -> &'static str {
    if is { "authentic" } else { "not authentic" }
}

fn of_address(line: &AddressLine) -> String {
    let standing = match line.standing {
        AddressStanding::Usable => "",
        AddressStanding::Ours => ", this host or loopback: no mail goes there",
        AddressStanding::Resting => ", took no connection lately: tried last",
        AddressStanding::OtherFamily => ", of a family that local_ip does not have",
    };
    format!("{}, {}, {}{standing}", line.address, line.family, authentic(line.authentic))
}

fn of_session(page: &mut Page<'_>, view: &SessionView) -> io::Result<()> {
    let fallback = match view.plaintext_fallback {
        true => " (in the clear, for TLS failed)",
        false => "",
    };
    let levels = format!("{}{fallback}", session(&view.facts));
    let extensions = match view.extensions.is_empty() {
        true => "none".to_string(),
        false => view.extensions.join(", "),
    };
    for (what, text) in [
        ("from", view.local_address.as_deref().unwrap_or_default()),
        ("greeting", &view.greeting),
        ("name", &view.name),
        ("extensions", &extensions),
        ("levels", &levels),
    ] {
        page.plain(format!("  {what:<10} {text}").trim_end())?;
    }
    Ok(())
}

fn policies(page: &mut Page<'_>, line: &PolicyLine) -> io::Result<()> {
    if let Some(failure) = &line.failure {
        return page.line(Tone::Bad, &format!("  no session may be made: {}", told(failure)));
    }
    let demanded = match &line.demanded_by {
        Some(by) => format!("tls {}, says {by}", line.tls_level),
        None => "nothing".to_string(),
    };
    page.plain(&format!("  say        {}", line.said.as_deref().unwrap_or("nothing")))?;
    page.plain(&format!("  demand     {demanded}"))?;
    for record in &line.tlsa {
        let base = line.tlsa_base.as_deref().unwrap_or_default();
        page.plain(&format!("  TLSA       {record} at _25._tcp.{base}"))?;
    }
    Ok(())
}

fn trouble(page: &mut Page<'_>, failure: Option<&Failure>) -> io::Result<()> {
    match failure {
        Some(failure) => page.line(Tone::Bad, &format!("  {}", told(failure))),
        None => Ok(()),
    }
}

fn told(failure: &Failure) -> String {
    format!("{}, {} {} {}", failure.cause.word(), failure.code, failure.status, failure.text)
}

fn place(host: &str, address: &str) -> String {
    if host.starts_with('[') { host.to_string() } else { format!("{host} [{address}]") }
}

fn verdict(line: &VerdictLine) -> (Tone, String) {
    let (tone, would) = match line.end {
        VerdictEnd::Session => (Tone::Good, "would be offered to"),
        VerdictEnd::Deferred => (Tone::Waiting, "would be deferred"),
        VerdictEnd::Failed => (Tone::Bad, "would fail"),
        VerdictEnd::Postponed => (Tone::Waiting, "would not be tried, for a fault of our own"),
    };
    let mut text = format!("a message now {would}");
    if line.end == VerdictEnd::Session {
        let facts = line.facts.clone().unwrap_or_default();
        let remote = line.remote.clone().unwrap_or_default();
        let place = place(&remote.host, &remote.address.unwrap_or_default());
        let SessionFacts { mx_level, tls_level, .. } = facts;
        text += &format!(" {place}: mx {mx_level}, tls {tls_level}");
    } else if let Some(failure) = &line.failure {
        text += &format!(": {}", failure_of(failure));
    }
    (tone, text)
}

/// With the host that it is about.
fn failure_of(failure: &Failure) -> String {
    format!("{}, {failure}", failure.cause.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::page::written;
    use posthaste_mail::admin::finding::PreferenceLine;
    use posthaste_mail::level::TlsLevel;
    use posthaste_mail::outcome::{Cause, Remote, Stage};

    fn shown(findings: Vec<Finding>) -> String {
        written(|page| {
            let mut report = Report::default();
            findings.into_iter().try_for_each(|finding| report.finding(page, finding))?;
            report.end(page)
        })
    }

    fn address(address: &str, family: &str, standing: AddressStanding) -> AddressLine {
        AddressLine { address: address.into(), family: family.into(), authentic: true, standing }
    }

    #[test]
    fn a_probe_is_told_in_parts_and_the_verdict_last() {
        let facts = SessionFacts {
            tls_level: TlsLevel::Encrypted,
            tls_version: Some("TLSv1.3".into()),
            tls_error: Some("self-signed certificate".into()),
            ..SessionFacts::default()
        };
        let view = SessionView {
            local_address: Some("192.0.2.9".into()),
            greeting: "mx\u{1b}[2J ready".into(),
            name: "mx.test".into(),
            extensions: vec!["PIPELINING".into(), "SIZE 0".into()],
            facts: facts.clone(),
            plaintext_fallback: false,
        };
        let remote = Remote { host: "mx.test".into(), address: Some("192.0.2.1".into()) };
        let findings = vec![
            Finding::Exchangers(ExchangersLine {
                domain: "example.org".into(),
                canonical: Some("real.test".into()),
                authentic: true,
                implicit: false,
                ourselves: false,
                hosts: vec![PreferenceLine { preference: 10, host: "mx.test".into() }],
                failure: None,
            }),
            Finding::Host(HostLine {
                preference: 10,
                host: "mx.test".into(),
                canonical: None,
                addresses: vec![
                    address("192.0.2.1", "IPv4", AddressStanding::Usable),
                    address("2001:db8::1", "IPv6", AddressStanding::OtherFamily),
                ],
                failure: None,
            }),
            Finding::Contact(ContactLine {
                host: "mx.test".into(),
                address: "192.0.2.1".into(),
                in_attempt: true,
                failure: None,
                session: Some(view),
            }),
            Finding::Verdict(VerdictLine {
                end: VerdictEnd::Session,
                remote: Some(remote),
                facts: Some(facts),
                failure: None,
            }),
            Finding::Contact(ContactLine {
                host: "mx2.test".into(),
                address: "192.0.2.2".into(),
                in_attempt: false,
                failure: Some(Failure::new(Cause::Unreachable, "connection refused")),
                session: None,
            }),
        ];
        assert_eq!(
            shown(findings),
            "MX of example.org, an alias of real.test, authentic\n     10 mx.test\n\n\
             addresses of mx.test, preference 10\n  192.0.2.1, IPv4, authentic\n  \
             2001:db8::1, IPv6, authentic, of a family that local_ip does not have\n\n\
             mx.test [192.0.2.1]\n  from       192.0.2.9\n  greeting   mx\\u{1b}[2J ready\n  \
             name       mx.test\n  extensions PIPELINING, SIZE 0\n  \
             levels     mx none, tls encrypted (TLSv1.3), certificate not proven: self-signed certificate\n\n\
             mx2.test [192.0.2.2], which a delivery now does not need\n  \
             no session: unreachable, 451 4.4.1 connection refused\n\n\
             a message now would be offered to mx.test [192.0.2.1]: mx none, tls encrypted\n"
        );
    }

    #[test]
    fn policies_say_what_they_demand_and_why() {
        let line = PolicyLine {
            host: "mx.test".into(),
            said: Some("mtasts enforce; dane usable".into()),
            tls_level: TlsLevel::Authenticated,
            demanded_by: Some("DANE".into()),
            tlsa_base: Some("real.test".into()),
            tlsa: vec!["3 1 1 ab01".into()],
            failure: None,
        };
        let told = shown(vec![Finding::Policies(line.clone())]);
        assert_eq!(
            told,
            "policies for mx.test\n  say        mtasts enforce; dane usable\n  \
             demand     tls authenticated, says DANE\n  \
             TLSA       3 1 1 ab01 at _25._tcp.real.test\n"
        );
        let failure = Failure::new(Cause::MxNotAllowed, "not among the hosts");
        let told = shown(vec![Finding::Policies(PolicyLine {
            host: "mx.test".into(),
            failure: Some(failure),
            ..PolicyLine::default()
        })]);
        let expected = "policies for mx.test\n  no session may be made: mx-not-allowed, 451 4.7.0 \
                        not among the hosts\n";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_verdict_without_a_session_says_why() {
        let says = |end, failure: Failure| {
            let remote = failure.remote.clone();
            let line = VerdictLine { end, remote, facts: None, failure: Some(failure) };
            shown(vec![Finding::Verdict(line)])
        };
        let null = Failure::new(Cause::NullMx, "domain example.org does not accept mail");
        assert_eq!(
            says(VerdictEnd::Failed, null),
            "a message now would fail: null-mx, 556 5.1.10 domain example.org does not accept mail\n"
        );
        let busy = Failure::refused(Stage::Greeting, 421, None, "busy");
        let busy = busy.at(Remote { host: "mx.test".into(), address: None });
        assert_eq!(
            says(VerdictEnd::Deferred, busy),
            "a message now would be deferred: refused, mx.test said: 421 4.0.0 busy (in reply to the connection)\n"
        );
    }
}
