//! Lines of a notification: clean, short and, without SMTPUTF8, in seven bits.

use crate::address::Mailbox;
use crate::outcome::one_line;
use crate::time::Timestamp;

/// Whether the notification may carry UTF-8 outside of encodings (RFC 6531, RFC 6533).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Ascii,
    Utf8,
}

/// RFC 5322 §2.1.1: lines should have at most 78 characters.
const WIDTH: usize = 76;
/// And must have at most 998 octets: a longer word is cut, which leaves room for the field's name.
const LONGEST_WORD: usize = 900;

/// Text of others, made fit: one line, no controls, in the character set.
pub(super) fn clean(text: &str, charset: Charset) -> String {
    let line = one_line(text);
    match charset {
        Charset::Utf8 => line,
        Charset::Ascii => line.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect(),
    }
}

/// A name given by a peer where a host name belongs: what could not be one is masked.
pub(super) fn host_name(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]/".contains(c);
    text.chars().take(255).map(|c| if plain(c) { c } else { '?' }).collect()
}

/// Adds `Name: value`, folded (RFC 5322 §2.2.3).
pub(super) fn add_field(out: &mut String, name: &str, value: &str) {
    wrap(out, &format!("{name}:"), " ", value);
}

/// Adds a field with an address, unfolded: the spaces of a quoted local part are not ours to touch.
pub(super) fn add_address(out: &mut String, name: &str, value: &str) {
    match value.len() {
        0..=LONGEST_WORD => out.push_str(&format!("{name}: {value}\r\n")),
        _ => add_field(out, name, value),
    }
}

/// Adds a date field.
pub(super) fn add_date(out: &mut String, name: &str, moment: Timestamp) {
    add_field(out, name, &moment.rfc5322());
}

/// Adds words behind a first text, each further line behind `indent`, CRLF at every end. No line is of white space alone.
pub(super) fn wrap(out: &mut String, first: &str, indent: &str, text: &str) {
    let mut width = first.chars().count();
    let mut fresh = first.trim().is_empty();
    out.push_str(first);
    for piece in text.split(' ').filter(|word| !word.is_empty()).flat_map(pieces) {
        let length = piece.chars().count();
        if !fresh && width + 1 + length > WIDTH && !first_word_of_field(first, width) {
            out.push_str("\r\n");
            out.push_str(indent);
            width = indent.chars().count();
        } else if !fresh {
            out.push(' ');
            width += 1;
        }
        fresh = false;
        out.push_str(piece);
        width += length;
    }
    out.push_str("\r\n");
}

/// The first word stays on the line of the field's name, however long.
fn first_word_of_field(first: &str, width: usize) -> bool {
    width == first.chars().count()
}

/// A word, cut where it is too long for any line.
fn pieces(word: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = word;
    while rest.len() > LONGEST_WORD {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(LONGEST_WORD));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// RFC 3464 §2.3.2, RFC 6533 §3: an address with its type.
pub(super) fn typed_address(mailbox: &Mailbox, charset: Charset) -> String {
    match (mailbox.to_ascii(), charset) {
        (Some(ascii), Charset::Ascii) => format!("rfc822; {ascii}"),
        (_, Charset::Utf8) if mailbox.as_str().is_ascii() => format!("rfc822; {mailbox}"),
        _ => format!("utf-8; {}", utf8_address(mailbox.as_str(), charset)),
    }
}

/// RFC 6533 §3: `utf-8-addr-xtext` for seven bits, `utf-8-addr-unitext` otherwise. What neither allows is `\x{HEX}`.
pub(super) fn utf8_address(address: &str, charset: Charset) -> String {
    let mut text = String::with_capacity(address.len());
    for c in one_line(address).chars() {
        let plain = c.is_ascii_graphic() && !matches!(c, '\\' | '+' | '=');
        if plain || (charset == Charset::Utf8 && !c.is_ascii()) {
            text.push(c);
        } else {
            text.push_str(&format!("\\x{{{:02X}}}", u32::from(c)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn field(name: &str, value: &str) -> String {
        let mut out = String::new();
        add_field(&mut out, name, value);
        out
    }

    #[test]
    fn fields_are_folded_between_words() {
        assert_eq!(field("Status", "5.1.1"), "Status: 5.1.1\r\n");
        assert_eq!(field("X", "a   b"), "X: a b\r\n");
        assert_eq!(field("X", ""), "X:\r\n");
        let word = "w".repeat(40);
        assert_eq!(field("X", &format!("{word} {word}")), format!("X: {word}\r\n {word}\r\n"));
        let long = "w".repeat(100);
        assert_eq!(field("X", &long), format!("X: {long}\r\n")); // the first word stays
    }

    #[test]
    fn addresses_carry_their_type() {
        let typed = |text: &str, charset| typed_address(&Mailbox::parse(text).unwrap(), charset);
        for (text, ascii, utf8) in [
            ("a+b@x.org", "rfc822; a+b@x.org", "rfc822; a+b@x.org"),
            ("a@münchen.example", "rfc822; a@xn--mnchen-3ya.example", "utf-8; a@münchen.example"),
            ("ä+b@x.org", "utf-8; \\x{E4}\\x{2B}b@x.org", "utf-8; ä\\x{2B}b@x.org"),
            ("😀@x.org", "utf-8; \\x{1F600}@x.org", "utf-8; 😀@x.org"),
            (
                "\"a b\\=ä\"@x.org",
                "utf-8; \"a\\x{20}b\\x{5C}\\x{3D}\\x{E4}\"@x.org",
                "utf-8; \"a\\x{20}b\\x{5C}\\x{3D}ä\"@x.org",
            ),
        ] {
            assert_eq!(typed(text, Charset::Ascii), ascii);
            assert_eq!(typed(text, Charset::Utf8), utf8);
        }
    }

    #[test]
    fn any_text_makes_lines_that_may_be_sent() {
        let mut dice = Dice::new(4);
        for _ in 0..3_000 {
            let text: String = (0..dice.below(1500))
                .map(|_| [' ', 'x', 'y', '\r', '\n', '\u{0}', 'é', '\u{2028}'][dice.below(8)])
                .collect();
            let out = field("Diagnostic-Code", &clean(&text, Charset::Ascii));
            assert!(out.is_ascii() && out.ends_with("\r\n"));
            for (index, line) in out.strip_suffix("\r\n").unwrap().split("\r\n").enumerate() {
                assert!(line.len() <= 998 && !line.contains(['\r', '\n', '\u{0}']));
                assert!(index == 0 || (line.starts_with(' ') && !line.trim().is_empty()));
            }
        }
    }
}
