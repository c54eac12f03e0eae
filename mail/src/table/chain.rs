//! `chain { step TABLE ... optional_step TABLE ... }`: the values of one table are the keys of the next.

use std::sync::Arc;

use super::{LookupError, MAX_VALUES, Table};

/// One line of the block.
#[derive(Clone, Debug)]
pub enum Step {
    /// `step`: a key without value ends the whole lookup with "not found".
    Required(Arc<dyn Table>),
    /// `optional_step`: a key without value stays as it is.
    Optional(Arc<dyn Table>),
}

#[derive(Clone, Debug, Default)]
pub struct Chain {
    steps: Vec<Step>,
}

impl Chain {
    /// A chain without steps maps every key to itself.
    pub fn new(steps: Vec<Step>) -> Chain {
        Chain { steps }
    }
}

impl Table for Chain {
    fn lookup(&self, key: &str) -> Result<Vec<String>, LookupError> {
        let mut keys = vec![key.to_string()];
        for step in &self.steps {
            let mut values = Vec::new();
            for key in keys {
                match step {
                    Step::Required(table) => match table.lookup(&key)? {
                        found if found.is_empty() => return Ok(found),
                        found => values.extend(found),
                    },
                    Step::Optional(table) => match table.lookup(&key)? {
                        found if found.is_empty() => values.push(key),
                        found => values.extend(found),
                    },
                }
                if values.len() > MAX_VALUES {
                    return Err(LookupError::new(format!(
                        "chain: more than {MAX_VALUES} values for one key"
                    )));
                }
            }
            keys = values;
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::broken::Broken;
    use crate::table::{EmailLocalpart, EmailWithDomain, Entries, NotAnAddress};

    fn entries(text: &str) -> Arc<dyn Table> {
        Arc::new(crate::table::parse_file_table(text).entries)
    }

    fn look(steps: Vec<Step>, key: &str) -> Vec<String> {
        Chain::new(steps).lookup(key).unwrap()
    }

    #[test]
    fn a_miss_ends_a_step_and_passes_an_optional_step() {
        let first = || entries("a: b");
        let second = || entries("b: c\nx: y");
        let (step, optional) = (Step::Required, Step::Optional);
        assert_eq!(look(vec![step(first()), step(second())], "a"), ["c"]);
        assert_eq!(look(vec![step(first()), step(second())], "x"), Vec::<String>::new());
        assert_eq!(look(vec![optional(first()), step(second())], "x"), ["y"]);
        assert_eq!(look(vec![optional(first()), optional(second())], "q"), ["q"]);
        assert_eq!(look(vec![step(first()), optional(entries(""))], "a"), ["b"]);
        assert_eq!(look(vec![], "q"), ["q"]);
    }

    #[test]
    fn every_value_goes_through_the_next_step() {
        let fan = || entries("a: b, c");
        assert_eq!(
            look(vec![Step::Optional(fan()), Step::Optional(entries("b: d"))], "a"),
            ["d", "c"]
        );
        assert_eq!(
            look(vec![Step::Optional(fan()), Step::Required(entries("b: d"))], "a"),
            Vec::<String>::new() // one miss of a step is a miss of the whole
        );
        let domains = EmailWithDomain::new(&["example.org", "example.com"]).unwrap();
        let steps = vec![
            Step::Required(Arc::new(EmailLocalpart(NotAnAddress::Missing)) as Arc<dyn Table>),
            Step::Required(Arc::new(domains)),
        ];
        assert_eq!(look(steps, "ann@x.org"), ["ann@example.org", "ann@example.com"]);
    }

    #[test]
    fn an_error_of_any_step_is_an_error() {
        for steps in [
            vec![Step::Optional(Arc::new(Broken) as Arc<dyn Table>)],
            vec![Step::Required(entries("a: b")), Step::Required(Arc::new(Broken))],
        ] {
            assert!(Chain::new(steps).lookup("a").is_err());
        }
    }

    #[test]
    fn values_are_bounded() {
        let mut twins = Entries::new();
        twins.add("a", &["a"; 10]);
        let twins: Arc<dyn Table> = Arc::new(twins);
        let steps = vec![Step::Required(twins); 60];
        assert!(Chain::new(steps).lookup("a").is_err());
    }
}
