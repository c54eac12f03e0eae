//! What stands between the angle brackets of MAIL and RCPT, and the parameters behind it.

/// A path, taken apart but not yet read as an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path<'a> {
    /// Between the brackets, without a source route.
    pub inner: &'a str,
    /// Behind the closing bracket, trimmed.
    pub parameters: &'a str,
}

/// Reads `<path> parameters`. Angle brackets are required (RFC 5321 §4.1.2), a `>` in a quoted local part does not close them.
///
/// Laxer than RFC 5321 §3.3: spaces before the bracket are passed over, since they are common and change nothing.
pub(super) fn take(text: &str) -> Option<Path<'_>> {
    let text = text.trim_start_matches([' ', '\t']).strip_prefix('<')?;
    let inner_start = behind_route(text)?;
    let close = inner_start + closing_bracket(text.get(inner_start..)?)?;
    let behind = text.get(close + 1..)?;
    if !(behind.is_empty() || behind.starts_with([' ', '\t'])) {
        return None;
    }
    Some(Path { inner: text.get(inner_start..close)?, parameters: behind.trim() })
}

/// RFC 5321 §4.1.1.3, Appendix C: a source route (`@relay,@relay:`) must be taken and should be ignored.
fn behind_route(text: &str) -> Option<usize> {
    if !text.starts_with('@') {
        return Some(0);
    }
    let colon = text.find(':')?;
    let hops = text.get(..colon)?;
    let plain = |hop: &str| {
        hop.strip_prefix('@').is_some_and(|domain| {
            !domain.is_empty() && !domain.contains(['@', '<', '>', '"', ' ', '\\'])
        })
    };
    hops.split(',').all(plain).then_some(colon + 1)
}

fn closing_bracket(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (place, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(place),
            _ => {}
        }
    }
    None
}

/// One ESMTP parameter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter<'a> {
    /// As written; compared without case.
    pub keyword: &'a str,
    pub value: Option<&'a str>,
}

/// RFC 5321 §4.1.2 `esmtp-param`, with the values beyond ASCII of RFC 6531 §3.3; `None` where the grammar is broken.
pub(super) fn parameter(word: &str) -> Option<Parameter<'_>> {
    let (keyword, value) = match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    };
    let begins = keyword.starts_with(|c: char| c.is_ascii_alphanumeric());
    let goes_on = keyword.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    // `AUTH=<>` and base64-like values of later extensions need `=` nowhere else, so a second one is refused.
    let printable = |value: &str| {
        !value.is_empty() && value.chars().all(|c| c != '=' && c > ' ' && !c.is_control())
    };
    (begins && goes_on && value.is_none_or(printable)).then_some(Parameter { keyword, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn good(text: &str, inner: &str, parameters: &str) {
        assert_eq!(take(text), Some(Path { inner, parameters }), "{text:?}");
    }

    #[test]
    fn paths_in_brackets() {
        good("<a@example.org>", "a@example.org", "");
        good(" <a@example.org>  SIZE=1  BODY=7BIT ", "a@example.org", "SIZE=1  BODY=7BIT");
        good("<>", "", "");
        good("<\"a> b\"@example.org> SIZE=1", "\"a> b\"@example.org", "SIZE=1");
        good("<\"a\\\"> b\"@example.org>", "\"a\\\"> b\"@example.org", "");
        good("<@one.example,@two.example:a@example.org>", "a@example.org", ""); // the route is dropped
        good("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", "");
        good("<<a@example.org>", "<a@example.org", ""); // for the address parser to refuse
    }

    #[test]
    fn what_is_no_path() {
        for bad in [
            "",
            "a@example.org",
            "Ann <a@example.org>", // a display name
            "<a@example.org",
            "<a@example.org>SIZE=1",
            "<a@example.org>>",
            "<\"a>",
            "<@example.org>",
            "<@one.example,two.example:a@example.org>",
            "<@:a@example.org>",
        ] {
            assert_eq!(take(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn parameters_and_their_values() {
        let shown = |word| parameter(word).map(|p| (p.keyword, p.value));
        assert_eq!(shown("SIZE=1"), Some(("SIZE", Some("1"))));
        assert_eq!(shown("SMTPUTF8"), Some(("SMTPUTF8", None)));
        assert_eq!(shown("AUTH=<>"), Some(("AUTH", Some("<>"))));
        assert_eq!(shown("X-y=ä"), Some(("X-y", Some("ä"))));
        for bad in ["", "=", "=1", "SIZE=", "-A=1", "A_B=1", "ENVID=a=b", "Ä=1", "A=\u{7f}"] {
            assert_eq!(parameter(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(61);
        let alphabet: Vec<char> = "<>@\",:\\ a=ä\0".chars().collect();
        for _ in 0..50_000 {
            let text: String =
                (0..dice.below(16)).map(|_| alphabet[dice.below(alphabet.len())]).collect();
            if let Some(path) = take(&text) {
                assert!(path.inner.len() + path.parameters.len() < text.len());
            }
            let _ = parameter(&text);
        }
    }
}
