//! From the text of a file to tokens.
//!
//! A token is a word or a quoted string with the line it starts on. Braces, backslashes, macros and placeholders have no meaning here
//! yet; that a token was quoted is kept, because a quoted brace is an argument like any other.

use std::iter::Peekable;
use std::sync::Arc;

use crate::place::Place;
use crate::problem::Problems;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    /// The line it starts on, counted from 1.
    pub line: u32,
    /// The line it ends on: a quoted token may go over several.
    pub last_line: u32,
    pub quoted: bool,
}

impl Token {
    /// This very text, written without quotes.
    pub fn is_bare(&self, text: &str) -> bool {
        !self.quoted && self.text == text
    }
}

/// The tokens of a file.
#[derive(Debug, Default)]
pub struct Tokens {
    pub list: Vec<Token>,
    /// A quote is never closed: what follows it is missing, so a missing brace would be said for nothing.
    pub cut_short: bool,
}

/// Bytes as text; what is not UTF-8 is a problem at its line.
pub fn decode(file: &Arc<str>, bytes: Vec<u8>, problems: &Problems) -> Option<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..good).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            problems.error(&Place::Line { file: file.clone(), line }, "text is not UTF-8");
            None
        }
    }
}

pub fn tokens(file: &Arc<str>, text: &str, problems: &Problems) -> Tokens {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A CR is not there at all, so that files with CRLF mean the same.
    let mut chars = text.chars().filter(|c| *c != '\r').peekable();
    let mut found = Tokens::default();
    let mut line = 1u32;
    while let Some(c) = chars.next() {
        match c {
            '\n' => line = line.saturating_add(1),
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            '"' => match quoted(&mut chars, line) {
                Some(token) => {
                    line = token.last_line;
                    found.list.push(token);
                }
                None => {
                    let at = Place::Line { file: file.clone(), line };
                    problems.error(&at, "quote is opened here and never closed");
                    found.cut_short = true;
                    break;
                }
            },
            c if c.is_whitespace() => {}
            c => {
                let token = word(c, &mut chars, line);
                // maddy drops the word from here to the next white space. Half of a password is worse than all of it.
                if token.text.contains('#') {
                    let at = Place::Line { file: file.clone(), line };
                    // Not quoted here: it may be a password.
                    problems.warning(&at, "# within a word starts no comment; quote the word");
                }
                found.list.push(token);
            }
        }
    }
    found
}

fn word(first: char, chars: &mut Peekable<impl Iterator<Item = char>>, line: u32) -> Token {
    let mut text = String::from(first);
    while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
        text.push(c);
    }
    Token { text, line, last_line: line, quoted: false }
}

