//! The pipeline directives of a block, read into the pipeline of `mail`.

use std::sync::Arc;

use posthaste_config::{Block as Settings, GroupRef, ModuleRef, Node, Problem};
use posthaste_mail::pipeline::{
    Block, Directive, Exit as Way, Modifier, Pipeline, PipelineError, Reject, Verb,
};
use posthaste_mail::table::Table;

use crate::configuration::Reader;
use crate::exit::Exit;

pub type Routing = Arc<Pipeline<Exit>>;

/// The directives of the language, for "did you mean".
const WORDS: &[&str] = &[
    "check",
    "modify",
    "source",
    "source_in",
    "default_source",
    "destination",
    "destination_in",
    "default_destination",
    "deliver_to",
    "reroute",
    "reject",
    "dmarc",
];

/// A block that consists of a pipeline: `bounce { }`, `msgpipeline NAME { }`.
pub fn read_block(reader: &Reader<'_>, node: &Node) -> Option<Routing> {
    let nodes: Vec<&Node> = node.children().iter().collect();
    read(reader, node, &nodes)
}

/// The pipeline that `nodes` make; `owner` is the block they stand in.
pub fn read(reader: &Reader<'_>, owner: &Node, nodes: &[&Node]) -> Option<Routing> {
    let block = directives(reader, nodes)?;
    match Pipeline::build(&owner.at.to_string(), block) {
        Ok(built) => {
            for warning in built.warnings {
                reader.warn_at(warning.place.as_str(), owner, warning.text);
            }
            Some(built.pipeline)
        }
        Err(errors) => {
            for error in errors {
                reader.error_at(error.place.as_str(), owner, error.fault.to_string());
            }
            None
        }
    }
}

/// `None` if any of them is wrong; all problems are reported.
fn directives(reader: &Reader<'_>, nodes: &[&Node]) -> Option<Block<Exit>> {
    let mut block = Vec::new();
    let mut good = true;
    for node in nodes {
        reader.remember_place(node);
        match verb(reader, node) {
            Ok(Some(verb)) => block.push(Directive::new(&node.at.to_string(), verb)),
            Ok(None) => {}
            Err(()) => good = false,
        }
    }
    good.then_some(block)
}

fn inner(reader: &Reader<'_>, node: &Node) -> Result<Block<Exit>, ()> {
    let nodes: Vec<&Node> = node.children().iter().collect();
    directives(reader, &nodes).ok_or(())
}

/// `Err` means that problems have been reported.
fn verb(reader: &Reader<'_>, node: &Node) -> Result<Option<Verb<Exit>>, ()> {
    let wrong = |text: &str| {
        reader.problems().push(Problem::error(&node.at, format!("{}: {text}", node.name)));
    };
    Ok(Some(match node.name.as_str() {
        "source" => Verb::Source(node.args.clone(), inner(reader, node)?),
        "source_in" => Verb::SourceIn(tables(reader, node)?, inner(reader, node)?),
        "default_source" => Verb::DefaultSource(without_arguments(reader, node)?),
        "destination" => Verb::Destination(node.args.clone(), inner(reader, node)?),
        "destination_in" => Verb::DestinationIn(tables(reader, node)?, inner(reader, node)?),
        "default_destination" => Verb::DefaultDestination(without_arguments(reader, node)?),
        "reroute" => Verb::Reroute(without_arguments(reader, node)?),
        "deliver_to" => Verb::DeliverTo(vec![way(reader, node)?]),
        "reject" => Verb::Reject(reject(reader, node)?),
        "modify" => Verb::Modify(modifiers(reader, node)?),
        "check" => {
            // A check that is not made must not look as if it were.
            wrong("checks are not supported by this version");
            return Err(());
        }
        "dmarc" => match node.args.as_slice() {
            [no] if no == "no" => return Ok(None),
            _ => {
                wrong("DMARC is not supported by this version, only `dmarc no`");
                return Err(());
            }
        },
        other => {
            let words = WORDS.iter().copied();
            reader.problems().push(Problem::unknown(&node.at, "directive", other, words));
            return Err(());
        }
    }))
}

