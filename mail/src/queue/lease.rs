//! Who may attempt a batch, and until when.
//!
//! A lease is proof that the attempt was written down before its first packet. It names the node and the boot that took it: a lease of
//! another boot of the same node is void, one of another node is good until its deadline.

use serde::{Deserialize, Serialize};

use crate::queue::record::BatchId;
use crate::time::Timestamp;

/// One start of the daemon on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Boot {
    pub node: String,
    pub number: u64,
}

#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub batch: BatchId,
    pub boot: Boot,
    /// Counts the leases of a boot, so that a late report can be told from a current one.
    pub serial: u64,
    pub taken: Timestamp,
    /// After this moment the task is taken for gone.
    pub deadline: Timestamp,
}

impl Lease {
    /// May somebody else take the batch?
    pub fn is_void(&self, boot: &Boot, now: Timestamp) -> bool {
        if self.boot.node == boot.node {
            // Of our own process only the holder can say: a clock that is set forward ends no task.
            self.boot.number != boot.number
        } else {
            now >= self.deadline
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use crate::envelope::EnvelopeId;

    #[test]
    fn a_lease_ends_with_its_boot_or_elsewhere_at_its_deadline() {
        let boot = |node: &str, number| Boot { node: node.into(), number };
        let lease = Lease {
            batch: BatchId {
                envelope: EnvelopeId::new(Timestamp::ZERO, &mut Dice::new(1)),
                index: 0,
            },
            boot: boot("a", 7),
            serial: 1,
            taken: Timestamp::from_secs(10),
            deadline: Timestamp::from_secs(100),
        };
        assert!(!lease.is_void(&boot("a", 7), Timestamp::from_secs(9999)));
        assert!(lease.is_void(&boot("a", 8), Timestamp::from_secs(11))); // the old process is gone
        assert!(!lease.is_void(&boot("b", 8), Timestamp::from_secs(99))); // another machine's word holds
        assert!(lease.is_void(&boot("b", 8), Timestamp::from_secs(100)));
    }
}
