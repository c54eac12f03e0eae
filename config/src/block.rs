//! Reading the directives of a block.
//!
//! A `Block` hands out its directives by name and type, keeps account of which names are known, and at the end complains about the rest.
//! Nothing stops at a mistake: a setting that cannot be read counts as a problem and yields its default, so that one run shows all of
//! them. Whoever reads asks `Problems::has_errors` before using what came out.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use posthaste_mail::address::Domain;

use crate::endpoint::ClientEndpoint;
use crate::module::{GroupRef, ModuleRef};
use crate::place::Place;
use crate::problem::{Problem, Problems, shown};
use crate::tree::Node;
use crate::values::{self, Size};

/// The directives of one block, while they are read. Ends with `close` or `rest`.
pub struct Block<'a> {
    node: &'a Node,
    /// What messages begin with: `target.queue local_queue`.
    title: Rc<str>,
    problems: &'a Problems,
    lines: Vec<Line<'a>>,
    known: Vec<&'static str>,
}

struct Line<'a> {
    /// The name it is read under: an alias has been replaced.
    name: &'a str,
    node: &'a Node,
    read: bool,
}

impl<'a> Block<'a> {
    /// A node without a block is read like one with an empty block.
    pub fn open(node: &'a Node, problems: &'a Problems) -> Block<'a> {
        Block::titled(node, node.title(), problems)
    }

    fn titled(node: &'a Node, title: String, problems: &'a Problems) -> Block<'a> {
        let line = |node: &'a Node| Line { name: node.name.as_str(), node, read: false };
        let lines = node.children().iter().map(line).collect();
        Block { node, title: Rc::from(title), problems, lines, known: Vec::new() }
    }

    /// The directive the block belongs to.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    pub fn at(&self) -> &'a Place {
        &self.node.at
    }

    pub fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// From now on `old` is read as `name`: two spellings of one directive.
    pub fn alias(&mut self, old: &'static str, name: &'static str) {
        for line in self.lines.iter_mut().filter(|line| line.name == old) {
            line.name = name;
        }
    }

    /// Reads a directive that may stand once, with any reader of one node. The typed methods below are made of this.
    pub fn value<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a Node) -> Result<T, Problem>,
    ) -> Setting<'a, T> {
        let state = match self.one(name) {
            None => State::Absent,
            Some(node) => match read(node) {
                Ok(value) => State::Given(value, &node.at),
                Err(problem) => {
                    self.problems.push(problem.within(&self.title));
                    State::Broken
                }
            },
        };
        let (title, problems) = (self.title.clone(), self.problems);
        Setting { name, title, block: &self.node.at, problems, state }
    }

    /// Exactly one argument.
    pub fn string(&mut self, name: &'static str) -> Setting<'a, String> {
        self.value(name, values::string)
    }

    /// One or more arguments.
    pub fn strings(&mut self, name: &'static str) -> Setting<'a, Vec<String>> {
        self.value(name, values::strings)
    }

    pub fn path(&mut self, name: &'static str) -> Setting<'a, PathBuf> {
        self.value(name, values::path)
    }

    pub fn domain(&mut self, name: &'static str) -> Setting<'a, Domain> {
        self.value(name, values::domain)
    }

    /// No argument means yes.
    pub fn boolean(&mut self, name: &'static str) -> Setting<'a, bool> {
        self.value(name, values::boolean)
    }

    pub fn integer<T>(&mut self, name: &'static str, range: RangeInclusive<T>) -> Setting<'a, T>
    where
        T: TryFrom<i128> + PartialOrd + std::fmt::Display + Copy,
    {
        self.value(name, |node| values::integer(node, range))
    }

    pub fn float(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Setting<'a, f64> {
        self.value(name, |node| values::float(node, range))
    }

    pub fn duration(&mut self, name: &'static str) -> Setting<'a, Duration> {
        self.value(name, values::duration)
    }

    /// A duration, or the word `off`.
    pub fn duration_or_off(&mut self, name: &'static str) -> Setting<'a, Option<Duration>> {
        self.value(name, values::duration_or_off)
    }

    pub fn size(&mut self, name: &'static str) -> Setting<'a, Size> {
        self.value(name, values::size)
    }

    /// One of the words of the table.
    pub fn choice<T: Clone>(&mut self, name: &'static str, table: &[(&str, T)]) -> Setting<'a, T> {
        self.value(name, |node| values::choice(node, table))
    }

    /// One or more of the words of the table.
    pub fn choices<T: Clone>(
        &mut self,
        name: &'static str,
        table: &[(&str, T)],
    ) -> Setting<'a, Vec<T>> {
        self.value(name, |node| values::choices(node, table))
    }

    /// Addresses to connect to.
    pub fn endpoints(&mut self, name: &'static str) -> Setting<'a, Vec<ClientEndpoint>> {
        self.value(name, values::endpoints)
    }

    /// A module, inline or `&name`.
    pub fn module(
        &mut self,
        name: &'static str,
        namespace: &'static str,
    ) -> Setting<'a, ModuleRef> {
        self.value(name, |node| ModuleRef::of(node, namespace))
    }

    /// A block of settings or modules, inline or `&name`.
    pub fn group(&mut self, name: &'static str) -> Setting<'a, GroupRef<'a>> {
        self.value(name, GroupRef::of)
    }

    /// The directive as it stands, with whatever arguments and block.
    pub fn directive(&mut self, name: &'static str) -> Setting<'a, &'a Node> {
        self.value(name, Ok)
    }

    /// All directives of a name that may stand several times, in order; the caller judges each.
    pub fn repeated(&mut self, name: &'static str) -> Vec<&'a Node> {
        self.known.push(name);
        let lines = self.lines.iter_mut().filter(|line| line.name == name);
        lines
            .map(|line| {
                line.read = true;
                line.node
            })
            .collect()
    }

    /// A directive that has a block and no arguments, opened for reading; `None` when it is missing or has another form.
    pub fn section(&mut self, name: &'static str) -> Option<Block<'a>> {
        let node = self
            .value(name, |node| match (node.args.is_empty(), &node.children) {
                (true, Some(_)) => Ok(node),
                (false, _) => Err(values::fault(node, "takes a block and no arguments")),
                (_, None) => Err(values::fault(node, "expects a block")),
            })
            .optional()?;
        let title = format!("{}: {}", self.title, node.title());
        Some(Block::titled(node, title, self.problems))
    }

    /// A directive that is accepted and does nothing; one warning for each, with the reason.
    pub fn ignored(&mut self, name: &'static str, reason: &str) {
        for node in self.repeated(name) {
            self.warning(&node.at, format!("{name} has no effect: {reason}"));
        }
    }

    /// A directive of the language that must not be accepted in silence; one error for each, with the reason.
    pub fn refused(&mut self, name: &'static str, reason: &str) {
        for node in self.repeated(name) {
            self.error(&node.at, format!("{name} cannot be used: {reason}"));
        }
    }

    /// An error in this block.
    pub fn error(&self, at: &Place, text: impl Into<String>) {
        self.problems.push(Problem::error(at, text).within(&self.title));
    }

    /// A warning about this block.
    pub fn warning(&self, at: &Place, text: impl Into<String>) {
        self.problems.push(Problem::warning(at, text).within(&self.title));
    }

    /// Ends the reading: whatever was not asked for is unknown, and an error.
    pub fn close(self) {
        for line in self.lines.iter().filter(|line| !line.read) {
            let known = self.known.iter().copied();
            let problem = Problem::unknown(&line.node.at, "directive", line.name, known);
            self.problems.push(problem.within(&self.title));
        }
    }

    /// Ends the reading and hands over what was not asked for, in order: the body of a pipeline.
    pub fn rest(self) -> Vec<&'a Node> {
        self.lines.iter().filter(|line| !line.read).map(|line| line.node).collect()
    }

    /// The first directive of the name; each further one is a problem.
    fn one(&mut self, name: &'static str) -> Option<&'a Node> {
        let found = self.repeated(name);
        let (first, again) = found.split_first()?;
        for node in again {
            let given = shown(&node.name);
            self.error(&node.at, format!("{given} is given twice, first at {}", first.at));
        }
        Some(first)
    }
}

/// A directive that was read: given, inherited, missing or wrong. What is wrong has been reported and falls back like a missing one,
/// without a second complaint.
#[must_use]
pub struct Setting<'a, T> {
    name: &'static str,
    title: Rc<str>,
    block: &'a Place,
    problems: &'a Problems,
    state: State<'a, T>,
}

enum State<'a, T> {
    Absent,
    Given(T, &'a Place),
    Broken,
}

impl<'a, T> Setting<'a, T> {
    /// Takes the global value when the block does not give one.
    pub fn inherit(mut self, global: Option<T>) -> Setting<'a, T> {
        if let (State::Absent, Some(value)) = (&self.state, global) {
            self.state = State::Given(value, self.block);
        }
        self
    }

    /// Refuses a value that was read, with the reason.
    pub fn check(self, judge: impl FnOnce(&T) -> Result<(), String>) -> Setting<'a, T> {
        self.try_map(|value| judge(&value).map(|()| value))
    }

    /// Turns the value into another one.
    pub fn map<U>(self, turn: impl FnOnce(T) -> U) -> Setting<'a, U> {
        self.try_map(|value| Ok(turn(value)))
    }

    /// Turns the value into another one, or says why it cannot be.
    pub fn try_map<U>(self, turn: impl FnOnce(T) -> Result<U, String>) -> Setting<'a, U> {
        let Setting { name, title, block, problems, state } = self;
        let state = match state {
            State::Absent => State::Absent,
            State::Broken => State::Broken,
            State::Given(value, at) => match turn(value) {
                Ok(value) => State::Given(value, at),
                Err(text) => {
                    let problem = Problem::error(at, text).within(name);
                    problems.push(problem.within(&title));
                    State::Broken
                }
            },
        };
        Setting { name, title, block, problems, state }
    }

    /// The value, or this default.
    pub fn or(self, default: T) -> T {
        self.optional().unwrap_or(default)
    }

    /// The value, or this default computed.
    pub fn or_else(self, default: impl FnOnce() -> T) -> T {
        self.optional().unwrap_or_else(default)
    }

    pub fn optional(self) -> Option<T> {
        match self.state {
            State::Given(value, _) => Some(value),
            State::Absent | State::Broken => None,
        }
    }

    /// The value with the place it was given at; an inherited one has the place of the block.
    pub fn placed(self) -> Option<(T, &'a Place)> {
        match self.state {
            State::Given(value, at) => Some((value, at)),
            State::Absent | State::Broken => None,
        }
    }

    /// The value; a missing directive is a problem of the block.
    pub fn required(self) -> Option<T> {
        if let State::Absent = self.state {
            let text = format!("missing required directive {}", self.name);
            self.problems.push(Problem::error(self.block, text).within(&self.title));
        }
        self.optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::{outline, parsed};

    /// Reads the body of the block `box b { ... }` and gives what the reader made of it, with the problems.
    fn read<T>(body: &str, reader: impl FnOnce(Block<'_>) -> T) -> (T, Vec<String>) {
        let (nodes, complaints) = parsed(&format!("box b {{\n{body}\n}}"));
        assert_eq!(complaints, Vec::<String>::new());
        let problems = Problems::new();
        let value = reader(Block::open(&nodes[0], &problems));
        (value, problems.sorted().iter().map(Problem::to_string).collect())
    }

    #[test]
    fn values_defaults_and_globals() {
        let reader = |mut block: Block<'_>| {
            let values = (
                block.integer("tries", 1..=100u32).or(20),
                block.duration("wait").or(Duration::from_secs(1)),
                block.string("name").inherit(Some("global".to_string())).required(),
                block.boolean("debug").inherit(Some(true)).or(false),
            );
            block.close();
            values
        };
        let (values, problems) = read("", reader);
        assert_eq!(values, (20, Duration::from_secs(1), Some("global".to_string()), true));
        assert!(problems.is_empty());
        let (values, problems) = read("wait 5s\ntries 3\nname own\ndebug no", reader);
        assert_eq!(values, (3, Duration::from_secs(5), Some("own".to_string()), false));
        assert!(problems.is_empty());
    }

    #[test]
    fn all_problems_are_found_in_one_run() {
        let (values, problems) = read("tries many\nnmae x\nwait 5\nwait 6s\nextra", |mut block| {
            let values = (
                block.integer("tries", 1..=100u32).or(20),
                block.duration("wait").or(Duration::from_secs(1)),
                block.string("name").required(),
                block.path("location").required(),
            );
            block.close();
            values
        });
        assert_eq!(values, (20, Duration::from_secs(1), None, None));
        assert_eq!(
            problems,
            [
                "t:1: box b: missing required directive name",
                "t:1: box b: missing required directive location",
                "t:2: box b: tries: expects a whole number from 1 to 100, found many",
                "t:3: box b: unknown directive nmae, did you mean name?",
                "t:4: box b: wait: duration 5 has no unit, one of ns us µs ms s m h",
                "t:5: box b: wait is given twice, first at t:4",
                "t:6: box b: unknown directive extra",
            ]
        );
    }

    #[test]
    fn a_wrong_required_directive_is_not_missing_too() {
        let (value, problems) = read("size 5", |mut block| {
            let value = block.size("size").inherit(Some(Size(7))).required();
            block.close();
            value
        });
        assert_eq!(value, None);
        assert_eq!(problems, ["t:2: box b: size: size 5 has no unit, one of G M K B"]);
    }

    #[test]
    fn unknown_directives_are_errors_or_handed_over_in_order() {
        let (_, problems) = read("conect_timeout 5s", |mut block| {
            let _ = block.duration("connect_timeout").optional();
            block.close();
        });
        assert_eq!(
            problems,
            ["t:2: box b: unknown directive conect_timeout, did you mean connect_timeout?"]
        );
        let (rest, problems) = read("b\nname x\na 1\nb 2", |mut block| {
            let _ = block.string("name").optional();
            block.rest().into_iter().cloned().collect::<Vec<_>>()
        });
        assert_eq!(outline(&rest), "b@2;a 1@4;b 2@5");
        assert!(problems.is_empty());
    }

    #[test]
    fn repeatable_directives_come_in_order() {
        let (lines, problems) = read("entry a b\nother x\nentry c d", |mut block| {
            let lines = block.repeated("entry").into_iter().cloned().collect::<Vec<_>>();
            let _ = block.string("other").optional();
            block.close();
            lines
        });
        assert_eq!(outline(&lines), "entry a b@2;entry c d@4");
        assert!(problems.is_empty());
    }

    #[test]
    fn two_spellings_are_one_directive() {
        let reader = |mut block: Block<'_>| {
            block.alias("curve", "curves");
            let value = block.strings("curves").optional();
            block.close();
            value
        };
        let (value, problems) = read("curve p256", reader);
        assert_eq!((value.unwrap(), problems.len()), (vec!["p256".to_string()], 0));
        let (_, problems) = read("curves p256\ncurve p384", reader);
        assert_eq!(problems, ["t:3: box b: curve is given twice, first at t:2"]);
    }

    #[test]
    fn a_value_can_be_judged_and_turned() {
        let reader = |mut block: Block<'_>| {
            let small = |n: &u32| if *n < 9 { Ok(()) } else { Err("is too much".into()) };
            let value = block.integer("n", 0..=9u32).check(small).map(|n| n * 10).or(0);
            block.close();
            value
        };
        assert_eq!(read("n 4", reader), (40, vec![]));
        assert_eq!(read("n 9", reader), (0, vec!["t:2: box b: n: is too much".into()]));
        assert_eq!(read("", reader), (0, vec![]));
    }

    #[test]
    fn sections_are_blocks_of_their_own() {
        let reader = |mut block: Block<'_>| {
            let value = block.section("inner").map(|mut inner| {
                let value = inner.boolean("on").or(false);
                inner.close();
                value
            });
            block.close();
            value
        };
        assert_eq!(read("inner {\non\n}", reader), (Some(true), vec![]));
        assert_eq!(read("", reader), (None, vec![]));
        assert_eq!(
            read("inner", reader),
            (None, vec!["t:2: box b: inner: expects a block".into()])
        );
        assert_eq!(
            read("inner x {\n}", reader),
            (None, vec!["t:2: box b: inner: takes a block and no arguments".into()])
        );
        let (_, problems) = read("inner {\nno\n}", reader);
        assert_eq!(problems, ["t:3: box b: inner: unknown directive no, did you mean on?"]);
    }

    #[test]
    fn a_block_where_none_is_allowed_is_an_error_unless_it_is_empty() {
        let reader = |mut block: Block<'_>| {
            let value = block.string("name").optional();
            block.close();
            value
        };
        assert_eq!(read("name a { }", reader), (Some("a".to_string()), vec![]));
        assert_eq!(
            read("name a { b }", reader),
            (None, vec!["t:2: box b: name: takes no block".into()])
        );
    }

    #[test]
    fn directives_without_effect_warn_and_refused_ones_do_not_load() {
        let (_, problems) = read("old 1\nold 2\nnever", |mut block| {
            block.ignored("old", "the scheduler decides");
            block.refused("never", "it would lose mail");
            block.close();
        });
        assert_eq!(
            problems,
            [
                "t:2: warning: box b: old has no effect: the scheduler decides",
                "t:3: warning: box b: old has no effect: the scheduler decides",
                "t:4: box b: never cannot be used: it would lose mail",
            ]
        );
    }

    #[test]
    fn modules_and_groups_are_read_where_they_stand() {
        let body = "target remote\nlimits &l\nbroken &a b\nmx_auth {\ndane\n}";
        let (_, problems) = read(body, |mut block| {
            let target = block.module("target", "target").required();
            assert!(matches!(target, Some(ModuleRef::Inline(m)) if m.name() == "remote"));
            assert!(
                matches!(block.group("limits").optional(), Some(GroupRef::Instance(i)) if i.name == "l")
            );
            assert!(
                matches!(block.group("mx_auth").optional(), Some(GroupRef::Inline(n)) if n.children().len() == 1)
            );
            assert!(block.module("broken", "target").optional().is_none());
            block.close();
        });
        assert_eq!(problems, ["t:4: box b: broken: nothing may follow &a"]);
    }

    #[test]
    fn a_node_without_a_block_is_read_like_an_empty_one() {
        let (nodes, _) = parsed("dummy");
        let problems = Problems::new();
        let mut block = Block::open(&nodes[0], &problems);
        assert_eq!(block.string("name").required(), None);
        block.close();
        assert_eq!(problems.sorted()[0].to_string(), "t:1: dummy: missing required directive name");
    }

    #[test]
    fn values_carry_their_place() {
        let (line, _) = read("\nname a", |mut block| {
            let (_, at) = block.string("name").placed().unwrap();
            at.clone()
        });
        assert_eq!(line, Place::line("t", 3));
    }
}
