//! The chain of aliases from the name that was asked for to the name that has the records (RFC 1034 §3.6.2).

use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// Hops followed, over however many answers.
const MOST_HOPS: usize = 16;

/// Names that were passed; none of them twice.
pub(super) struct Chain {
    asked: Name,
    hops: Vec<Name>,
}

impl Chain {
    pub(super) fn new(asked: Name) -> Chain {
        Chain { asked, hops: Vec::new() }
    }

    /// The name whose records are looked for.
    pub(super) fn end(&self) -> &Name {
        self.hops.last().unwrap_or(&self.asked)
    }

    pub(super) fn hops(&self) -> &[Name] {
        &self.hops
    }

    /// One hop more, or why there must not be one.
    pub(super) fn add(&mut self, target: Name) -> Result<(), String> {
        // RFC 1034 §3.6.2: alias loops are to be caught and told as an error.
        if target == self.asked || self.hops.contains(&target) {
            return Err(format!("the aliases of {} come back to {target}", self.asked));
        }
        if self.hops.len() >= MOST_HOPS {
            return Err(format!("{} leads over more than {MOST_HOPS} aliases", self.asked));
        }
        self.hops.push(target);
        Ok(())
    }

    /// Goes on through one answer until it names records of this type, or no further alias. Records of other owners are ignored.
    pub(super) fn follow(&mut self, kind: RecordType, records: &[Record]) -> Result<(), String> {
        while !records.iter().any(|r| r.name == *self.end() && r.record_type() == kind) {
            let alias = records.iter().find_map(|r| match &r.data {
                RData::CNAME(target) if r.name == *self.end() => Some(target.0.clone()),
                _ => None,
            });
            match alias {
                Some(target) => self.add(target)?,
                None => break,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::rdata::{A, CNAME};
    use std::net::Ipv4Addr;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn alias(owner: &str, target: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
    }

    fn address(owner: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::A(A(Ipv4Addr::LOCALHOST)))
    }

    fn end(records: &[Record]) -> Result<String, String> {
        let mut chain = Chain::new(name("a.test."));
        chain.follow(RecordType::A, records)?;
        Ok(chain.end().to_ascii())
    }

    #[test]
    fn ends_where_the_records_are() {
        assert_eq!(end(&[address("a.test.")]).unwrap(), "a.test.");
        let two = [alias("b.test.", "c.test."), alias("A.test.", "b.test."), address("c.test.")];
        assert_eq!(end(&two).unwrap(), "c.test."); // in any order, in any case
        assert_eq!(end(&two[..2]).unwrap(), "c.test."); // to be asked for
        assert_eq!(end(&[address("other.test."), alias("x.test.", "y.test.")]).unwrap(), "a.test.");
    }

    #[test]
    fn a_name_met_again_is_a_loop() {
        let says = "the aliases of a.test. come back to ";
        assert_eq!(end(&[alias("a.test.", "A.test.")]), Err(format!("{says}A.test.")));
        let circle = [alias("a.test.", "b.test."), alias("b.test.", "c.test.")];
        let to_itself = [&circle[..], &[alias("c.test.", "a.test.")]].concat();
        assert_eq!(end(&to_itself), Err(format!("{says}a.test.")));
        let to_the_middle = [&circle[..], &[alias("c.test.", "b.test.")]].concat();
        assert_eq!(end(&to_the_middle), Err(format!("{says}b.test.")));
        let mut chain = Chain::new(name("a.test."));
        chain.follow(RecordType::A, &circle).unwrap(); // over several answers
        assert!(chain.follow(RecordType::A, &[alias("c.test.", "a.test.")]).is_err());
    }

    #[test]
    fn sixteen_hops_in_all() {
        let hop = |i: usize| alias(&format!("n{i}.test."), &format!("n{}.test.", i + 1));
        let mut chain = Chain::new(name("n0.test."));
        for half in [0..8, 8..16] {
            chain.follow(RecordType::A, &half.map(hop).collect::<Vec<_>>()).unwrap();
        }
        assert_eq!((chain.hops().len(), chain.end()), (16, &name("n16.test.")));
        assert!(chain.follow(RecordType::A, &[hop(16)]).is_err());
    }
}
