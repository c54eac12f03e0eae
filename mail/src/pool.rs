//! When a session may be kept, and when it may be used again.

use std::time::Duration;

use crate::time::Timestamp;

/// `conn_reuse_limit`, `conn_max_idle_count`, `conn_max_idle_time`; 0 for any of them keeps nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Transactions in total over one session.
    pub most_transactions: u32,
    /// Idle sessions of one destination.
    pub most_idle: usize,
    /// From the last use.
    pub longest_idle: Duration,
}

impl Default for Keeping {
    fn default() -> Keeping {
        Keeping { most_transactions: 10, most_idle: 10, longest_idle: Duration::from_secs(150) }
    }
}

impl Keeping {
    /// May a session be used once more? The limit of age keeps the slowest host from collecting all sessions.
    pub fn allows_reuse(
        &self,
        transactions: u32,
        opened: Timestamp,
        last_used: Timestamp,
        now: Timestamp,
    ) -> bool {
        let oldest = Duration::from_secs(300).max(self.longest_idle * 2);
        self.most_idle > 0
            && !self.longest_idle.is_zero()
            && transactions < self.most_transactions
            && now.since(last_used) <= self.longest_idle
            && now.since(opened) <= oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_transactions_in_total() {
        let now = Timestamp::from_secs(1000);
        let keeping = Keeping::default();
        assert!(keeping.allows_reuse(9, now, now, now));
        assert!(!keeping.allows_reuse(10, now, now, now));
    }

    #[test]
    fn neither_idle_nor_old() {
        let keeping = Keeping::default();
        let at = Timestamp::from_secs;
        assert!(keeping.allows_reuse(1, at(1000), at(1000), at(1150)));
        assert!(!keeping.allows_reuse(1, at(1000), at(1000), at(1151)));
        assert!(!keeping.allows_reuse(1, at(1000), at(1300), at(1301)));
    }

    #[test]
    fn zero_keeps_nothing() {
        let now = Timestamp::from_secs(1000);
        for keeping in [
            Keeping { most_transactions: 0, ..Keeping::default() },
            Keeping { most_idle: 0, ..Keeping::default() },
            Keeping { longest_idle: Duration::ZERO, ..Keeping::default() },
        ] {
            assert!(!keeping.allows_reuse(0, now, now, now));
        }
    }
}
