//! Macros: words that stand for other words.
//!
//! `$(name) = value...` declares one at the top level; from there on an argument that is exactly `$(name)` becomes all its values, and
//! `a$(name)b` becomes one word around its single value. A name that was never declared is worth a warning: the argument vanishes, the
//! embedded use becomes nothing.

use std::collections::BTreeMap;

use crate::budget::Budget;
use crate::place::Place;
use crate::problem::{Problem, Problems, shown};
use crate::tree::{Node, macro_name};

#[derive(Debug, Default)]
pub(crate) struct Macros(BTreeMap<String, Vec<String>>);

/// A stretch of an argument.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Use(&'a str),
}

impl Macros {
    /// Takes in `$(name) = value...`. True when the node is such a declaration, right or wrong, and has no place in the tree.
    pub fn declare(&mut self, node: &Node, budget: &mut Budget, problems: &Problems) -> bool {
        let Some(name) = macro_name(&node.name) else { return false };
        let wrong = match (node.args.split_first(), &node.children) {
            _ if name.is_empty() => Some("a macro needs a name"),
            (_, Some(_)) => Some("a macro has values, not a block"),
            (Some((equals, values)), None) if equals == "=" && values.is_empty() => {
                Some("a macro needs at least one value")
            }
            (Some((equals, _)), None) if equals == "=" => None,
            (_, None) => Some(
                "a declaration is written $(name) = value, with spaces around =; a macro cannot be used as the name of a directive",
            ),
        };
        match wrong {
            Some(text) => problems.error(&node.at, text),
            None => {
                let values = node.args.get(1..).unwrap_or_default();
                let values = self.expand(values, &node.at, budget, problems);
                self.0.insert(name.to_string(), values);
            }
        }
        true
    }

    pub fn expand(
        &self,
        args: &[String],
        at: &Place,
        budget: &mut Budget,
        problems: &Problems,
    ) -> Vec<String> {
        let mut expanded = Vec::with_capacity(args.len());
        for arg in args {
            match pieces(arg).as_slice() {
                [] | [Piece::Text(_)] => expanded.push(arg.clone()),
                [Piece::Use(name)] => {
                    for value in self.values(name, at, problems) {
                        if !budget.word(value.len(), at, problems) {
                            return expanded;
                        }
                        expanded.push(value.clone());
                    }
                }
                mixed => match self.joined(mixed, at, budget, problems) {
                    Ok(word) => expanded.push(word),
                    Err(problem) => problems.push(problem),
                },
            }
        }
        expanded
    }

    fn joined(
        &self,
        pieces: &[Piece],
        at: &Place,
        budget: &mut Budget,
        problems: &Problems,
    ) -> Result<String, Problem> {
        let mut word = String::new();
        for piece in pieces {
            let text = match piece {
                Piece::Text(text) => text,
                Piece::Use(name) => match self.values(name, at, problems) {
                    [] => "",
                    [value] => value.as_str(),
                    several => {
                        let (name, count) = (shown(&format!("$({name})")), several.len());
                        let text =
                            format!("macro {name} has {count} values and cannot be part of a word");
                        return Err(Problem::error(at, text));
                    }
                },
            };
            if !budget.word(text.len(), at, problems) {
                break;
            }
            word.push_str(text);
        }
        Ok(word)
    }

    fn values(&self, name: &str, at: &Place, problems: &Problems) -> &[String] {
        match self.0.get(name) {
            Some(values) => values,
            None => {
                let text = format!("macro {} is not defined above", shown(&format!("$({name})")));
                problems.warning(at, text);
                &[]
            }
        }
    }
}

