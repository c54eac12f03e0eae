//! Global directives from four places: built-in defaults, the file, the environment, the command line; the later ones win.
//!
//! `POSTHASTE_STATE_DIR=/srv/mail` and `--set state_dir=/srv/mail` stand for the line `state_dir /srv/mail`. The layering is that of the
//! `config` crate; each value goes in as words with its origin and comes out as a node, so that the readers of `values` judge all
//! four alike and every complaint names the origin. Blocks have no layers.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::{Config, ConfigError, Map, Source, Value, ValueKind};

use crate::environment::Environment;
use crate::globals::{BLOCKS, DEFAULTS, GLOBALS, Shape, shape};
use crate::nearest::nearest;
use crate::place::Place;
use crate::problem::{Problem, Problems, shown};
use crate::tree::Node;

const PREFIX: &str = "POSTHASTE_";

/// Variables of this prefix that belong to the command line.
const OTHERS: [&str; 2] = ["POSTHASTE_CONFIG", "POSTHASTE_SOCKET"];

/// The directives in force, by name. `file` are the global directives of the file, each at most once; `overrides` are the arguments of
/// `--set`, of which the last one of a name wins.
pub(crate) fn resolve(
    file: &[Node],
    environment: &Environment,
    overrides: &[String],
    problems: &Problems,
) -> Vec<Node> {
    let defaults = DEFAULTS.iter().map(|(name, word)| line(name, word, Place::BuiltIn));
    let layers = [
        Layer::of(defaults.collect()),
        Layer::of(file.to_vec()),
        Layer::of(from_environment(environment, problems)),
        Layer::of(from_command_line(overrides, problems)),
    ];
    // A value's origin is text to the crate; this finds the place again.
    let places: BTreeMap<String, Place> = layers.iter().flat_map(|layer| layer.places()).collect();
    let builder =
        layers.into_iter().fold(Config::builder(), |builder, layer| builder.add_source(layer));
    match builder.build().and_then(|config| config.collect()) {
        Ok(values) => nodes(values, &places),
        Err(error) => {
            problems.error(&Place::BuiltIn, format!("layering global directives: {error}"));
            Vec::new()
        }
    }
}

fn from_environment(environment: &Environment, problems: &Problems) -> Vec<Node> {
    let mut lines = Vec::new();
    for variable in environment.names().filter(|name| !OTHERS.contains(name)) {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        let (name, at) = (rest.to_lowercase(), Place::Environment(Arc::from(variable)));
        // An empty variable is one that a unit file or a container forgot to fill: as if it were not set.
        let value = environment.value(variable).filter(|value| !value.is_empty());
        match (value, shape(&name)) {
            (None, _) => {}
            (Some(value), Some(_)) => lines.push(line(&name, value, at)),
            (Some(_), None) if BLOCKS.contains(&name.as_str()) => {
                problems.warning(&at, format!("{name} can be set in the file only"));
            }
            (Some(_), None) => {
                // Others may use the prefix; only what looks like a mistake is worth a word.
                if nearest(&name, GLOBALS.iter().map(|(known, _)| *known)).is_some() {
                    let mut problem = unknown(&at, &name);
                    problem.severity = crate::problem::Severity::Warning;
                    problems.push(problem);
                }
            }
        }
    }
    lines
}

fn from_command_line(overrides: &[String], problems: &Problems) -> Vec<Node> {
    let mut lines = Vec::new();
    for text in overrides {
        let at = Place::CommandLine;
        match text.split_once('=') {
            Some((name, value)) if shape(name).is_some() => lines.push(line(name, value, at)),
            Some((name, _)) if BLOCKS.contains(&name) => {
                problems.error(&at, format!("{name} can be set in the file only"));
            }
            Some((name, _)) => problems.push(unknown(&at, name)),
            None => problems.error(&at, format!("expects directive=value, found {}", shown(text))),
        }
    }
    lines
}

fn unknown(at: &Place, name: &str) -> Problem {
    Problem::unknown(at, "global directive", name, GLOBALS.iter().map(|(known, _)| *known))
}

/// `name value` as a line of the file would be.
fn line(name: &str, value: &str, at: Place) -> Node {
    let args = match shape(name) {
        Some(Shape::Words) => value.split_whitespace().map(str::to_string).collect(),
        _ => vec![value.to_string()],
    };
    Node { name: name.to_string(), args, children: None, at }
}

/// Directives of one origin, as the `config` crate wants them.
#[derive(Clone, Debug)]
struct Layer(Vec<Node>);

impl Layer {
    fn of(lines: Vec<Node>) -> Layer {
        Layer(lines)
    }

