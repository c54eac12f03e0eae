//! From tokens to nodes.
//!
//! A node is one directive: name, arguments and, when it has one, a block of nodes. This file knows the shape of one file only;
//! declarations of macros and snippets come out as nodes with the names `$(x)` and `(x)`, for `import` to take them out of the tree.
//! A mistake costs the directive it is in, the rest is read on.

use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

use crate::environment;
use crate::lexer::{Token, Tokens};
use crate::place::Place;
use crate::problem::{Problems, shown};

/// One directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub args: Vec<String>,
    /// `None`: no block. `Some` of nothing: an empty one.
    pub children: Option<Vec<Node>>,
    /// Where the name stands.
    pub at: Place,
}

impl Node {
    /// The directives of its block; none when it has no block.
    pub fn children(&self) -> &[Node] {
        self.children.as_deref().unwrap_or_default()
    }

    /// Name and first argument, to speak of it: `target.queue local_queue`.
    pub fn title(&self) -> String {
        match self.args.first() {
            Some(first) => format!("{} {}", shown(&self.name), shown(first)),
            None => shown(&self.name),
        }
    }
}

/// Blocks within blocks within blocks.
pub(crate) const DEEPEST: usize = 255;

/// The nodes of a file whose own top level lies inside `nesting` blocks already.
pub(crate) fn nodes(
    file: &Arc<str>,
    tokens: Tokens,
    nesting: usize,
    problems: &Problems,
) -> Vec<Node> {
    let cut_short = tokens.cut_short;
    let list = tokens.list.into_iter().peekable();
    Parser { file, tokens: list, cut_short, nesting, problems }.block(0, None)
}

struct Parser<'a> {
    file: &'a Arc<str>,
    tokens: Peekable<vec::IntoIter<Token>>,
    cut_short: bool,
    nesting: usize,
    problems: &'a Problems,
}

impl Parser<'_> {
    /// Directives up to the closing brace or the end of the file. `opened` is the line of the opening brace.
    fn block(&mut self, depth: usize, opened: Option<u32>) -> Vec<Node> {
        let mut nodes = Vec::new();
        while let Some(token) = self.tokens.next() {
            if token.is_bare("}") {
                match opened {
                    Some(_) => {
                        self.expect_line_break(token.line);
                        return nodes;
                    }
                    None => self.error(token.line, "} closes nothing"),
                }
            } else if token.is_bare("{") {
                self.error(token.line, "{ must stand on the line of its directive");
                self.skip_block();
            } else {
                nodes.extend(self.directive(token, depth));
            }
        }
        if let Some(line) = opened
            && !self.cut_short
        {
            self.error(line, "block is opened here and never closed, } is missing");
        }
        nodes
    }

    fn directive(&mut self, name: Token, depth: usize) -> Option<Node> {
        let named = self.check_name(&name, depth);
        let mut node =
            Node { name: name.text, args: Vec::new(), children: None, at: self.place(name.line) };
        // Where the line ends so far: strings and continuations carry it on.
        let mut line = name.last_line;
        // A closing brace is left to the block it closes.
        while let Some(token) = self.tokens.next_if(|t| t.line == line && !t.is_bare("}")) {
            line = token.last_line;
            if token.is_bare("{") {
                node.children = Some(self.open(depth, token.line));
                break;
            } else if token.is_bare("\\") && self.tokens.peek().is_none_or(|t| t.line != line) {
                // The next line, after blank lines and comments, is this line; at the end of the file nothing is.
                line = self.tokens.peek().map_or(line, |next| next.line);
            } else if token.is_bare("{}") {
                self.error(token.line, "{} is a word; write { } with a space, or quote it");
                node.children = Some(Vec::new());
            } else {
                node.args.push(token.text);
            }
        }
        named.then_some(node)
    }

    fn open(&mut self, depth: usize, line: u32) -> Vec<Node> {
        if self.nesting + depth >= DEEPEST {
            self.error(line, format!("blocks are nested deeper than {DEEPEST}"));
            self.skip_block();
            return Vec::new();
        }
        self.block(depth + 1, Some(line))
    }

    /// Past the brace that closes the block just opened, counting and not descending.
    fn skip_block(&mut self) {
        let mut open = 1usize;
        while open > 0
            && let Some(token) = self.tokens.next()
        {
            if token.is_bare("{") {
                open += 1;
            } else if token.is_bare("}") {
                open -= 1;
            }
        }
    }

    /// After a closing brace only another one may stand on the line. (maddy refuses that one too.)
    fn expect_line_break(&mut self, line: u32) {
        if self.tokens.peek().is_some_and(|next| next.line == line && !next.is_bare("}")) {
            self.error(line, "a line break must follow }");
        }
    }

    fn check_name(&self, token: &Token, depth: usize) -> bool {
        let name = token.text.as_str();
        let declares = macro_name(name).or(snippet_name(name)).is_some();
        let wrong = if declares && depth == 0 {
            None
        } else if declares {
            Some("macros and snippets are declared at the top level of a file only".to_string())
        } else if name.starts_with("$(") {
            Some("a macro cannot be used as the name of a directive; in a declaration the = needs spaces around it".to_string())
        } else if let Some(stem) = name.strip_suffix('{') {
            Some(format!("a space is missing before {{ after {}", shown(stem)))
        } else {
            name_fault(&environment::without_placeholders(name))
        };
        if let Some(text) = &wrong {
            self.error(token.line, text);
        }
        wrong.is_none()
    }

    fn place(&self, line: u32) -> Place {
        Place::Line { file: self.file.clone(), line }
    }

    fn error(&self, line: u32, text: impl Into<String>) {
        self.problems.error(&self.place(line), text);
    }
}

