//! What the arguments of one directive mean.
//!
//! Every function takes a node and gives a value or the problem at its place: what was found, what is expected. A directive of these
//! types has no block; an empty one is let pass, as in maddy.

mod choice;
mod duration;
mod number;
mod size;

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use posthaste_mail::address::Domain;

use crate::endpoint::{self, ClientEndpoint, ListenEndpoint};
use crate::problem::{Problem, shown};
use crate::tree::Node;

pub use choice::{choice, choices};
pub use duration::{duration, duration_or_off};
pub use number::{float, integer};
pub use size::{Size, size};

/// A problem of this directive.
pub fn fault(node: &Node, text: impl AsRef<str>) -> Problem {
    Problem::error(&node.at, text.as_ref()).within(&shown(&node.name))
}

/// No directives in a block.
pub fn no_block(node: &Node) -> Result<(), Problem> {
    match node.children().is_empty() {
        true => Ok(()),
        false => Err(fault(node, "takes no block")),
    }
}

/// Exactly one argument, of any content.
pub fn string(node: &Node) -> Result<String, Problem> {
    word(node).map(str::to_string)
}

/// One or more arguments.
pub fn strings(node: &Node) -> Result<Vec<String>, Problem> {
    words(node).map(<[String]>::to_vec)
}

/// Exactly one argument that is not empty. What a relative path counts from is the reader's to say.
pub fn path(node: &Node) -> Result<PathBuf, Problem> {
    match word(node)? {
        "" => Err(fault(node, "expects a path, found nothing")),
        text if text.contains('\0') => Err(fault(node, "a path cannot contain NUL")),
        text => Ok(PathBuf::from(text)),
    }
}

/// A domain name in A-labels or U-labels. It is for others to read, who refuse what is none.
pub fn domain(node: &Node) -> Result<Domain, Problem> {
    let text = word(node)?;
    let wrong = |why: &dyn Display| {
        fault(node, format!("expects a domain name, found {}: {why}", shown(text)))
    };
    let domain = Domain::parse(text).map_err(|error| wrong(&error))?;
    if domain.ascii().parse::<Ipv4Addr>().is_ok() {
        return Err(wrong(&"it is an address"));
    }
    // RFC 5321 §4.1.2: a label begins and ends with a letter or a digit.
    if domain.ascii().split('.').any(|label| label.starts_with('-') || label.ends_with('-')) {
        return Err(wrong(&"a label begins or ends with a hyphen"));
    }
    Ok(domain)
}

/// Nothing means yes; else one of `1 true on yes` or `0 false off no`, in any case.
pub fn boolean(node: &Node) -> Result<bool, Problem> {
    no_block(node)?;
    let word = match node.args.as_slice() {
        [] => return Ok(true),
        [word] => word.to_lowercase(),
        _ => return Err(fault(node, "expects one argument, yes or no")),
    };
    match word.as_str() {
        "1" | "true" | "on" | "yes" => Ok(true),
        "0" | "false" | "off" | "no" => Ok(false),
        other => Err(fault(node, format!("expects yes or no, found {}", shown(other)))),
    }
}

/// One or more addresses to connect to.
pub fn endpoints(node: &Node) -> Result<Vec<ClientEndpoint>, Problem> {
    words(node)?
        .iter()
        .map(|text| endpoint::client(text).map_err(|e| fault(node, e.to_string())))
        .collect()
}

/// One or more addresses to listen on.
pub fn listeners(node: &Node) -> Result<Vec<ListenEndpoint>, Problem> {
    words(node)?
        .iter()
        .map(|text| endpoint::listen(text).map_err(|e| fault(node, e.to_string())))
        .collect()
}

/// The only argument.
fn word(node: &Node) -> Result<&str, Problem> {
    no_block(node)?;
    match node.args.as_slice() {
        [word] => Ok(word),
        [] => Err(fault(node, "expects one argument, found none")),
        several => Err(fault(node, format!("expects one argument, found {}", several.len()))),
    }
}