    fn places(&self) -> impl Iterator<Item = (String, Place)> {
        self.0.iter().map(|node| (node.at.to_string(), node.at.clone()))
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let value = |node: &Node| {
            let origin = node.at.to_string();
            let word = |word: &String| Value::new(Some(&origin), ValueKind::String(word.clone()));
            // Always an array, and arrays replace whole: two words never mix with those of a lower layer.
            let words = ValueKind::Array(node.args.iter().map(word).collect());
            (node.name.clone(), Value::new(Some(&origin), words))
        };
        Ok(self.0.iter().map(value).collect())
    }
}

fn nodes(values: Map<String, Value>, places: &BTreeMap<String, Place>) -> Vec<Node> {
    let mut nodes: Vec<Node> = values
        .into_iter()
        .filter_map(|(name, value)| {
            let at = places.get(value.origin()?)?.clone();
            let words = value.into_array().ok()?;
            let args = words.into_iter().filter_map(|word| word.into_string().ok()).collect();
            Some(Node { name, args, children: None, at })
        })
        .collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::parsed;

    fn run(
        file: &str,
        environment: &[(&str, &str)],
        overrides: &[&str],
    ) -> (BTreeMap<String, String>, Vec<String>) {
        let problems = Problems::new();
        let environment: Environment = environment.iter().copied().collect();
        let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
        let nodes = resolve(&parsed(file).0, &environment, &overrides, &problems);
        let shown = nodes.into_iter().map(|n| (n.name, format!("{} @ {}", n.args.join(" "), n.at)));
        (shown.collect(), problems.sorted().iter().map(Problem::to_string).collect())
    }

    #[test]
    fn each_layer_wins_over_the_ones_before() {
        let state = |file: &str, environment: &[(&str, &str)], set: &[&str]| {
            let (values, problems) = run(file, environment, set);
            assert!(problems.is_empty(), "{problems:?}");
            values["state_dir"].clone()
        };
        let variable = [("POSTHASTE_STATE_DIR", "/env dir")];
        assert_eq!(state("", &[], &[]), "/var/lib/posthaste @ built-in default");
        assert_eq!(state("state_dir /file", &[], &[]), "/file @ t:1");
        assert_eq!(
            state("state_dir /file", &variable, &[]),
            "/env dir @ environment POSTHASTE_STATE_DIR"
        );
        assert_eq!(state("state_dir /file", &variable, &["state_dir=/set"]), "/set @ --set");
        assert_eq!(state("", &[], &["state_dir=/a", "state_dir=/b=c"]), "/b=c @ --set"); // the last one
        assert_eq!(
            state("", &[("POSTHASTE_STATE_DIR", "")], &[]),
            "/var/lib/posthaste @ built-in default"
        );
    }

    #[test]
    fn lists_replace_whole_and_are_split_at_white_space() {
        assert_eq!(run("log stderr syslog", &[], &[]).0["log"], "stderr syslog @ t:1");
        let (values, _) = run("log a b c", &[("POSTHASTE_LOG", "json  stderr")], &[]);
        assert_eq!(values["log"], "json stderr @ environment POSTHASTE_LOG");
        assert_eq!(run("log a b", &[], &["log=off"]).0["log"], "off @ --set");
        assert_eq!(run("debug", &[], &[]).0["debug"], " @ t:1"); // no word means yes
    }

    #[test]
    fn directives_without_default_are_absent_until_given() {
        assert!(!run("", &[], &[]).0.contains_key("hostname"));
        assert_eq!(
            run("", &[("POSTHASTE_HOSTNAME", "mx")], &[]).0["hostname"],
            "mx @ environment POSTHASTE_HOSTNAME"
        );
    }

    #[test]
    fn mistakes_in_the_environment_are_warnings() {
        let variables = [
            ("POSTHASTE_HOSTNAM", "mx"),
            ("POSTHASTE_TLS", "off"),
            ("POSTHASTE_SOMETHING_ELSE", "x"),
            ("POSTHASTE_CONFIG", "x"),
            ("POSTHASTE_SOCKET", "x"),
            ("HOSTNAME", "x"),
        ];
        let (values, problems) = run("", &variables, &[]);
        assert_eq!(
            problems,
            [
                "environment POSTHASTE_HOSTNAM: warning: unknown global directive hostnam, did you mean hostname?",
                "environment POSTHASTE_TLS: warning: tls can be set in the file only",
            ]
        );
        assert_eq!(values.len(), DEFAULTS.len());
    }

    #[test]
    fn mistakes_on_the_command_line_are_errors() {
        let set = ["debug", "hostnam=x", "tls=off", "nothing.like=this"];
        assert_eq!(
            run("", &[], &set).1,
            [
                "--set: expects directive=value, found debug",
                "--set: unknown global directive hostnam, did you mean hostname?",
                "--set: tls can be set in the file only",
                "--set: unknown global directive nothing.like",
            ]
        );
    }
}
