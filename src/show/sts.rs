//! MTA-STS policies for people.

use std::io;

use posthaste_mail::admin::answer::{StsLine, StsView};

use crate::show::amount::moment;
use crate::show::page::{Page, Tone};
use crate::show::table::{Column, Table};

const POLICIES: &[Column] = &[
    Column::Text("DOMAIN"),
    Column::Text("MODE"),
    Column::Text("FETCHED"),
    Column::Text("EXPIRES"),
    Column::Text("LAST USED"),
    Column::Text("MX"),
    Column::Text("LAST FAILURE"),
];

/// A listing that grows.
pub struct Policies {
    table: Table,
    any: bool,
}

impl Default for Policies {
    fn default() -> Policies {
        Policies { table: Table::new(POLICIES), any: false }
    }
}

impl Policies {
    pub fn add(&mut self, page: &mut Page<'_>, line: &StsLine) -> io::Result<()> {
        self.any = true;
        let expires = moment(&line.expires);
        let row = vec![
            line.domain.clone(),
            line.mode.clone(),
            moment(&line.fetched),
            if line.expired { format!("{expires}, expired") } else { expires },
            moment(&line.last_used),
            shortened(&line.mx),
            line.last_failure.clone().unwrap_or_default(),
        ];
        self.table.row(page, tone(line), row)
    }

    pub fn end(mut self, page: &mut Page<'_>) -> io::Result<()> {
        if self.any { self.table.show(page) } else { page.plain("no policy") }
    }
}

/// A stranger may list a thousand; `sts show` has them all.
fn shortened(patterns: &[String]) -> String {
    const SHOWN: usize = 4;
    match patterns.split_at_checked(SHOWN) {
        Some((first, rest)) if !rest.is_empty() => {
            format!("{} and {} more", first.join(" "), rest.len())
        }
        _ => patterns.join(" "),
    }
}

fn tone(line: &StsLine) -> Tone {
    match (line.expired, &line.last_failure) {
        (true, _) => Tone::Bad,
        (false, Some(_)) => Tone::Waiting,
        (false, None) => Tone::Plain,
    }
}

/// All that is known of one.
pub fn policy(page: &mut Page<'_>, view: &StsView) -> io::Result<()> {
    let StsView { line, text } = view;
    page.line(Tone::Title, &format!("{} (cache {})", line.domain, line.cache))?;
    let expires = moment(&line.expires);
    let facts = [
        ("mode", Some(line.mode.clone())),
        ("record", Some(line.id.clone())),
        ("fetched", Some(moment(&line.fetched))),
        ("expires", Some(if line.expired { format!("{expires}, expired") } else { expires })),
        ("last used", Some(moment(&line.last_used))),
        ("next refresh", line.refresh.as_deref().map(moment)),
        ("last failure", line.last_failure.clone()),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            page.plain(&format!("  {name:<13} {value}"))?;
        }
    }
    page.plain("")?;
    for line in text.lines() {
        page.plain(&format!("  {line}"))?;
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::show::page::written;

    pub fn view() -> StsView {
        let line = StsLine {
            cache: "mx".into(),
            domain: "example.org".into(),
            mode: "enforce".into(),
            mx: vec!["mx.example.org".into(), "*.example.net".into()],
            id: "20261124".into(),
            fetched: "2026-11-24T03:12:00.000Z".into(),
            expires: "2026-12-01T03:12:00.000Z".into(),
            last_used: "2026-11-24T03:12:00.000Z".into(),
            ..StsLine::default()
        };
        StsView { line, text: "version: STSv1\r\nmode: enforce\u{1b}[2J\n".into() }
    }

    #[test]
    fn a_policy_is_shown_with_its_text_made_harmless() {
        let text = written(|page| policy(page, &view()));
        assert!(text.starts_with("example.org (cache mx)\n  mode          enforce\n"), "{text}");
        assert!(text.contains("\n\n  version: STSv1\n  mode: enforce\\u{1b}[2J\n"), "{text}");
        assert!(!text.contains("last failure"), "{text}");
    }

    #[test]
    fn a_thousand_exchangers_do_not_fill_the_screen() {
        let mx = |count| (1..=count).map(|n| format!("mx{n}.test")).collect::<Vec<_>>();
        assert_eq!(shortened(&mx(4)), "mx1.test mx2.test mx3.test mx4.test");
        assert_eq!(shortened(&mx(1000)), "mx1.test mx2.test mx3.test mx4.test and 996 more");
        assert_eq!(shortened(&[]), "");
    }

    #[test]
    fn policies_have_a_line_each() {
        let mut old = view().line;
        (old.expired, old.last_failure) = (true, Some("status 404".to_string()));
        let text = written(|page| {
            let mut policies = Policies::default();
            policies.add(page, &view().line)?;
            policies.add(page, &old)?;
            policies.end(page)
        });
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("DOMAIN") && lines.len() == 3, "{text}");
        assert!(lines[1].contains("mx.example.org *.example.net"), "{text}");
        assert!(lines[2].contains(", expired") && lines[2].ends_with("status 404"), "{text}");
        assert_eq!(written(|page| Policies::default().end(page)), "no policy\n");
    }
}
