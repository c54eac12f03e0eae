//! `explain` for people: a paragraph for each destination.

use std::io;

use posthaste_mail::admin::answer::{Explanation, ServerLine};

use crate::show::amount::moment;
use crate::show::page::{Page, Tone};

pub fn explanation(page: &mut Page<'_>, told: &Explanation) -> io::Result<()> {
    let title = match (&told.id, &told.domain) {
        (Some(id), _) => format!("{id} for {}", told.destination),
        (None, Some(domain)) => format!("{domain} by {}", told.destination),
        (None, None) => told.destination.clone(),
    };
    page.line(Tone::Title, &format!("{title} (queue {})", told.queue))?;
    for (name, value) in facts(told) {
        page.plain(&format!("  {name:<13} {value}"))?;
    }
    for server in told.forwarder.iter().flat_map(|forwarder| &forwarder.servers) {
        page.plain(&format!("  {:<13} {} {}", "server", server.server, standing(server)))?;
    }
    Ok(())
}

/// How a server stands, in words.
fn standing(server: &ServerLine) -> String {
    let ServerLine { standing, since, until, why, .. } = server;
    let since = since.as_deref().map(|since| format!(" since {}", moment(since)));
    let until = until.as_deref().map(|until| format!(" until {}", moment(until)));
    let why = why.as_deref().map(|why| format!(": {why}"));
    let facts = [since, until, why].into_iter().flatten();
    facts.fold(standing.clone(), |told, fact| told + &fact)
}

/// What is not known is left out.
fn facts(told: &Explanation) -> Vec<(&'static str, String)> {
    let Explanation { site, .. } = told;
    let mut waiting = site.waiting.to_string();
    if site.held > 0 {
        waiting.push_str(&format!(", {} of them held", site.held));
    }
    if site.more_on_disk {
        waiting.push_str(" and more on disk");
    }
    let since = told.since.as_deref().map(moment);
    let until = told.until.as_deref().map(moment);
    let failure = told.last_failure.clone().filter(|failure| !told.text.contains(failure.as_str()));
    let facts = [
        ("why", Some(told.text.clone())),
        ("since", since),
        ("until", until),
        ("to change it", told.remedy.clone()),
        ("recipients", Some(told.recipients.join(", ")).filter(|all| !all.is_empty())),
        ("attempts", told.attempts.map(|attempts| attempts.to_string())),
        ("last failure", failure),
        ("running", Some(format!("{} of {} at once", site.running, site.window))),
        ("waiting", Some(waiting)),
        ("next due", site.next_due.as_deref().map(moment)),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_mail::admin::answer::{ForwarderLine, SiteLine};

    use crate::show::page::written;

    #[test]
    fn why_comes_first_and_nothing_is_said_twice() {
        let told = Explanation {
            queue: "outbound".into(),
            destination: "dead.test".into(),
            reason: "dead-site".into(),
            text: "nobody dials: 451 4.4.1 refused".into(),
            until: Some("2026-11-24T03:30:00.000Z".into()),
            remedy: Some("posthaste queue retry --domain dead.test".into()),
            last_failure: Some("451 4.4.1 refused".into()),
            site: SiteLine { window: 5, waiting: 7, more_on_disk: true, ..SiteLine::default() },
            ..Explanation::default()
        };
        let text = written(|page| explanation(page, &told));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "dead.test (queue outbound)");
        assert!(lines[1].starts_with("  why ") && lines[1].ends_with("451 4.4.1 refused"));
        assert!(!text.contains("last failure") && text.contains("7 and more on disk"), "{text}");
    }

    #[test]
    fn mail_behind_a_forwarder_has_its_servers_told_of() {
        let server = |name: &str, standing: &str| ServerLine {
            server: name.into(),
            standing: standing.into(),
            ..ServerLine::default()
        };
        let down = ServerLine {
            until: Some("2026-11-24T03:30:00.000Z".into()),
            why: Some("refused".into()),
            ..server("two.test", "resting")
        };
        let forwarder = ForwarderLine {
            target: "relay".into(),
            held: None,
            servers: vec![server("one.test", "ready"), down],
        };
        let told = Explanation {
            queue: "outbound".into(),
            destination: "&relay".into(),
            domain: Some("elsewhere.test".into()),
            forwarder: Some(forwarder),
            ..Explanation::default()
        };
        let text = written(|page| explanation(page, &told));
        assert!(text.starts_with("elsewhere.test by &relay (queue outbound)\n"), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("server ")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].ends_with("one.test ready"), "{text}");
        assert!(lines[1].contains("two.test resting until ") && lines[1].ends_with(": refused"));
    }
}
