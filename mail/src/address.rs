//! Mail addresses.
//!
//! Parsed once where they enter, into types that cannot be wrong afterwards. A `Mailbox` keeps the text as it was received, because
//! that is what goes into envelopes and reports; the `Domain` beside it is the A-label form that DNS, TLS and every key use.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A domain name: A-labels, lower case, no trailing dot, at most 253 octets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

/// Why a text is not a domain name or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// The domain cannot be converted to A-labels (RFC 5891, UTS 46).
    NotIdna,
    /// A label is empty or longer than 63 octets, or the name longer than 253.
    BadLabels,
    /// An IP address literal is malformed.
    BadLiteral,
    /// The local part is empty, malformed or longer than 64 octets.
    BadLocalPart,
    /// There is no `@`.
    NoDomain,
    /// The address is longer than 254 octets (RFC 5321 §4.5.3.1.3: a path has at most 256, brackets included).
    TooLong,
    /// CR, LF, NUL or another control character.
    Control,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::NotIdna => "domain is not a valid internationalized name",
            AddressError::BadLabels => "domain has an empty or overlong label, or is too long",
            AddressError::BadLiteral => "malformed address literal",
            AddressError::BadLocalPart => "malformed local part",
            AddressError::NoDomain => "address has no domain",
            AddressError::TooLong => "address is too long",
            AddressError::Control => "address has control characters",
        })
    }
}

impl std::error::Error for AddressError {}

impl Domain {
    /// Reads a domain in A-label or U-label form; one trailing dot is dropped.
    pub fn parse(text: &str) -> Result<Domain, AddressError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(AddressError::Control);
        }
        // UTS 46 non-transitional, STD3 rules relaxed: hosts with an underscore exist.
        let ascii = idna::domain_to_ascii(text).map_err(|_| AddressError::NotIdna)?;
        let labels_fit =
            ascii.split('.').all(|label| (1..=63).contains(&label.len()) && plain_label(label));
        // RFC 1035 §2.3.4: 255 octets on the wire are 253 as text.
        if !labels_fit || ascii.len() > 253 {
            return Err(AddressError::BadLabels);
        }
        Ok(Domain(ascii))
    }

    /// The A-label form, for DNS, SNI, certificates, keys and the wire.
    pub fn ascii(&self) -> &str {
        &self.0
    }

    /// RFC 1035 §2.3.1, RFC 5321 §4.1.2: no label begins with a hyphen. The resolver takes no such name, and asks nobody for it. A hyphen
    /// at the end of a label is against the same rules, but is left to what DNS says.
    pub fn can_be_looked_up(&self) -> bool {
        !self.0.split('.').any(|label| label.starts_with('-'))
    }

    /// The U-label form, for matching rules of the configuration and for people.
    pub fn unicode(&self) -> String {
        idna::domain_to_unicode(&self.0).0
    }
}

fn plain_label(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Domain {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Domain, AddressError> {
        Domain::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> String {
        domain.0
    }
}

/// What stands behind the `@`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    Domain(Domain),
    /// RFC 5321 §4.1.3: `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
    /// Nothing: `postmaster` alone, which RFC 5321 §4.5.1 wants accepted.
    Unqualified,
}

impl Host {
    /// Reads a domain, or an address literal in its brackets.
    pub fn parse(text: &str) -> Result<Host, AddressError> {
        match text.strip_prefix('[') {
            Some(rest) => Ok(Host::Literal(literal(rest)?)),
            None => Ok(Host::Domain(Domain::parse(text)?)),
        }
    }
}

/// One mailbox address, as received.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mailbox {
    text: String,
    local_end: usize,
    host: Host,
}

