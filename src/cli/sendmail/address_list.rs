//! The addresses of a list (RFC 5322 §3.4), without names, comments and groups. Whether they are good ones is for the daemon to say.

use std::fmt;

/// A part of a list that is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an address: {}", self.0)
    }
}

/// All addresses of `list`, in its order.
pub fn read(list: &str) -> Result<Vec<String>, Unreadable> {
    let mut reader = Reader::default();
    let mut characters = list.chars();
    while let Some(c) = characters.next() {
        reader.take(c, &mut characters)?;
    }
    reader.end_of_element()?;
    Ok(reader.addresses)
}

#[derive(Default)]
struct Reader {
    addresses: Vec<String>,
    /// What was read of an address without angle brackets, or of the name in front of them.
    plain: String,
    /// What stands in angle brackets, and whether they are closed.
    angle: Option<(String, bool)>,
}

impl Reader {
    fn take(&mut self, c: char, rest: &mut std::str::Chars<'_>) -> Result<(), Unreadable> {
        let open = matches!(self.angle, Some((_, false)));
        match c {
            // RFC 5322 §3.2.2: comments nest.
            '(' => self.comment(rest),
            '"' => self.enclosed('"', '"', rest),
            '[' => self.enclosed('[', ']', rest),
            '<' if self.angle.is_none() => {
                self.angle = Some((String::new(), false));
                Ok(())
            }
            '>' if open => {
                self.angle = self.angle.take().map(|(text, _)| (text, true));
                Ok(())
            }
            // RFC 5322 §4.4: a route in front of the address is passed over; at the top this is the name of a group.
            ':' => {
                self.text().clear();
                Ok(())
            }
            ',' | ';' if !open => self.end_of_element(),
            '<' | '>' => Err(self.unreadable()),
            _ => {
                self.text().push(if c.is_whitespace() { ' ' } else { c });
                Ok(())
            }
        }
    }

    /// Where the next character belongs. Behind closed brackets there is only text that does not count.
    fn text(&mut self) -> &mut String {
        match &mut self.angle {
            Some((text, false)) => text,
            Some((_, true)) | None => &mut self.plain,
        }
    }

    fn comment(&mut self, rest: &mut std::str::Chars<'_>) -> Result<(), Unreadable> {
        let mut depth = 1;
        while depth > 0 {
            match rest.next() {
                Some('\\') => drop(rest.next()),
                Some('(') => depth += 1,
                Some(')') => depth -= 1,
                Some(_) => {}
                None => return Err(self.unreadable()),
            }
        }
        self.text().push(' ');
        Ok(())
    }

    /// A quoted string (RFC 5322 §3.2.4) or an address literal (RFC 5321 §4.1.3), as it is.
    fn enclosed(
        &mut self,
        first: char,
        last: char,
        rest: &mut std::str::Chars<'_>,
    ) -> Result<(), Unreadable> {
        let text = self.text();
        text.push(first);
        while let Some(c) = rest.next() {
            text.push(c);
            match c {
                '\\' => text.extend(rest.next()),
                _ if c == last => return Ok(()),
                _ => {}
            }
        }
        Err(self.unreadable())
    }

    fn unreadable(&self) -> Unreadable {
        let angle = self.angle.as_ref().map(|(text, _)| text.as_str());
        Unreadable(format!("{}{}", self.plain, angle.unwrap_or_default()).trim().to_string())
    }

    /// A comma or the end: what was read is an address, a name with one, or nothing.
    fn end_of_element(&mut self) -> Result<(), Unreadable> {
        let text = match &self.angle {
            None => &self.plain,
            Some((text, true)) => text,
            Some((_, false)) => return Err(self.unreadable()),
        };
        let address = together(text).ok_or_else(|| self.unreadable())?;
        // RFC 5322 §4.4: empty elements are passed over. `<>` is nobody.
        if !address.is_empty() {
            self.addresses.push(address);
        }
        self.plain.clear();
        self.angle = None;
        Ok(())
    }
}

/// An address without the white space that RFC 5322 §4.4 allows around its dots and its `@`; `None` when it is several words.
fn together(text: &str) -> Option<String> {
    let mut address = String::new();
    let mut space = false;
    let mut quoted = false;
    let mut escaped = false;
    for c in text.trim().chars() {
        if c == ' ' && !quoted {
            space = true;
            continue;
        }
        if std::mem::take(&mut space) && !c_joins(c) && !address.ends_with(c_joins) {
            return None;
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        address.push(c);
    }
    Some(address)
}

fn c_joins(c: char) -> bool {
    matches!(c, '@' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_mail::dice::Dice;

    #[test]
    fn addresses_in_every_form() {
        for (list, addresses) in [
            ("a@x", &["a@x"][..]),
            ("a@x, b@y,c@z", &["a@x", "b@y", "c@z"]),
            ("Ann <a@x>, \"Bob, B.\" <b@y>", &["a@x", "b@y"]),
            ("a@x (Ann, (not b@y)), (c) d@z", &["a@x", "d@z"]),
            ("Friends: a@x, Bob <b@y>; c@z", &["a@x", "b@y", "c@z"]),
            ("Undisclosed recipients:;", &[]),
            ("", &[]),
            (" , ,a@x,", &["a@x"]), // empty elements
            ("<>", &[]),
            ("\"a b, c\"@x", &["\"a b, c\"@x"]),
            ("\"a\\\" , b\"@x", &["\"a\\\" , b\"@x"]), // a quoted quote
            ("<@r1,@r2:a@x>", &["a@x"]),               // a route
            ("a@[IPv6:2001:db8::1], <b@[192.0.2.1]>", &["a@[IPv6:2001:db8::1]", "b@[192.0.2.1]"]),
            ("a . b @ x . org", &["a.b@x.org"]),
            ("Ann <a@x> (at home)", &["a@x"]),
            ("root", &["root"]),
            ("=?utf-8?q?Ann?= <a@x>", &["a@x"]),
            ("Änn <ä@x>", &["ä@x"]),
            ("Ann\t<a@x>", &["a@x"]),
        ] {
            assert_eq!(read(list).unwrap(), addresses, "{list}");
        }
    }

    #[test]
    fn what_is_no_list() {
        for list in [
            "a b",
            "Ann a@x",
            "<a@x",
            "a@x>",
            "<a@x> <b@y>",
            "\"a@x",
            "(a@x",
            "a@[192.0.2.1",
            "<a b>",
        ] {
            assert!(read(list).is_err(), "{list}");
        }
        assert_eq!(read("Ann a@x").unwrap_err().to_string(), "not an address: Ann a@x");
    }

    #[test]
    fn parsers_take_any_text() {
        let letters: Vec<char> = "a.@<>,;:()[]\"\\ ä\u{85}\0".chars().collect();
        let mut dice = Dice::new(11);
        for _ in 0..50_000 {
            let list: String =
                (0..dice.below(16)).map(|_| letters[dice.below(letters.len())]).collect();
            if let Ok(addresses) = read(&list) {
                assert!(addresses.len() <= list.len() && addresses.iter().all(|a| !a.is_empty()));
            }
        }
        assert!(read(&"(".repeat(1 << 20)).is_err()); // no recursion
    }
}