fn without_arguments(reader: &Reader<'_>, node: &Node) -> Result<Block<Exit>, ()> {
    if !node.args.is_empty() {
        let text = format!("{} takes no arguments", node.name);
        reader.problems().push(Problem::error(&node.at, text));
        return Err(());
    }
    inner(reader, node)
}

/// The arguments are one table; its block is the pipeline's.
fn tables(reader: &Reader<'_>, node: &Node) -> Result<Vec<Arc<dyn Table>>, ()> {
    let reference = Node { children: None, ..(*node).clone() };
    let found = ModuleRef::of(&reference, "table").map_err(|problem| {
        reader.problems().push(problem);
    })?;
    reader.tables.table(&reader.reading(), &found).map(|table| vec![table]).ok_or(())
}

fn way(reader: &Reader<'_>, node: &Node) -> Result<Way<Exit>, ()> {
    let found = ModuleRef::of(node, "target").map_err(|problem| reader.problems().push(problem))?;
    if let ModuleRef::Instance(instance) = &found
        && let Some(shared) = reader.shared_pipeline(instance)
    {
        return Ok(Way::Pipeline(shared));
    }
    reader.target(&found).map(Way::Target).ok_or(())
}

fn reject(reader: &Reader<'_>, node: &Node) -> Result<Reject, ()> {
    if node.children.is_some() {
        reader.problems().push(Problem::error(&node.at, "reject takes no block"));
        return Err(());
    }
    let words: Vec<&str> = node.args.iter().map(String::as_str).collect();
    match Reject::parse(&words) {
        Ok((reject, None)) => Ok(reject),
        Ok((reject, Some(warning))) => {
            reader.problems().push(Problem::warning(&node.at, warning.to_string()));
            Ok(reject)
        }
        Err(fault) => {
            let place = posthaste_mail::pipeline::Place::new(&node.at.to_string());
            let error = PipelineError::new(&place, fault);
            reader.problems().push(Problem::error(&node.at, error.fault.to_string()));
            Err(())
        }
    }
}

/// `modify { replace_rcpt TABLE... }`, or `modify &name` of a `modifiers` block.
fn modifiers(reader: &Reader<'_>, node: &Node) -> Result<Vec<Modifier>, ()> {
    let group = GroupRef::of(node).map_err(|problem| reader.problems().push(problem))?;
    let block = match &group {
        GroupRef::Inline(node) => (*node).clone(),
        GroupRef::Instance(instance) => {
            let block = reader.references.resolve(instance);
            let block = block.map_err(|problem| reader.problems().push(problem))?;
            if block.module != "modifiers" {
                let text = format!("&{} is a {}, not modifiers", instance.name, block.module);
                reader.problems().push(Problem::error(&instance.at, text));
                return Err(());
            }
            block.node.clone()
        }
    };
    let mut settings = Settings::open(&block, reader.problems());
    let mut found = Vec::new();
    let mut good = true;
    let mut lines: Vec<(&Node, bool)> = Vec::new();
    lines.extend(settings.repeated("replace_sender").into_iter().map(|n| (n, true)));
    lines.extend(settings.repeated("replace_rcpt").into_iter().map(|n| (n, false)));
    // In the order of the file, whatever their kind.
    lines.sort_by_key(|(node, _)| {
        block.children().iter().position(|child| std::ptr::eq(child, *node))
    });
    for (line, sender) in lines {
        match ModuleRef::of(line, "table").map(|m| reader.tables.table(&reader.reading(), &m)) {
            Ok(Some(table)) if sender => found.push(Modifier::ReplaceSender(table)),
            Ok(Some(table)) => found.push(Modifier::ReplaceRecipient(table)),
            Ok(None) => good = false,
            Err(problem) => {
                reader.problems().push(problem);
                good = false;
            }
        }
    }
    settings.close();
    if good { Ok(found) } else { Err(()) }
}