impl Mailbox {
    /// Reads `local@domain`, `"quoted"@domain`, `local@[literal]` or `postmaster`, without angle brackets.
    pub fn parse(text: &str) -> Result<Mailbox, AddressError> {
        if text.chars().any(char::is_control) {
            return Err(AddressError::Control);
        }
        if text.len() > 254 {
            return Err(AddressError::TooLong);
        }
        if text.eq_ignore_ascii_case("postmaster") {
            let local_end = text.len();
            return Ok(Mailbox { text: text.to_string(), local_end, host: Host::Unqualified });
        }
        let (local, host) = text.rsplit_once('@').ok_or(AddressError::NoDomain)?;
        if !local_part(local) {
            return Err(AddressError::BadLocalPart);
        }
        let local_end = local.len();
        let host = Host::parse(host)?;
        Ok(Mailbox { text: text.to_string(), local_end, host })
    }

    /// The address as it was received.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn local(&self) -> &str {
        self.text.get(..self.local_end).unwrap_or("")
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    pub fn domain(&self) -> Option<&Domain> {
        match &self.host {
            Host::Domain(domain) => Some(domain),
            Host::Literal(_) | Host::Unqualified => None,
        }
    }

    /// RFC 6531 §3.3: only a local part beyond ASCII really needs SMTPUTF8; a domain always has an A-label form.
    pub fn needs_smtputf8(&self) -> bool {
        !self.local().is_ascii()
    }

    /// The address for a session without SMTPUTF8: domain in A-labels; `None` when the local part does not allow it.
    pub fn to_ascii(&self) -> Option<String> {
        if self.needs_smtputf8() {
            return None;
        }
        match &self.host {
            Host::Domain(domain) if !self.text.is_ascii() => {
                Some(format!("{}@{}", self.local(), domain.ascii()))
            }
            _ => Some(self.text.clone()),
        }
    }

    /// What lookups and rules compare: local part and domain in lower case, domain in U-labels.
    pub fn normalized(&self) -> String {
        let local = self.local().to_lowercase();
        match &self.host {
            Host::Domain(domain) => format!("{local}@{}", domain.unicode()),
            Host::Literal(_) => self.text.to_lowercase(),
            Host::Unqualified => local,
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Mailbox {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Mailbox, AddressError> {
        Mailbox::parse(&text)
    }
}

impl From<Mailbox> for String {
    fn from(mailbox: Mailbox) -> String {
        mailbox.text
    }
}

/// RFC 5321 §4.1.2 `Local-part`, with the UTF-8 of RFC 6531 §3.3; at most 64 octets (RFC 5321 §4.5.3.1.1).
fn local_part(local: &str) -> bool {
    if local.is_empty() || local.len() > 64 {
        return false;
    }
    match local.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').is_some_and(quoted_content),
        None => local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext)),
    }
}

fn quoted_content(content: &str) -> bool {
    let mut escaped = false;
    for c in content.chars() {
        match (escaped, c) {
            (true, ' '..='~') => escaped = false,
            (true, _) => return false,
            (false, '\\') => escaped = true,
            (false, '"') => return false,
            (false, _) => {}
        }
    }
    !escaped
}

/// RFC 5322 §3.2.3 `atext`, and any character beyond ASCII.
fn atext(c: char) -> bool {
    !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

fn literal(rest: &str) -> Result<IpAddr, AddressError> {
    let inner = rest.strip_suffix(']').ok_or(AddressError::BadLiteral)?;
    let v6 = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    match v6 {
        Some(_) => inner.get(5..).unwrap_or("").parse::<Ipv6Addr>().map(IpAddr::V6),
        None => inner.parse::<Ipv4Addr>().map(IpAddr::V4),
    }
    .map_err(|_| AddressError::BadLiteral)
}

/// The envelope sender.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ReversePath {
    /// `<>`: nothing may ever be sent back (RFC 5321 §4.5.5).
    Null,
    Mailbox(Mailbox),
}

impl ReversePath {
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox),
        }
    }

    pub fn as_str(&self) -> &str {
        self.mailbox().map_or("", Mailbox::as_str)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.as_str())
    }
}

impl TryFrom<String> for ReversePath {
    type Error = AddressError;
    fn try_from(text: String) -> Result<ReversePath, AddressError> {
        match text.as_str() {
            "" => Ok(ReversePath::Null),
            other => Mailbox::parse(other).map(ReversePath::Mailbox),
        }
    }
}