/// What stands between the quotes; nothing when the second one is missing. Only `\"` is an escape, any other backslash stays.
fn quoted(chars: &mut Peekable<impl Iterator<Item = char>>, line: u32) -> Option<Token> {
    let mut text = String::new();
    let mut last_line = line;
    loop {
        match chars.next()? {
            '"' => return Some(Token { text, line, last_line, quoted: true }),
            '\\' => match chars.next()? {
                '"' => text.push('"'),
                other => {
                    text.extend(['\\', other]);
                    last_line = last_line.saturating_add(u32::from(other == '\n'));
                }
            },
            c => {
                text.push(c);
                last_line = last_line.saturating_add(u32::from(c == '\n'));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexed(text: &str) -> (Tokens, Vec<String>) {
        let problems = Problems::new();
        let tokens = tokens(&Arc::from("t"), text, &problems);
        (tokens, problems.sorted().iter().map(|p| p.to_string()).collect())
    }

    /// `line:text`, quoted tokens with their quotes.
    fn good(text: &str, expected: &[&str]) {
        let (tokens, problems) = lexed(text);
        let shown: Vec<String> = tokens
            .list
            .iter()
            .map(|t| match t.quoted {
                true => format!("{}:\"{}\"", t.line, t.text),
                false => format!("{}:{}", t.line, t.text),
            })
            .collect();
        assert_eq!(shown, expected, "{text:?}");
        assert_eq!(problems, Vec::<String>::new(), "{text:?}");
    }

    #[test]
    fn l1_white_space_of_any_script_separates() {
        good("a b\tc", &["1:a", "1:b", "1:c"]);
        good("a\u{a0}b\u{2003}c\u{3000}d\u{85}e", &["1:a", "1:b", "1:c", "1:d", "1:e"]);
        good("", &[]);
        good("\u{feff}a", &["1:a"]); // the byte order mark is skipped
        good("a\u{feff}b", &["1:a\u{feff}b"]); // only at the beginning
    }

    #[test]
    fn l2_carriage_return_is_not_there() {
        good("foo\rbar", &["1:foobar"]);
        good("a\r\nb\r\n", &["1:a", "2:b"]);
        good("\"a\r\nb\" c", &["1:\"a\nb\"", "2:c"]);
    }

    #[test]
    fn l3_tokens_carry_the_line_they_start_on() {
        good("a\n\nb c\nd", &["1:a", "3:b", "3:c", "4:d"]);
    }

    #[test]
    fn l4_a_quote_within_a_word_is_a_character() {
        good("a\"b c\"", &["1:a\"b", "1:c\""]);
    }

    #[test]
    fn l5_the_closing_quote_ends_the_token() {
        good("\"x\"y", &["1:\"x\"", "1:y"]);
        good("\"x\"\"y\"", &["1:\"x\"", "1:\"y\""]);
    }

    #[test]
    fn l6_only_the_quote_can_be_escaped() {
        good(r#""a\"b""#, &[r#"1:"a"b""#]);
        good(r#""a\\b""#, &[r#"1:"a\\b""#]); // both stay
        good(r#""a\nb""#, &[r#"1:"a\nb""#]);
        good(r#""a\\" b"#, &[r#"1:"a\\""#, "1:b"]); // the second backslash does not escape the quote
        good(r"a\b", &[r"1:a\b"]);
    }

    #[test]
    fn l7_a_quoted_token_may_span_lines() {
        good("a \"b\nc\" d\ne", &["1:a", "1:\"b\nc\"", "2:d", "3:e"]);
        let (tokens, _) = lexed("\"b\n\\\nc\"");
        assert_eq!((tokens.list[0].line, tokens.list[0].last_line), (1, 3));
    }

    #[test]
    fn l8_an_empty_quoted_token_is_an_argument() {
        good("a \"\" b", &["1:a", "1:\"\"", "1:b"]);
    }

    #[test]
    fn l9_a_quote_that_is_never_closed_is_an_error_where_it_opens() {
        for text in ["a\nb \"c\nd", "a\nb \"", "a\nb \"c\\\"", "a\nb \"c\\"] {
            let (tokens, problems) = lexed(text);
            assert_eq!(problems, ["t:2: quote is opened here and never closed"], "{text:?}");
            assert!(tokens.cut_short);
            assert_eq!(tokens.list.len(), 2, "what stands before it is kept");
        }
    }

    #[test]
    fn l10_a_comment_starts_where_a_token_could() {
        good("a #b c\nd", &["1:a", "2:d"]);
        good("# a\n#\n#b", &[]);
        good("\"x\"# c\nd", &["1:\"x\"", "2:d"]); // a new token would begin
        good("\"#a\" b", &["1:\"#a\"", "1:b"]);
    }

    #[test]
    fn l10_within_a_word_it_is_kept_with_a_warning() {
        let (tokens, problems) = lexed("a\npw b#c d");
        let texts: Vec<&str> = tokens.list.iter().map(|t| t.text.as_str()).collect();
        assert_eq!(texts, ["a", "pw", "b#c", "d"]);
        let warning = "t:2: warning: # within a word starts no comment; quote the word";
        assert_eq!(problems, [warning]);
    }

    #[test]
    fn l11_braces_are_ordinary_characters() {
        good("a{ {b } {}", &["1:a{", "1:{b", "1:}", "1:{}"]);
    }

    #[test]
    fn l12_a_quoted_brace_is_told_from_a_bare_one() {
        let (tokens, _) = lexed("{ \"{\"");
        assert!(tokens.list[0].is_bare("{"));
        assert!(!tokens.list[1].is_bare("{"));
    }

    #[test]
    fn bytes_that_are_not_utf8_name_their_line() {
        let problems = Problems::new();
        let file = Arc::from("t");
        assert_eq!(decode(&file, b"a\nb\xff\n".to_vec(), &problems), None);
        assert_eq!(problems.sorted()[0].to_string(), "t:2: text is not UTF-8");
        assert_eq!(decode(&file, "ä".into(), &problems).unwrap(), "ä");
    }
}
