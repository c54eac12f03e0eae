//! From directives to a pipeline: the static rules of the grammar.
//!
//! Each level may stand in for the ones below it: bare directives are the content of the default block. All problems are reported at
//! once; a pipeline exists only if there are none.

use std::sync::Arc;

use super::modify::PlacedModifier;
use super::rule::Rule;
use super::selection::Selection;
use super::{
    Action, Block, Destination, Directive, Exit, Fault, Modifier, Pipeline, PipelineError,
    PipelineWarning, Place, Source, Verb, Way,
};
use crate::table::Table;

/// A pipeline, and what the operator should look at.
#[derive(Debug)]
pub struct Built<T> {
    pub pipeline: Arc<Pipeline<T>>,
    pub warnings: Vec<PipelineWarning>,
}

impl<T> Pipeline<T> {
    /// Checks the directives of a pipeline; `place` is that of the block they stand in.
    pub fn build(place: &str, block: Block<T>) -> Result<Built<T>, Vec<PipelineError>> {
        let mut construction = Construction { errors: Vec::new(), warnings: Vec::new(), depth: 0 };
        let place = Place::new(place);
        match construction.pipeline(&place, block) {
            Some(pipeline) if construction.errors.is_empty() => {
                Ok(Built { pipeline, warnings: construction.warnings })
            }
            _ => Err(construction.errors),
        }
    }
}

/// The problems met so far. A part with problems is `None`, and has left at least one error here.
struct Construction {
    errors: Vec<PipelineError>,
    warnings: Vec<PipelineWarning>,
    /// `reroute` blocks around the one at hand.
    depth: usize,
}

/// More `reroute` blocks inside each other are a mistake, and would cost stack.
const MAX_NESTED_BLOCKS: usize = 32;

/// What a block of the upper two levels consists of.
struct Sorted<T> {
    place: Place,
    modifiers: Vec<PlacedModifier>,
    cases: Vec<Case<T>>,
    /// Directives that belong into the default block.
    bare: Block<T>,
    /// Problems known when the block was begun: with new ones, it is not called empty as well.
    errors_before: usize,
}

/// A block with what selects it.
struct Case<T> {
    place: Place,
    selector: Selector,
    block: Block<T>,
}

enum Selector {
    Rules(Vec<String>),
    Tables(Vec<Arc<dyn Table>>),
    Default,
}

/// A selector whose rules are read. The default has none.
enum Checked {
    Rules(Vec<(String, Rule)>),
    Tables(Vec<Arc<dyn Table>>),
}

/// The names of the directives of a level, for messages.
struct Words {
    rules: &'static str,
    tables: &'static str,
    default: &'static str,
}

const SOURCES: Words = Words { rules: "source", tables: "source_in", default: "default_source" };
const DESTINATIONS: Words =
    Words { rules: "destination", tables: "destination_in", default: "default_destination" };