impl From<ReversePath> for String {
    fn from(path: ReversePath) -> String {
        path.as_str().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"))
    }

    fn bad(text: &str, why: AddressError) {
        assert_eq!(Mailbox::parse(text).expect_err(text), why, "{text:?}");
    }

    #[test]
    fn addresses_in_every_form() {
        assert_eq!(good("a@example.org").local(), "a");
        assert_eq!(good("\"a@b c\"@example.org").local(), "\"a@b c\""); // the last @ splits
        assert_eq!(good("\"a\\\"b\"@example.org").local(), "\"a\\\"b\"");
        assert_eq!(good("Postmaster").host(), &Host::Unqualified);
        assert_eq!(good("a@[192.0.2.1]").host(), &Host::Literal("192.0.2.1".parse().unwrap()));
        assert_eq!(
            good("a@[IPv6:2001:db8::1]").host(),
            &Host::Literal("2001:db8::1".parse().unwrap())
        );
        assert_eq!(good("a@EXAMPLE.Org.").domain().unwrap().ascii(), "example.org");
        assert_eq!(good("ä@münchen.example").domain().unwrap().ascii(), "xn--mnchen-3ya.example");
        assert_eq!(good("a+b/c=d@x_y.example").local(), "a+b/c=d");
    }

    #[test]
    fn what_is_not_an_address() {
        bad("", AddressError::NoDomain);
        bad("ann", AddressError::NoDomain);
        bad("@example.org", AddressError::BadLocalPart);
        bad(".a@example.org", AddressError::BadLocalPart);
        bad("a..b@example.org", AddressError::BadLocalPart);
        bad("a b@example.org", AddressError::BadLocalPart);
        bad("\"a\"b\"@example.org", AddressError::BadLocalPart);
        bad("\"a\\\"@example.org", AddressError::BadLocalPart); // the quote is escaped, none closes
        bad("a@", AddressError::BadLabels);
        bad("a@b..c", AddressError::BadLabels);
        bad("a@[192.0.2.256]", AddressError::BadLiteral);
        bad("a@[2001:db8::1]", AddressError::BadLiteral); // the tag is missing
        bad("a@xn--zzzz\u{80}", AddressError::Control);
        bad("a\r\nb@example.org", AddressError::Control);
        bad("a@exa mple.org", AddressError::Control);
        bad("a@exam>ple.org", AddressError::BadLabels);
        bad(&format!("{}@example.org", "a".repeat(65)), AddressError::BadLocalPart);
        bad(&format!("a@{}.org", "a".repeat(64)), AddressError::BadLabels);
        bad(&format!("a@{}example.org", "abcdefg.".repeat(31)), AddressError::TooLong);
    }

    #[test]
    fn only_the_local_part_needs_smtputf8() {
        assert!(!good("a@münchen.example").needs_smtputf8());
        assert_eq!(good("a@münchen.example").to_ascii().unwrap(), "a@xn--mnchen-3ya.example");
        assert_eq!(good("A@Example.org").to_ascii().unwrap(), "A@Example.org"); // as received
        assert_eq!(good("ä@example.org").to_ascii(), None);
    }

    #[test]
    fn comparison_form_is_lower_case_in_unicode() {
        assert_eq!(good("Ann@XN--MNCHEN-3YA.example").normalized(), "ann@münchen.example");
    }

    #[test]
    fn the_null_sender_is_a_variant() {
        assert_eq!(ReversePath::try_from(String::new()).unwrap(), ReversePath::Null);
        assert_eq!(ReversePath::Null.to_string(), "<>");
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = crate::dice::Dice::new(11);
        for _ in 0..20_000 {
            let text: String = (0..dice.below(20))
                .map(|_| char::from_u32(dice.below(0x300) as u32).unwrap_or('@'))
                .collect();
            if let Ok(mailbox) = Mailbox::parse(&text) {
                assert_eq!(mailbox.as_str(), text);
                assert!(!mailbox.to_ascii().is_some_and(|a| a.contains(['\r', '\n'])));
            }
        }
    }
}
