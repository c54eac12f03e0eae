//! The addresses in a header field (RFC 5322 §3.4), read only as far as to say whether they are well formed and how many there are.

/// What a field holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Mailboxes and groups at the top level.
    pub addresses: usize,
    /// Mailboxes, those in groups included.
    pub mailboxes: usize,
}

/// `None` when the value is not an address list. Empty elements between commas are passed over (RFC 5322 §4.4).
pub(super) fn read(value: &str) -> Option<Found> {
    let mut reader = Reader { rest: value };
    let mut found = Found::default();
    loop {
        match reader.next()? {
            Token::End => return Some(found),
            Token::Special(',') => continue,
            first => {
                found.mailboxes += address(&mut reader, first, Nesting::Top)?;
                found.addresses += 1;
            }
        }
        match reader.next()? {
            Token::End => return Some(found),
            Token::Special(',') => {}
            _ => return None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Nesting {
    Top,
    InGroup,
}

/// RFC 5322 §3.4 `address`, whose first token is read; says how many mailboxes it has.
fn address(reader: &mut Reader<'_>, first: Token<'_>, nesting: Nesting) -> Option<usize> {
    let mut token = first;
    let mut words = 0;
    loop {
        match token {
            Token::Atom(_) | Token::Quoted => words += 1,
            Token::Special('<') => return angle(reader).map(|()| 1),
            Token::Special('@') if words == 1 && first.is_local_part() => {
                return domain(reader).map(|()| 1);
            }
            Token::Special(':') if words > 0 && nesting == Nesting::Top => return group(reader),
            Token::Special(_) | Token::Literal | Token::End => return None,
        }
        token = reader.next()?;
    }
}

/// The mailboxes of a group up to its semicolon; there may be none.
fn group(reader: &mut Reader<'_>) -> Option<usize> {
    let mut mailboxes = 0;
    loop {
        match reader.next()? {
            Token::Special(';') => return Some(mailboxes),
            Token::Special(',') => continue,
            first => mailboxes += address(reader, first, Nesting::InGroup)?,
        }
        match reader.next()? {
            Token::Special(';') => return Some(mailboxes),
            Token::Special(',') => {}
            _ => return None,
        }
    }
}

/// RFC 5322 §3.4.1 behind a `<`. Source routes (§4.4) are refused: nobody has written them for decades.
fn angle(reader: &mut Reader<'_>) -> Option<()> {
    reader.next().filter(Token::is_local_part)?;
    matches!(reader.next()?, Token::Special('@')).then_some(())?;
    domain(reader)?;
    matches!(reader.next()?, Token::Special('>')).then_some(())
}

fn domain(reader: &mut Reader<'_>) -> Option<()> {
    match reader.next()? {
        Token::Atom(atom) => dot_atom(atom).then_some(()),
        Token::Literal => Some(()),
        Token::Quoted | Token::Special(_) | Token::End => None,
    }
}

/// RFC 5322 §3.2.3: dots only between atoms.
fn dot_atom(atom: &str) -> bool {
    atom.split('.').all(|part| !part.is_empty())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// Atoms and the dots between them.
    Atom(&'a str),
    Quoted,
    Literal,
    Special(char),
    End,
}

impl Token<'_> {
    fn is_local_part(&self) -> bool {
        match self {
            Token::Atom(atom) => dot_atom(atom),
            Token::Quoted => true,
            Token::Literal | Token::Special(_) | Token::End => false,
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// The next token, comments and white space passed over; `None` when something opened is not closed.
    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
            let Some(c) = self.rest.chars().next() else { return Some(Token::End) };
            match c {
                '(' => self.skip(comment_length(self.rest)?)?,
                '"' => return self.closed('"').map(|()| Token::Quoted),
                '[' => return self.closed(']').map(|()| Token::Literal),
                '<' | '>' | '@' | ',' | ';' | ':' => {
                    self.skip(1)?;
                    return Some(Token::Special(c));
                }
                _ if atom_char(c) => {
                    let end = self.rest.find(|c| !atom_char(c)).unwrap_or(self.rest.len());
                    let atom = self.rest.get(..end)?;
                    self.skip(end)?;
                    return Some(Token::Atom(atom));
                }
                _ => return None,
            }
        }
    }

    fn skip(&mut self, octets: usize) -> Option<()> {
        self.rest = self.rest.get(octets..)?;
        Some(())
    }

    /// Passes over what the first character opens, with its quoted characters (RFC 5322 §3.2.1).
    fn closed(&mut self, closing: char) -> Option<()> {
        let mut escaped = false;
        let inner = self.rest.char_indices().skip(1);
        for (place, c) in inner {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == closing => return self.skip(place + 1),
                _ => {}
            }
        }
        None
    }
}

/// RFC 5322 §3.2.2: comments nest.
pub(super) fn comment_length(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut escaped = false;
    for (place, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' if depth <= 1 => return Some(place + 1),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// RFC 5322 §3.2.3 `atext` with the characters of RFC 6532 §3.2, and the dot.
fn atom_char(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~.".contains(c)
        || (!c.is_ascii() && !c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn lists_in_every_form() {
        for (value, addresses, mailboxes) in [
            ("", 0, 0),
            ("  (nobody) ", 0, 0),
            ("a@b.example", 1, 1),
            ("Ann <a@b.example>", 1, 1),
            ("\"Ann, the first\" <a@b.example>, c@d.example", 2, 2),
            ("Ann B. C. <a@b.example>", 1, 1),
            ("=?utf-8?Q?=C3=84?= <a@b.example>", 1, 1),
            ("Änne <ä@münchen.example>", 1, 1),
            ("\"a b\"@c.example", 1, 1),
            ("a@[192.0.2.1]", 1, 1),
            ("a@b.example (Ann (the \\) first))", 1, 1),
            ("undisclosed-recipients:;", 1, 0),
            ("Us: a@b.example, Cee <c@d.example>;, e@f.example", 2, 3),
            ("a@b.example,, c@d.example,", 2, 2),
            ("<a@b.example>", 1, 1),
        ] {
            assert_eq!(read(value), Some(Found { addresses, mailboxes }), "{value}");
        }
    }

    #[test]
    fn what_is_no_list() {
        for value in [
            "a",
            "Ann",
            "@b.example",
            "a@",
            "a b@c.example",
            "a@b.example c@d.example",
            "Ann <a@b.example",
            "Ann a@b.example>",
            "Ann <>",
            "Ann <a@b.example> x",
            "<@r.example:a@b.example>",
            "a..b@c.example",
            "a@b..c",
            "\"a@b.example",
            "a@b.example (open",
            "a@[192.0.2.1",
            "Us: a@b.example",
            "Us: Them: a@b.example;;",
            ":;",
            "a@b.example;",
            "a\\b@c.example",
            "a)b@c.example",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(151);
        let alphabet: Vec<char> = "a.@<>,;:()[]\"\\ ä\u{85}\0".chars().collect();
        for _ in 0..50_000 {
            let value: String =
                (0..dice.below(16)).map(|_| alphabet[dice.below(alphabet.len())]).collect();
            if let Some(found) = read(&value) {
                assert!(found.mailboxes <= value.len() && found.addresses <= value.len());
            }
        }
        assert_eq!(read(&"(".repeat(1 << 20)), None); // no recursion
    }
}