/// Cuts at `$(` and the first `)` after it; without one the rest is text.
fn pieces(arg: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = arg;
    while let Some((before, (name, after))) =
        rest.split_once("$(").and_then(|(before, inner)| Some((before, inner.split_once(')')?)))
    {
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces.push(Piece::Use(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::parsed;

    fn run(text: &str) -> (Vec<String>, Vec<String>) {
        let (mut macros, mut budget) = (Macros::default(), Budget::new());
        let problems = Problems::new();
        let (nodes, complaints) = parsed(text);
        assert_eq!(complaints, Vec::<String>::new());
        let mut args = Vec::new();
        for node in &nodes {
            if !macros.declare(node, &mut budget, &problems) {
                args = macros.expand(&node.args, &node.at, &mut budget, &problems);
            }
        }
        (args, problems.sorted().iter().map(Problem::to_string).collect())
    }

    fn good(text: &str, expected: &[&str]) {
        assert_eq!(run(text), (expected.iter().map(|w| w.to_string()).collect(), vec![]), "{text}");
    }

    fn warns(text: &str, expected: &[&str], complaints: &[&str]) {
        let (args, problems) = run(text);
        assert_eq!(args, expected, "{text}");
        assert_eq!(problems, complaints, "{text}");
    }

    #[test]
    fn a_whole_argument_becomes_all_values() {
        good("$(a) = b c\nx $(a) d", &["b", "c", "d"]);
        good("$(a) = \"b c\"\nx $(a)", &["b c"]); // spaces don't split
        good("$(a) = b\nx \"$(a)\"", &["b"]); // quotes don't protect
        good("$(a) = \"\"\nx $(a)", &[""]);
    }

    #[test]
    fn an_embedded_use_becomes_the_single_value() {
        good("$(a) = b\nx p$(a)s", &["pbs"]);
        good("$(a) = b\n$(c) = d\nx $(a)/$(c)", &["b/d"]); // vanishes in maddy
        good("$(a) = b\n$(c) = d\nx $(a)$(c)", &["bd"]);
        good("$(x) = 1\nx y$(x)z)", &["y1z)"]); // "y" in maddy
        good("$(h) = mx\n$(d) = example.org\nx $(h).$(d)", &["mx.example.org"]);
    }

    #[test]
    fn several_values_do_not_fit_into_a_word() {
        let text = "t:2: macro $(a) has 2 values and cannot be part of a word";
        warns("$(a) = b c\nx p$(a) q", &["q"], &[text]);
    }

    #[test]
    fn an_undefined_macro_vanishes_with_a_warning() {
        let text = "t:1: warning: macro $(a) is not defined above";
        warns("x b $(a) c", &["b", "c"], &[text]);
        warns("x p$(a)s", &["ps"], &[text]);
        warns("x $(a) $(a)", &[], &[text]);
        warns("x $()", &[], &["t:1: warning: macro $() is not defined above"]);
    }

    #[test]
    fn a_macro_is_not_seen_above_its_declaration() {
        let warning = "t:1: warning: macro $(a) is not defined above";
        warns("$(b) = x$(a)\n$(a) = 1\nx $(b)", &["x"], &[warning]);
    }

    #[test]
    fn values_may_use_earlier_macros_and_a_later_declaration_replaces() {
        good("$(a) = 1 2\n$(b) = $(a) 3\nx $(b)", &["1", "2", "3"]);
        good("$(a) = 1\n$(b) = $(a)\n$(a) = 2\nx $(a) $(b)", &["2", "1"]);
    }

    #[test]
    fn what_only_looks_like_a_macro_is_text() {
        good("x $a $(b $ ) \"$1@$3\"", &["$a", "$(b", "$", ")", "$1@$3"]);
    }

    #[test]
    fn wrong_declarations() {
        warns("$(a) =", &[], &["t:1: a macro needs at least one value"]);
        warns("$(a) = b {\n}", &[], &["t:1: a macro has values, not a block"]);
        warns("$() = b", &[], &["t:1: a macro needs a name"]);
        let form = "t:1: a declaration is written $(name) = value, with spaces around =; a macro cannot be used as the name of a directive";
        warns("$(a) b", &[], &[form]);
        warns("$(a) =b", &[], &[form]);
    }

    #[test]
    fn doubling_values_stop_at_the_budget() {
        let mut text = "$(a0) = x\n".to_string();
        for n in 1..60 {
            text.push_str(&format!("$(a{n}) = $(a{m}) $(a{m})\n", m = n - 1));
        }
        let problems = run(&text).1;
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("too large"), "{problems:?}");
    }
}