/// What is wrong with the name of a directive.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    match name.chars().next() {
        None => Some("name of the directive is empty".to_string()),
        Some(first) if first.is_numeric() => {
            Some(format!("{} is no name of a directive: it begins with a digit", shown(name)))
        }
        Some(_) => name.chars().find(|c| !allowed(*c)).map(|c| {
            format!("{} is no name of a directive: {c:?} is not allowed in it", shown(name))
        }),
    }
}

/// `x` of `$(x)`.
pub(crate) fn macro_name(name: &str) -> Option<&str> {
    name.strip_prefix("$(")?.strip_suffix(')').filter(|inner| !inner.contains(')'))
}

/// `x` of `(x)`.
pub(crate) fn snippet_name(name: &str) -> Option<&str> {
    name.strip_prefix('(')?.strip_suffix(')').filter(|inner| !inner.is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `name arg@line{children}`, joined with `;`. Arguments in Debug form when they are not one plain word.
    pub(crate) fn outline(nodes: &[Node]) -> String {
        let one = |node: &Node| {
            let words =
                std::iter::once(node.name.clone()).chain(node.args.iter().map(|a| shown(a)));
            let words: Vec<String> = words.collect();
            let line = match &node.at {
                Place::Line { line, .. } => line.to_string(),
                other => other.to_string(),
            };
            let block = node.children.as_ref().map(|children| format!("{{{}}}", outline(children)));
            format!("{}@{line}{}", words.join(" "), block.unwrap_or_default())
        };
        nodes.iter().map(one).collect::<Vec<_>>().join(";")
    }

    pub(crate) fn parsed(text: &str) -> (Vec<Node>, Vec<String>) {
        let (problems, file) = (Problems::new(), Arc::from("t"));
        let tokens = crate::lexer::tokens(&file, text, &problems);
        let nodes = nodes(&file, tokens, 0, &problems);
        (nodes, problems.sorted().iter().map(|p| p.to_string()).collect())
    }

    fn good(text: &str, expected: &str) {
        let (nodes, problems) = parsed(text);
        assert_eq!(outline(&nodes), expected, "{text:?}");
        assert_eq!(problems, Vec::<String>::new(), "{text:?}");
    }

    /// The tree that is read on with, and the problems.
    fn bad(text: &str, expected: &str, complaints: &[&str]) {
        let (nodes, problems) = parsed(text);
        assert_eq!(problems, complaints, "{text:?}");
        assert_eq!(outline(&nodes), expected, "{text:?}");
    }

    #[test]
    fn n1_one_directive_a_line() {
        good("", "");
        good("a b c\nd", "a b c@1;d@2");
        good("\n\n  a b # c\n\nd", "a b@3;d@5");
        good("a \"b\nc\" d\ne", "a \"b\\nc\" d@1;e@3"); // L7: a string over two lines carries the directive on
    }

    #[test]
    fn n2_a_block_opens_on_the_line_of_its_name() {
        good("a b {\nc d\n}\ne", "a b@1{c d@2};e@4");
        good("a {\n}\nb", "a@1{};b@3"); // an empty block is a block
        bad("a\n{\nb\n}\nc", "a@1;c@5", &["t:2: { must stand on the line of its directive"]);
        bad("{ a { b\n}\n}\nc", "c@4", &["t:1: { must stand on the line of its directive"]);
    }

    #[test]
    fn n3_a_block_ends_on_its_own_line_or_with_the_last_child() {
        good("a {\nb\nc d }\ne", "a@1{b@2;c d@3};e@4");
        good("a {\nb {\nc\n}\n}", "a@1{b@2{c@3}}");
    }

    #[test]
    fn n4_after_a_closing_brace_the_line_ends() {
        bad("a {\nb\n} c\nd", "a@1{b@2};c@3;d@4", &["t:3: a line break must follow }"]);
        bad("a { b } c", "a@1{b@1};c@1", &["t:1: a line break must follow }"]);
        good("a {\n} # comment", "a@1{}");
    }

    #[test]
    fn n5_blocks_on_one_line_nest() {
        good("a { b c }", "a@1{b c@1}");
        good("a { }", "a@1{}");
        good("a { b { c } }\nd", "a@1{b@1{c@1}};d@2"); // maddy refuses two braces
        good("a { b { c }\n}", "a@1{b@1{c@1}}");
        good("a { b { c\n} }", "a@1{b@1{c@1}}");
    }

    #[test]
    fn n6_a_lone_backslash_joins_the_next_line() {
        good("a b \\\n c\nd", "a b c@1;d@3");
        good("a \\\n\n# comment\n\nb\nc", "a b@1;c@6");
        good("a \\\n{\nb\n}", "a@1{b@3}");
        good("a { b \\\n}\nc", "a@1{b@1};c@3");
        good("a b\\\nc", "a b\\@1;c@2"); // glued to a word
        good("a \\ b", "a \\ b@1"); // not at the end
        good("a b \\", "a b@1"); // at the end of the file
        good("a b \\\n\n", "a b@1");
    }

    #[test]
    fn n7_names() {
        good("ä.b-c_d1", "ä.b-c_d1@1");
        good("_a\n-b\n.c", "_a@1;-b@2;.c@3");
        good("\"a\" b", "a b@1"); // a quoted token may be a name
        good("A\na", "A@1;a@2");
        good("x{env:Y}z", "x{env:Y}z@1"); // what comes of it is checked after the environment
        let no = |name: &str, why: &str| bad(name, "", &[&format!("t:1: {why}")]);
        no("1a", "1a is no name of a directive: it begins with a digit");
        no("\"\"", "name of the directive is empty");
        no("a/b c", "a/b is no name of a directive: '/' is not allowed in it");
        no("\"a b\"", "\"a b\" is no name of a directive: ' ' is not allowed in it");
        no("&a", "&a is no name of a directive: '&' is not allowed in it");
        no("\\", "\\ is no name of a directive: '\\\\' is not allowed in it");
        bad(
            "ok {\n1a {\nb\n}\nc\n}",
            "ok@1{c@5}",
            &["t:2: 1a is no name of a directive: it begins with a digit"],
        );
    }

    #[test]
    fn n7_glued_braces_are_explained() {
        bad("a{\n}", "", &["t:1: a space is missing before { after a", "t:2: } closes nothing"]);
        let text = "{} is a word; write { } with a space, or quote it";
        bad("a {}\nb", "a@1{};b@2", &[&format!("t:1: {text}")]);
        good("a \"{}\" \"{\" \"}\"", "a {} { }@1"); // L12: quoted braces are arguments
    }

    #[test]
    fn n8_nesting_has_an_end() {
        let nested = |n: usize| format!("{}{}", "a {\n".repeat(n), "}\n".repeat(n));
        assert!(parsed(&nested(255)).1.is_empty());
        let (nodes, problems) = parsed(&nested(256));
        assert_eq!(problems, ["t:256: blocks are nested deeper than 255"]);
        assert_eq!(nodes.len(), 1);
        assert_eq!(parsed(&nested(100_000)).1.len(), 1); // and a bounded stack
    }

    #[test]
    fn n9_braces_must_match() {
        bad("a {\nb", "a@1{b@2}", &["t:1: block is opened here and never closed, } is missing"]);
        bad("a\n}\nb", "a@1;b@3", &["t:2: } closes nothing"]);
        bad("a }\nb", "a@1;b@2", &["t:1: } closes nothing"]);
        // The quote swallowed the brace: one problem, not two.
        bad("a {\nb \"c\n}", "a@1{b@2}", &["t:2: quote is opened here and never closed"]);
    }

    #[test]
    fn n10_no_block_and_an_empty_block_differ() {
        let (nodes, _) = parsed("a\nb {\n}");
        assert_eq!(nodes[0].children, None);
        assert_eq!(nodes[1].children, Some(Vec::new()));
        assert!(nodes[1].children().is_empty());
    }

    #[test]
    fn declarations_come_out_as_nodes_and_at_the_top_only() {
        good("$(a) = b c\n(s) {\nd\n}", "$(a) = b c@1;(s)@2{d@3}");
        let only = "macros and snippets are declared at the top level of a file only";
        bad(
            "a {\n$(b) = c\n(d) {\n}\n}",
            "a@1{}",
            &[&format!("t:2: {only}"), &format!("t:3: {only}")],
        );
        let spaces = "a macro cannot be used as the name of a directive; in a declaration the = needs spaces around it";
        bad("$(a)= b", "", &[&format!("t:1: {spaces}")]);
        bad("$(a)$(b) c", "", &[&format!("t:1: {spaces}")]);
    }

    #[test]
    fn titles_name_the_block() {
        let (nodes, _) = parsed("target.queue local x {\n}\nlimits {\n}");
        assert_eq!(nodes[0].title(), "target.queue local");
        assert_eq!(nodes[1].title(), "limits");
    }

    #[test]
    fn parsers_take_any_bytes() {
        let words = ["a", "{", "}", "{}", "\\", "\n", "\"", "#", "$(", ")", "(a)", "=", " ", "é"];
        let mut dice = posthaste_mail::dice::Dice::new(3);
        for _ in 0..20_000 {
            let text: String =
                (0..dice.below(30)).map(|_| words[dice.below(words.len())]).collect();
            let spaced = text.replace('{', " { ").replace('}', " } ");
            parsed(&text);
            parsed(&spaced);
        }
    }
}
