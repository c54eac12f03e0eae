//! One word, or several, out of a fixed set.

use super::{fault, word, words};
use crate::nearest::nearest;
use crate::problem::{Problem, shown};
use crate::tree::Node;

/// Exactly one argument, one of the words of the table, case-sensitive.
pub fn choice<T: Clone>(node: &Node, table: &[(&str, T)]) -> Result<T, Problem> {
    pick(node, word(node)?, table)
}

/// One or more such arguments, in their order.
pub fn choices<T: Clone>(node: &Node, table: &[(&str, T)]) -> Result<Vec<T>, Problem> {
    words(node)?.iter().map(|word| pick(node, word, table)).collect()
}

fn pick<T: Clone>(node: &Node, word: &str, table: &[(&str, T)]) -> Result<T, Problem> {
    let known = || table.iter().map(|(name, _)| *name);
    match table.iter().find(|(name, _)| *name == word) {
        Some((_, value)) => Ok(value.clone()),
        None => {
            let hint = nearest(word, known()).map(|near| format!(", did you mean {near}?"));
            let list = known().collect::<Vec<_>>().join(", ");
            let (found, hint) = (shown(word), hint.unwrap_or_default());
            Err(fault(node, format!("expects one of {list}; found {found}{hint}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{complaint, node};
    use super::*;

    const TABLE: &[(&str, u8)] = &[("off", 0), ("plain", 1), ("external", 2)];

    #[test]
    fn words_stand_for_values() {
        assert_eq!(choice(&node("plain"), TABLE).unwrap(), 1);
        assert_eq!(choices(&node("external off"), TABLE).unwrap(), [2, 0]);
    }

    #[test]
    fn other_words_list_the_valid_ones_in_order() {
        assert_eq!(
            complaint(choice(&node("extrenal"), TABLE)),
            "t:1: x: expects one of off, plain, external; found extrenal, did you mean external?"
        );
        assert_eq!(
            complaint(choice(&node("Plain"), TABLE)), // case counts
            "t:1: x: expects one of off, plain, external; found Plain, did you mean plain?"
        );
        assert_eq!(
            complaint(choices(&node("off kerberos"), TABLE)),
            "t:1: x: expects one of off, plain, external; found kerberos"
        );
        assert_eq!(
            complaint(choice(&node("off off"), TABLE)),
            "t:1: x: expects one argument, found 2"
        );
        assert_eq!(
            complaint(choices(&node(""), TABLE)),
            "t:1: x: expects at least one argument, found none"
        );
        assert_eq!(complaint(choice(&node("off {\na\n}"), TABLE)), "t:1: x: takes no block");
    }
}