/// All arguments, at least one.
fn words(node: &Node) -> Result<&[String], Problem> {
    no_block(node)?;
    match node.args.as_slice() {
        [] => Err(fault(node, "expects at least one argument, found none")),
        several => Ok(several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::parsed;

    /// The directive `x` with these arguments.
    pub(super) fn node(args: &str) -> Node {
        let (mut nodes, problems) = parsed(&format!("x {args}"));
        assert!(problems.is_empty(), "{problems:?}");
        nodes.remove(0)
    }

    /// The text of the problem, which must be at the place of the node.
    pub(super) fn complaint<T: std::fmt::Debug>(value: Result<T, Problem>) -> String {
        value.expect_err("a value came of it").to_string()
    }

    #[test]
    fn a_string_is_exactly_one_argument() {
        assert_eq!(string(&node("a")).unwrap(), "a");
        assert_eq!(string(&node("\"\"")).unwrap(), "");
        assert_eq!(string(&node("a {\n}")).unwrap(), "a"); // an empty block is let pass
        assert_eq!(complaint(string(&node(""))), "t:1: x: expects one argument, found none");
        assert_eq!(complaint(string(&node("a b"))), "t:1: x: expects one argument, found 2");
        assert_eq!(complaint(string(&node("a {\nb\n}"))), "t:1: x: takes no block");
    }

    #[test]
    fn a_list_is_at_least_one_argument() {
        assert_eq!(strings(&node("a b")).unwrap(), ["a", "b"]);
        assert_eq!(
            complaint(strings(&node(""))),
            "t:1: x: expects at least one argument, found none"
        );
        assert_eq!(complaint(strings(&node("a {\nb\n}"))), "t:1: x: takes no block");
    }

    #[test]
    fn booleans_in_every_spelling() {
        for yes in ["", "1", "true", "on", "yes", "YES", "True"] {
            assert!(boolean(&node(yes)).unwrap(), "{yes}");
        }
        for no in ["0", "false", "off", "no", "oFF"] {
            assert!(!boolean(&node(no)).unwrap(), "{no}");
        }
        assert_eq!(complaint(boolean(&node("maybe"))), "t:1: x: expects yes or no, found maybe");
        assert_eq!(complaint(boolean(&node("\"\""))), "t:1: x: expects yes or no, found \"\"");
        assert_eq!(complaint(boolean(&node("yes no"))), "t:1: x: expects one argument, yes or no");
        assert_eq!(complaint(boolean(&node("{\nb\n}"))), "t:1: x: takes no block");
    }

    #[test]
    fn domains_and_paths_are_checked() {
        assert_eq!(domain(&node("MX.Example.org")).unwrap().ascii(), "mx.example.org");
        assert_eq!(domain(&node("münchen.example")).unwrap().ascii(), "xn--mnchen-3ya.example");
        assert!(
            complaint(domain(&node("\"a b\"")))
                .starts_with("t:1: x: expects a domain name, found \"a b\": ")
        );
        assert!(
            complaint(domain(&node("\"\"")))
                .starts_with("t:1: x: expects a domain name, found \"\": ")
        );
        for (text, why) in [
            ("192.0.2.1", "it is an address"),
            ("-a.test", "a label begins or ends with a hyphen"),
            ("a-.test", "a label begins or ends with a hyphen"),
        ] {
            let told = format!("t:1: x: expects a domain name, found {text}: {why}");
            assert_eq!(complaint(domain(&node(text))), told);
        }
        assert_eq!(path(&node("a/b")).unwrap(), PathBuf::from("a/b"));
        assert_eq!(complaint(path(&node("\"\""))), "t:1: x: expects a path, found nothing");
    }

    #[test]
    fn endpoints_are_lists() {
        assert_eq!(endpoints(&node("tcp://a:25 unix:/x")).unwrap().len(), 2);
        assert_eq!(listeners(&node("tcp://:25")).unwrap().len(), 1);
        assert!(
            complaint(endpoints(&node("tcp://:25"))).starts_with("t:1: x: address tcp://:25: ")
        );
    }
}
