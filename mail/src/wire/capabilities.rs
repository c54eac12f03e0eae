//! What EHLO or LHLO announced.

use crate::wire::reply::Reply;

/// The extensions of a session. A HELO session has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The name the server gave itself.
    pub name: String,
    pub pipelining: bool,
    pub eight_bit_mime: bool,
    pub smtputf8: bool,
    pub chunking: bool,
    pub binary_mime: bool,
    pub dsn: bool,
    pub starttls: bool,
    pub require_tls: bool,
    /// RFC 1870: `None` when SIZE was not announced, `Some(0)` for no fixed limit.
    pub size: Option<u64>,
    pub auth: Vec<String>,
    /// RFC 9422: recipients a transaction may have.
    pub rcpt_max: Option<u32>,
    /// RFC 9422: transactions a session may have.
    pub mail_max: Option<u32>,
    /// What was not announced but done: the server knows who we are.
    pub logged_in: bool,
}

impl Capabilities {
    /// Reads the lines of a positive EHLO reply: the name first, then one keyword a line (RFC 5321 §4.1.1.1).
    pub fn of(reply: &Reply) -> Capabilities {
        let mut lines = reply.lines.iter();
        let first = lines.next().map_or("", String::as_str);
        let mut found = Capabilities {
            name: first.split_whitespace().next().unwrap_or("").to_string(),
            ..Capabilities::default()
        };
        for line in lines {
            found.keyword(line);
        }
        found
    }

    /// The extensions as a server announces them, as far as they are known here.
    pub fn keywords(&self) -> Vec<String> {
        let plain = [
            (self.pipelining, "PIPELINING"),
            (self.eight_bit_mime, "8BITMIME"),
            (self.smtputf8, "SMTPUTF8"),
            (self.chunking, "CHUNKING"),
            (self.binary_mime, "BINARYMIME"),
            (self.dsn, "DSN"),
            (self.starttls, "STARTTLS"),
            (self.require_tls, "REQUIRETLS"),
        ];
        let offered = plain.iter().filter(|(offered, _)| *offered);
        let mut keywords: Vec<String> = offered.map(|(_, keyword)| keyword.to_string()).collect();
        keywords.extend(self.size.map(|size| format!("SIZE {size}")));
        if !self.auth.is_empty() {
            keywords.push(format!("AUTH {}", self.auth.join(" ")));
        }
        let limits = [("RCPTMAX", self.rcpt_max), ("MAILMAX", self.mail_max)];
        let limits = limits.iter().filter_map(|(name, most)| most.map(|n| format!(" {name}={n}")));
        let limits: String = limits.collect();
        if !limits.is_empty() {
            keywords.push(format!("LIMITS{limits}"));
        }
        keywords
    }

    /// RFC 5321 §2.4: keywords are compared without case; unknown ones are ignored.
    fn keyword(&mut self, line: &str) {
        // The form `AUTH=PLAIN` is older than RFC 4954 and still met.
        let line = line.replacen("AUTH=", "AUTH ", 1);
        let mut words = line.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return };
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "DSN" => self.dsn = true,
            "STARTTLS" => self.starttls = true,
            "REQUIRETLS" => self.require_tls = true,
            // RFC 1870 §3: without a number, or with one that is none, no limit is declared.
            "SIZE" => self.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
            "AUTH" => {
                for mechanism in words.map(str::to_ascii_uppercase) {
                    if !self.auth.contains(&mechanism) {
                        self.auth.push(mechanism);
                    }
                }
            }
            "LIMITS" => words.for_each(|word| self.limit(word)),
            _ => {}
        }
    }

    fn limit(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else { return };
        let value = value.parse().ok().filter(|n| *n > 0);
        match name.to_ascii_uppercase().as_str() {
            "RCPTMAX" => self.rcpt_max = value,
            "MAILMAX" => self.mail_max = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Capabilities {
        let lines = lines.iter().map(|l| l.to_string()).collect();
        Capabilities::of(&Reply { code: 250, enhanced: None, lines })
    }

    #[test]
    fn keywords_without_case_and_unknown_ones_ignored() {
        let caps =
            of(&["mx.example.org at your service", "pipelining", "Size 1000", "XFOO bar", ""]);
        assert_eq!(caps.name, "mx.example.org");
        assert!(caps.pipelining && !caps.starttls);
        assert_eq!(caps.size, Some(1000));
    }

    #[test]
    fn what_is_known_of_an_announcement_is_said_again() {
        let said = ["mx", "DSN", "SIZE 7", "X", "AUTH PLAIN", "LIMITS RCPTMAX=9", "STARTTLS"];
        let keywords = of(&said).keywords();
        assert_eq!(keywords, ["DSN", "STARTTLS", "SIZE 7", "AUTH PLAIN", "LIMITS RCPTMAX=9"]);
        let again: Vec<&str> =
            ["mx"].into_iter().chain(keywords.iter().map(String::as_str)).collect();
        assert_eq!(of(&again), of(&said));
        assert!(of(&["mx"]).keywords().is_empty());
    }

    #[test]
    fn sizes_that_declare_no_limit() {
        assert_eq!(of(&["mx"]).size, None);
        assert_eq!(of(&["mx", "SIZE"]).size, Some(0));
        assert_eq!(of(&["mx", "SIZE 0"]).size, Some(0));
        assert_eq!(of(&["mx", "SIZE lots"]).size, Some(0));
    }

    #[test]
    fn both_forms_of_auth() {
        assert_eq!(of(&["mx", "AUTH PLAIN login", "AUTH=PLAIN"]).auth, ["PLAIN", "LOGIN"]);
    }

    #[test]
    fn limits_of_rfc_9422() {
        let caps = of(&["mx", "LIMITS RCPTMAX=20 MAILMAX=0 FOO RCPTDOMAINMAX=1"]);
        assert_eq!((caps.rcpt_max, caps.mail_max), (Some(20), None));
    }
}
