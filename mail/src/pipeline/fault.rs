//! What can be wrong with a pipeline in the configuration.

use std::fmt;

use super::Place;
use crate::address::AddressError;

/// A mistake that keeps the pipeline from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineError {
    pub place: Place,
    pub fault: Fault,
}

impl PipelineError {
    pub fn new(place: &Place, fault: Fault) -> PipelineError {
        PipelineError { place: place.clone(), fault }
    }
}

impl fmt::Display for PipelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.fault)
    }
}

impl std::error::Error for PipelineError {}

/// Something that works but hardly as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineWarning {
    pub place: Place,
    pub text: String,
}

impl fmt::Display for PipelineWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// The rule of the grammar that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The pipeline has no directive that says what becomes of mail.
    EmptyPipeline,
    /// A `source`, `destination` or `..._in` block without content, or with modifiers only.
    EmptyBlock(&'static str),
    /// The directive does not belong into this block.
    Misplaced {
        directive: &'static str,
        block: &'static str,
    },
    /// Directives of the default block stand beside rules of the same level.
    BesideRules {
        directive: &'static str,
        rules: &'static str,
        default: &'static str,
    },
    /// There are rules and no default for the rest.
    NoDefault {
        rules: &'static str,
        default: &'static str,
    },
    /// A second `default_source` or `default_destination`.
    SecondDefault(&'static str),
    /// `source`, `destination`, `..._in` or `deliver_to` without arguments.
    NoArguments(&'static str),
    BadRule {
        rule: String,
        error: AddressError,
    },
    /// `reject` beside `deliver_to` or `reroute` in one block.
    RejectBeside(&'static str),
    /// The arguments of `reject`.
    BadReject(&'static str),
    /// More `reroute` blocks inside each other than this.
    TooDeep(usize),
    /// `msgpipeline` blocks that deliver to one another in a circle.
    Cycle(Vec<String>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::EmptyPipeline => f.write_str(
                "empty pipeline: expected deliver_to, reroute, reject, or source and destination blocks",
            ),
            Fault::EmptyBlock(block) => write!(
                f,
                "{block} block without deliver_to, reroute or reject; to drop mail say: deliver_to dummy"
            ),
            Fault::Misplaced { directive, block } => {
                write!(f, "{directive} is not allowed in a {block} block")
            }
            Fault::BesideRules { directive, rules, default } => {
                write!(f, "{directive} beside {rules} rules: move it into {default}")
            }
            Fault::NoDefault { rules, default } => {
                write!(f, "{rules} rules without {default}: say what becomes of all other mail")
            }
            Fault::SecondDefault(block) => write!(f, "second {block} block"),
            Fault::NoArguments(directive) => {
                write!(f, "{directive} needs at least one argument")
            }
            Fault::BadRule { rule, error } => write!(f, "rule {rule:?}: {error}"),
            Fault::RejectBeside(directive) => {
                write!(f, "reject and {directive} in the same block")
            }
            Fault::BadReject(what) => write!(f, "reject: {what}"),
            Fault::TooDeep(most) => {
                write!(f, "more than {most} reroute blocks inside each other")
            }
            Fault::Cycle(names) => {
                write!(f, "msgpipeline blocks deliver in a circle: {}", names.join(" -> "))
            }
        }
    }
}