type Make<T, B> = fn(&mut Construction, &'static str, &Place, Block<T>) -> Option<B>;

impl Construction {
    fn error(&mut self, place: &Place, fault: Fault) {
        self.errors.push(PipelineError::new(place, fault));
    }

    fn warn(&mut self, place: &Place, text: String) {
        self.warnings.push(PipelineWarning { place: place.clone(), text });
    }

    fn pipeline<T>(&mut self, place: &Place, block: Block<T>) -> Option<Arc<Pipeline<T>>> {
        let mut sorted = Sorted::new(place, self.errors.len());
        for Directive { place, verb } in block {
            match verb {
                Verb::Modify(modifiers) => sorted.modify(&place, modifiers),
                Verb::Source(rules, block) => {
                    sorted.case(place, Selector::Rules(rules), block);
                }
                Verb::SourceIn(tables, block) => {
                    sorted.case(place, Selector::Tables(tables), block);
                }
                Verb::DefaultSource(block) => sorted.case(place, Selector::Default, block),
                Verb::Destination(..)
                | Verb::DestinationIn(..)
                | Verb::DefaultDestination(_)
                | Verb::DeliverTo(_)
                | Verb::Reroute(_)
                | Verb::Reject(_) => sorted.bare.push(Directive { place, verb }),
            }
        }
        let modifiers = std::mem::take(&mut sorted.modifiers);
        let sources =
            self.selection(sorted, &SOURCES, Fault::EmptyPipeline, Construction::source)?;
        Some(Arc::new(Pipeline { place: place.clone(), modifiers, sources }))
    }

    fn source<T>(
        &mut self,
        word: &'static str,
        place: &Place,
        block: Block<T>,
    ) -> Option<Source<T>> {
        let mut sorted = Sorted::new(place, self.errors.len());
        for Directive { place, verb } in block {
            match verb {
                Verb::Modify(modifiers) => sorted.modify(&place, modifiers),
                Verb::Destination(rules, block) => {
                    sorted.case(place, Selector::Rules(rules), block);
                }
                Verb::DestinationIn(tables, block) => {
                    sorted.case(place, Selector::Tables(tables), block);
                }
                Verb::DefaultDestination(block) => sorted.case(place, Selector::Default, block),
                Verb::DeliverTo(_) | Verb::Reroute(_) | Verb::Reject(_) => {
                    sorted.bare.push(Directive { place, verb });
                }
                Verb::Source(..) | Verb::SourceIn(..) | Verb::DefaultSource(_) => {
                    self.error(&place, Fault::Misplaced { directive: verb.word(), block: word });
                }
            }
        }
        let modifiers = std::mem::take(&mut sorted.modifiers);
        let empty = Fault::EmptyBlock(word);
        let destinations =
            self.selection(sorted, &DESTINATIONS, empty, Construction::destination)?;
        Some(Source { modifiers, destinations })
    }

    /// Makes the blocks of a level and puts each behind its rules; `empty` is what to say when there are none.
    fn selection<T, B>(
        &mut self,
        sorted: Sorted<T>,
        words: &Words,
        empty: Fault,
        make: Make<T, B>,
    ) -> Option<Selection<B>> {
        let Sorted { place, cases, bare, errors_before, .. } = sorted;
        let ruled = cases.iter().find(|case| !matches!(case.selector, Selector::Tables(_)));
        let ruled = ruled.map(|case| case.place.clone());
        let mut blocks = Vec::new();
        let mut selectors = Vec::new();
        let mut default = None;
        let mut default_given = false;
        for Case { place, selector, block } in cases {
            let word = words.of(&selector);
            let is_default = matches!(selector, Selector::Default);
            if is_default && default_given {
                self.error(&place, Fault::SecondDefault(word));
                continue;
            }
            default_given |= is_default;
            let selector = self.check(word, &place, selector);
            let Some(made) = make(self, word, &place, block).map(Arc::new) else { continue };
            if is_default {
                default = Some(Arc::clone(&made));
            }
            blocks.push(Arc::clone(&made));
            selectors.push((word, place, selector, made));
        }
        match ruled {
            // The default stands in a block of its own, or nowhere.
            Some(first) => {
                for directive in &bare {
                    let fault = Fault::BesideRules {
                        directive: directive.verb.word(),
                        rules: words.rules,
                        default: words.default,
                    };
                    self.error(&directive.place, fault);
                }
                if !default_given {
                    let fault = Fault::NoDefault { rules: words.rules, default: words.default };
                    self.error(&first, fault);
                }
            }
            None if bare.is_empty() => {
                if self.errors.len() == errors_before {
                    self.error(&place, empty);
                }
            }
            None => {
                let made = make(self, words.default, &place, bare).map(Arc::new);
                blocks.extend(made.clone());
                default = made;
            }
        }
        let mut selection = Selection::new(blocks, default?);
        for (word, place, selector, block) in selectors {
            self.register(&mut selection, word, &place, selector, &block);
        }
        Some(selection)
    }

    /// Reads the arguments of a directive that selects.
    fn check(&mut self, word: &'static str, place: &Place, selector: Selector) -> Checked {
        match selector {
            Selector::Default => Checked::Rules(Vec::new()),
            Selector::Tables(tables) => {
                if tables.is_empty() {
                    self.error(place, Fault::NoArguments(word));
                }
                Checked::Tables(tables)
            }
            Selector::Rules(rules) => {
                if rules.is_empty() {
                    self.error(place, Fault::NoArguments(word));
                }
                let mut checked = Vec::new();
                for text in rules {
                    match Rule::parse(&text) {
                        Ok(rule) => checked.push((text, rule)),
                        Err(error) => self.error(place, Fault::BadRule { rule: text, error }),
                    }
                }
                Checked::Rules(checked)
            }
        }
    }

    /// Puts a block behind what selects it.
    fn register<B>(
        &mut self,
        selection: &mut Selection<B>,
        word: &'static str,
        place: &Place,
        selector: Checked,
        block: &Arc<B>,
    ) {
        match selector {
            Checked::Tables(tables) => {
                for table in tables {
                    selection.add_table(table, place, Arc::clone(block));
                }
            }
            Checked::Rules(rules) => {
                for (text, rule) in rules {
                    if !selection.add_rule(rule, Arc::clone(block)) {
                        let again = format!(
                            "{word} rule {text:?} is given a second time, the first one counts"
                        );
                        self.warn(place, again);
                    }
                }
            }
        }
    }

    fn destination<T>(
        &mut self,
        word: &'static str,
        place: &Place,
        block: Block<T>,
    ) -> Option<Destination<T>> {
        let errors_before = self.errors.len();
        let mut modifiers = Vec::new();
        let mut ways = Vec::new();
        let mut reject = None;
        let mut sending = None;
        for Directive { place, verb } in block {
            let directive = verb.word();
            match verb {
                Verb::Modify(list) => {
                    if list.iter().any(|m| matches!(m, Modifier::ReplaceSender(_))) {
                        let text = "replace_sender has no effect in a destination block";
                        self.warn(&place, text.to_string());
                    }
                    modifiers.extend(placed(&place, list));
                    continue;
                }
                Verb::DeliverTo(exits) => {
                    if exits.is_empty() {
                        self.error(&place, Fault::NoArguments(directive));
                    }
                    ways.extend(exits.into_iter().map(|exit| match exit {
                        Exit::Target(target) => Way::Target(target),
                        Exit::Pipeline(shared) => Way::Shared(shared, place.clone()),
                    }));
                    sending = sending.or(Some(directive));
                }
                Verb::Reroute(_) if self.depth == MAX_NESTED_BLOCKS => {
                    self.error(&place, Fault::TooDeep(MAX_NESTED_BLOCKS));
                }
                Verb::Reroute(block) => {
                    self.depth += 1;
                    ways.extend(self.pipeline(&place, block).map(Way::Nested));
                    self.depth -= 1;
                    sending = sending.or(Some(directive));
                }
                Verb::Reject(_) if reject.is_some() => {
                    self.warn(&place, "second reject in one block is never used".to_string());
                }
                Verb::Reject(reply) => reject = Some((reply, place.clone())),
                Verb::Source(..)
                | Verb::SourceIn(..)
                | Verb::DefaultSource(_)
                | Verb::Destination(..)
                | Verb::DestinationIn(..)
                | Verb::DefaultDestination(_) => {
                    self.error(&place, Fault::Misplaced { directive, block: word });
                    continue;
                }
            }
            // Told once, at the directive that comes second, whichever it is.
            if let (Some(sending), Some(_)) = (sending, &reject)
                && self.errors.len() == errors_before
            {
                self.error(&place, Fault::RejectBeside(sending));
            }
        }
        if self.errors.len() > errors_before {
            return None;
        }
        let action = match reject {
            Some((reply, place)) => Action::Reject(reply, place),
            None if !ways.is_empty() => Action::Send(ways),
            None => {
                // A black hole must be spelled out.
                self.error(place, Fault::EmptyBlock(word));
                return None;
            }
        };
        Some(Destination { modifiers, action })
    }
}

impl<T> Sorted<T> {
    fn new(place: &Place, errors_before: usize) -> Sorted<T> {
        Sorted {
            place: place.clone(),
            modifiers: Vec::new(),
            cases: Vec::new(),
            bare: Vec::new(),
            errors_before,
        }
    }

    fn modify(&mut self, place: &Place, modifiers: Vec<Modifier>) {
        self.modifiers.extend(placed(place, modifiers));
    }

    fn case(&mut self, place: Place, selector: Selector, block: Block<T>) {
        // An empty default block counts as missing.
        if block.is_empty() && matches!(selector, Selector::Default) {
            return;
        }
        self.cases.push(Case { place, selector, block });
    }
}

impl Words {
    fn of(&self, selector: &Selector) -> &'static str {
        match selector {
            Selector::Rules(_) => self.rules,
            Selector::Tables(_) => self.tables,
            Selector::Default => self.default,
        }
    }
}

fn placed(place: &Place, modifiers: Vec<Modifier>) -> impl Iterator<Item = PlacedModifier> {
    modifiers.into_iter().map(move |modifier| PlacedModifier { modifier, place: place.clone() })
}
