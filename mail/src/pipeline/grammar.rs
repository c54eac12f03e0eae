//! The directives of a pipeline, as a reader of the configuration finds them.
//!
//! This is the grammar without its rules: any directive in any block, in the order of the file. `Pipeline::build` says which of it
//! makes sense.

use std::fmt;
use std::sync::Arc;

use super::{Modifier, Reject, SharedPipeline};
use crate::table::Table;

/// Where something stands in the configuration, `FILE:LINE`, so that a log can say which rule fired.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(Arc<str>);

impl Place {
    pub fn new(text: &str) -> Place {
        Place(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The directives of one block, in the order of the file.
pub type Block<T> = Vec<Directive<T>>;

#[derive(Clone, Debug)]
pub struct Directive<T> {
    pub place: Place,
    pub verb: Verb<T>,
}

impl<T> Directive<T> {
    pub fn new(place: &str, verb: Verb<T>) -> Directive<T> {
        Directive { place: Place::new(place), verb }
    }
}

#[derive(Clone, Debug)]
pub enum Verb<T> {
    /// `modify { }` or `modify &name`.
    Modify(Vec<Modifier>),
    /// `source RULE... { }`
    Source(Vec<String>, Block<T>),
    /// `source_in TABLE... { }`
    SourceIn(Vec<Arc<dyn Table>>, Block<T>),
    /// `default_source { }`
    DefaultSource(Block<T>),
    /// `destination RULE... { }`
    Destination(Vec<String>, Block<T>),
    /// `destination_in TABLE... { }`
    DestinationIn(Vec<Arc<dyn Table>>, Block<T>),
    /// `default_destination { }`
    DefaultDestination(Block<T>),
    /// `deliver_to TARGET...`
    DeliverTo(Vec<Exit<T>>),
    /// `reroute { }`
    Reroute(Block<T>),
    /// `reject [CODE [ENH [TEXT]]]`
    Reject(Reject),
}

impl<T> Verb<T> {
    /// The directive's name in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Verb::Modify(_) => "modify",
            Verb::Source(..) => "source",
            Verb::SourceIn(..) => "source_in",
            Verb::DefaultSource(_) => "default_source",
            Verb::Destination(..) => "destination",
            Verb::DestinationIn(..) => "destination_in",
            Verb::DefaultDestination(_) => "default_destination",
            Verb::DeliverTo(_) => "deliver_to",
            Verb::Reroute(_) => "reroute",
            Verb::Reject(_) => "reject",
        }
    }
}

/// One argument of `deliver_to`.
#[derive(Clone, Debug)]
pub enum Exit<T> {
    Target(T),
    /// A `msgpipeline` instance.
    Pipeline(SharedPipeline<T>),
}
