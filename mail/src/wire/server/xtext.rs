//! xtext and its Unicode cousin: how parameter values carry octets that a command line cannot.

/// RFC 3461 §4: printable ASCII except `+` and `=`, and `+XX` with two upper case hexadecimal digits. Decoded it must be printable
/// ASCII again, space included: what is decoded ends up in fields of notifications.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '+' => {
                let high = upper_hex(chars.next()?)?;
                let low = upper_hex(chars.next()?)?;
                char::from_u32(high * 16 + low)?
            }
            '=' => return None,
            '!'..='~' => c,
            _ => return None,
        };
        if !matches!(plain, ' '..='~') {
            return None;
        }
        decoded.push(plain);
    }
    Some(decoded)
}

/// RFC 6533 §3 `utf-8-addr-xtext` and `utf-8-addr-unitext`: `\x{HEX}` stands for a character beyond ASCII, or for one of the few of
/// ASCII that a value cannot hold. The second form has such characters as they are, which needs SMTPUTF8.
///
/// Stricter than RFC 6533 §3: characters that are controls are refused, since the address is put into header fields.
pub(super) fn decode_utf8(text: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            let (hex, behind) = rest.strip_prefix("\\x{")?.split_once('}')?;
            decoded.push(embedded(hex)?);
            rest = behind;
            continue;
        }
        let plain = matches!(c, '!'..='~') && !matches!(c, '+' | '=');
        if !plain && (c.is_ascii() || c.is_control()) {
            return None;
        }
        decoded.push(c);
        rest = rest.get(c.len_utf8()..)?;
    }
    Some(decoded)
}

/// RFC 6533 §3 `HEXPOINT`.
fn embedded(hex: &str) -> Option<char> {
    if !(2..=6).contains(&hex.len()) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let c = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
    let allowed = matches!(c, ' ' | '+' | '=' | '\\') || (!c.is_ascii() && !c.is_control());
    allowed.then_some(c)
}

fn upper_hex(c: char) -> Option<u32> {
    if c.is_ascii_lowercase() { None } else { c.to_digit(16) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use crate::envelope::Orcpt;
    use crate::wire::command::orcpt_value;

    #[test]
    fn xtext_decodes_to_printable_ascii() {
        for (coded, plain) in [
            ("QQ314159", "QQ314159"),
            ("a+2Bb+3Dc", "a+b=c"),
            ("two+20words", "two words"),
            ("", ""),
            ("a@b.example", "a@b.example"),
        ] {
            assert_eq!(decode(coded).as_deref(), Some(plain), "{coded}");
        }
        for bad in ["+", "+2", "+2b", "+GG", "a=b", "a b", "ä", "+0D+0A", "+00", "+7F", "+C3+A4"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_we_write_is_what_we_read() {
        for address in ["jürgen+a=b@köln.example", "a\\b c@b.example", "a@b.example"] {
            let orcpt = |kind: &str| Orcpt { addr_type: kind.into(), address: address.into() };
            let written = orcpt_value(&orcpt("utf-8"));
            let coded = written.strip_prefix("utf-8;").unwrap();
            assert_eq!(decode_utf8(coded).as_deref(), Some(address), "{written}");
            if address.is_ascii() {
                let written = orcpt_value(&orcpt("rfc822"));
                assert_eq!(
                    decode(written.strip_prefix("rfc822;").unwrap()).as_deref(),
                    Some(address)
                );
            }
        }
    }

    #[test]
    fn unicode_addresses_decode() {
        for (coded, plain) in [
            ("a@b.example", "a@b.example"),
            ("\\x{E4}@b.example", "ä@b.example"),
            ("\\x{2B}x\\x{1F600}\\x{10FFFD}", "+x\u{1f600}\u{10fffd}"),
            ("ä@b.example", "ä@b.example"),
            ("\\x{5C}", "\\"),
        ] {
            assert_eq!(decode_utf8(coded).as_deref(), Some(plain), "{coded}");
        }
        for bad in [
            "\\",
            "\\x",
            "\\x{",
            "\\x{}",
            "\\x{4}",
            "\\x{D800}",   // a surrogate
            "\\x{110000}", // beyond Unicode
            "\\x{0D}",
            "\\x{85}",
            "\\x{41}", // must stand as it is
            "\\x{+41}",
            "\\n",
            "a+b",
            "a=b",
            "a b",
            "\u{85}",
        ] {
            assert_eq!(decode_utf8(bad), None, "{bad}");
        }
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(31);
        let alphabet: Vec<char> = "+=2BFfx{}\\ \r\n\0äé\u{85}aZ@.".chars().collect();
        for _ in 0..20_000 {
            let text: String =
                (0..dice.below(14)).map(|_| alphabet[dice.below(alphabet.len())]).collect();
            for decoded in [decode(&text), decode_utf8(&text)].into_iter().flatten() {
                assert!(!decoded.chars().any(char::is_control), "{text:?}");
                assert!(decoded.len() <= text.len());
            }
        }
    }
}
