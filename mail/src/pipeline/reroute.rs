//! Pipelines as exits of pipelines.
//!
//! A `msgpipeline` instance may be named before its block is read and by several others, so it is a name first and is bound later. A
//! circle of them would never end: the configuration is refused for it, and a transaction counts its depth all the same.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::{Action, Fault, Pipeline, PipelineError, Place, Way};

/// A `msgpipeline NAME { }`: clones share what is bound to the name.
pub struct SharedPipeline<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    name: String,
    bound: OnceLock<Arc<Pipeline<T>>>,
}

/// The name has its pipeline already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlreadyBound {
    pub name: String,
}

impl fmt::Display for AlreadyBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "msgpipeline {} is defined twice", self.name)
    }
}

impl std::error::Error for AlreadyBound {}

impl<T> Clone for SharedPipeline<T> {
    fn clone(&self) -> SharedPipeline<T> {
        SharedPipeline { inner: Arc::clone(&self.inner) }
    }
}

/// Only the name: what is bound may lead back here.
impl<T> fmt::Debug for SharedPipeline<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "&{}", self.inner.name)
    }
}

impl<T> SharedPipeline<T> {
    /// A name that is not bound yet. A transaction that comes to it is refused for now.
    pub fn new(name: &str) -> SharedPipeline<T> {
        let inner = Inner { name: name.to_string(), bound: OnceLock::new() };
        SharedPipeline { inner: Arc::new(inner) }
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub fn bind(&self, pipeline: Arc<Pipeline<T>>) -> Result<(), AlreadyBound> {
        let already = |_| AlreadyBound { name: self.inner.name.clone() };
        self.inner.bound.set(pipeline).map_err(already)
    }

    pub fn pipeline(&self) -> Option<&Arc<Pipeline<T>>> {
        self.inner.bound.get()
    }

    fn is(&self, other: &SharedPipeline<T>) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Looks for circles among bound pipelines. The error stands at the `deliver_to` that closes the circle.
    pub fn refuse_circles(all: &[SharedPipeline<T>]) -> Result<(), PipelineError> {
        let mut search = Search { open: Vec::new(), done: Vec::new() };
        all.iter().try_for_each(|shared| search.enter(shared))
    }
}

/// A depth-first search. `open` is the way to where it stands.
struct Search<T> {
    open: Vec<SharedPipeline<T>>,
    done: Vec<SharedPipeline<T>>,
}

impl<T> Search<T> {
    fn enter(&mut self, shared: &SharedPipeline<T>) -> Result<(), PipelineError> {
        if self.done.iter().any(|done| done.is(shared)) {
            return Ok(());
        }
        self.open.push(shared.clone());
        if let Some(pipeline) = shared.pipeline() {
            for (next, place) in shared_exits(pipeline) {
                if let Some(start) = self.open.iter().position(|open| open.is(&next)) {
                    let circle = self.open.iter().skip(start).chain([&next]);
                    let names = circle.map(|shared| shared.name().to_string()).collect();
                    return Err(PipelineError::new(&place, Fault::Cycle(names)));
                }
                self.enter(&next)?;
            }
        }
        self.done.extend(self.open.pop());
        Ok(())
    }
}

/// The shared pipelines that a pipeline names itself or in its `reroute` blocks.
fn shared_exits<T>(pipeline: &Pipeline<T>) -> Vec<(SharedPipeline<T>, Place)> {
    let mut exits = Vec::new();
    for way in ways(pipeline) {
        match way {
            Way::Target(_) => {}
            Way::Nested(nested) => exits.extend(shared_exits(nested)),
            Way::Shared(shared, place) => exits.push((shared.clone(), place.clone())),
        }
    }
    exits
}

/// The exits of a pipeline's own blocks, in the order of the file.
fn ways<T>(pipeline: &Pipeline<T>) -> impl Iterator<Item = &Way<T>> {
    let destinations = pipeline.sources.blocks().iter().flat_map(|s| s.destinations.blocks());
    destinations.flat_map(|destination| match &destination.action {
        Action::Reject(..) => &[],
        Action::Send(ways) => ways.as_slice(),
    })
}

/// Shows every exit of a pipeline and of those it leads to; each shared pipeline once.
pub(super) fn visit_ways<'p, T>(pipeline: &'p Pipeline<T>, visit: &mut impl FnMut(&'p Way<T>)) {
    let mut seen: Vec<&SharedPipeline<T>> = Vec::new();
    let mut waiting: Vec<&Way<T>> = ways(pipeline).collect();
    waiting.reverse();
    while let Some(way) = waiting.pop() {
        visit(way);
        let next = match way {
            Way::Target(_) => None,
            Way::Nested(nested) => Some(nested),
            Way::Shared(shared, _) if seen.iter().any(|seen| seen.is(shared)) => None,
            Way::Shared(shared, _) => {
                seen.push(shared);
                shared.pipeline()
            }
        };
        let mut below: Vec<&Way<T>> = next.into_iter().flat_map(|next| ways(next)).collect();
        below.reverse();
        waiting.append(&mut below);
    }
}
