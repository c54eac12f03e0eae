//! Which of several blocks an address belongs to.
//!
//! Tables first, in order of appearance; then the rule for the full address; then the rule for its domain; then the default. A table
//! that cannot answer ends the search: skipping it could turn a local recipient into a remote one.

use std::collections::HashMap;
use std::sync::Arc;

use super::rule::{AddressKey, Rule};
use super::{Place, Refusal};
use crate::address::{Host, Mailbox};
use crate::table::Table;

#[derive(Debug)]
pub(super) struct Selection<B> {
    tables: Vec<(Arc<dyn Table>, Place, Arc<B>)>,
    rules: HashMap<Rule, Arc<B>>,
    default: Arc<B>,
    /// Each once, in the order of the file.
    blocks: Vec<Arc<B>>,
}

impl<B> Selection<B> {
    /// `blocks` are all there are, `default` among them, in the order of the file.
    pub fn new(blocks: Vec<Arc<B>>, default: Arc<B>) -> Selection<B> {
        Selection { tables: Vec::new(), rules: HashMap::new(), default, blocks }
    }

    pub fn add_table(&mut self, table: Arc<dyn Table>, place: &Place, block: Arc<B>) {
        self.tables.push((table, place.clone(), block));
    }

    /// Adds a rule; false when there was an equal one before, which stays.
    pub fn add_rule(&mut self, rule: Rule, block: Arc<B>) -> bool {
        match self.rules.entry(rule) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(block);
                true
            }
        }
    }

    /// The block of an address. `None` is the null sender: its key is empty, and no rule can name it.
    pub fn select(&self, address: Option<&Mailbox>) -> Result<&Arc<B>, Refusal> {
        let key = address.map(Mailbox::normalized).unwrap_or_default();
        for (table, place, block) in &self.tables {
            let values = table.lookup(&key).map_err(|error| Refusal::lookup(place, &error))?;
            if !values.is_empty() {
                return Ok(block);
            }
        }
        let Some(mailbox) = address else {
            return Ok(&self.default);
        };
        let full = Rule::Address(AddressKey::of(mailbox));
        let found = self.rules.get(&full).or_else(|| match mailbox.host() {
            Host::Unqualified => None,
            host => self.rules.get(&Rule::Host(host.clone())),
        });
        Ok(found.unwrap_or(&self.default))
    }

    pub fn blocks(&self) -> &[Arc<B>] {
        &self.blocks
    }
}
