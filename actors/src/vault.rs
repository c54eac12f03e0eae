//! Passwords of clients between their session and the first attempt to send their message, for `auth forward` behind a queue. They are
//! encrypted, in memory alone: no disk has them, and a restart forgets them. Endpoints put them in, forwarders take them out, once.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_edge::clock::Clock;
use posthaste_edge::seal::{Seal, Sealed};
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::time::Timestamp;
use posthaste_mail::wire::client::auth::Account;

/// The first attempt follows at once, unless all slots of the queue are taken. What waits longer has to do without.
const KEPT_FOR: Duration = Duration::from_secs(5 * 60);
/// Beyond these the oldest go.
const MOST: usize = 10_000;

#[derive(Debug)]
pub struct Vault {
    clock: Clock,
    seal: Seal,
    /// By the id of the stored envelope. Ids grow with time, so the first is the oldest.
    kept: Mutex<BTreeMap<EnvelopeId, Kept>>,
}

#[derive(Debug)]
struct Kept {
    until: Timestamp,
    sealed: Sealed,
}

impl Vault {
    /// Fails when the system has no randomness for a key.
    pub fn new(clock: Clock) -> io::Result<Vault> {
        Ok(Vault { clock, seal: Seal::new()?, kept: Mutex::default() })
    }

    /// What cannot be encrypted is not kept.
    pub fn keep(&self, id: EnvelopeId, account: &Account) {
        // An account has no NUL in it.
        let secret = format!("{}\0{}", account.user(), account.password().expose());
        let Ok(sealed) = self.seal.close(secret.as_bytes(), &id.to_bytes()) else { return };
        let until = self.clock.now().plus(KEPT_FOR);
        let mut kept = self.kept();
        kept.insert(id, Kept { until, sealed });
        if kept.len() > MOST {
            kept.pop_first();
        }
    }

    /// Nobody gets it a second time.
    pub fn take(&self, id: EnvelopeId) -> Option<Account> {
        let Kept { until, sealed } = self.kept().remove(&id)?;
        if until <= self.clock.now() {
            return None;
        }
        let secret = String::from_utf8(self.seal.open(&sealed, &id.to_bytes())?).ok()?;
        let (user, password) = secret.split_once('\0')?;
        Account::new(user, password)
    }

    /// The message is not sent after all.
    pub fn forget(&self, id: EnvelopeId) {
        self.kept().remove(&id);
    }

    /// Throws away what nobody has come for.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.kept().retain(|_, kept| kept.until > now);
    }

    // A poisoned lock is used on: the map changes by single steps that do not panic.
    fn kept(&self) -> MutexGuard<'_, BTreeMap<EnvelopeId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use posthaste_mail::dice::Dice;

    use super::*;

    fn vault() -> (Vault, Clock) {
        let clock = Clock::manual(Timestamp::from_secs(1_795_000_000));
        (Vault::new(clock.clone()).unwrap(), clock)
    }

    fn id(seconds: u64) -> EnvelopeId {
        EnvelopeId::new(Timestamp::from_secs(seconds), &mut Dice::new(seconds))
    }

    fn ann() -> Account {
        Account::new("ann", "correct horse").unwrap()
    }

    #[test]
    fn each_message_has_its_own_once() {
        let (vault, _) = vault();
        let bob = Account::new("bob", "staple").unwrap();
        vault.keep(id(1), &ann());
        vault.keep(id(2), &bob);
        assert_eq!(vault.take(id(2)), Some(bob));
        assert_eq!(vault.take(id(1)), Some(ann()));
        assert_eq!(vault.take(id(1)), None);
        assert_eq!(vault.take(id(3)), None);
    }

    #[test]
    fn forgotten_is_gone() {
        let (vault, _) = vault();
        vault.keep(id(1), &ann());
        vault.forget(id(1));
        assert_eq!(vault.take(id(1)), None);
    }

    #[test]
    fn nothing_is_kept_for_long() {
        let (vault, clock) = vault();
        for n in 1..=3 {
            vault.keep(id(n), &ann());
        }
        clock.advance(KEPT_FOR - Duration::from_secs(1));
        assert_eq!(vault.take(id(1)), Some(ann()));
        vault.keep(id(4), &ann());
        clock.advance(Duration::from_secs(1));
        assert_eq!(vault.take(id(2)), None); // though nobody has swept
        vault.sweep();
        assert_eq!(vault.kept().keys().copied().collect::<Vec<_>>(), [id(4)]);
    }

    #[test]
    fn the_oldest_make_room() {
        let (vault, _) = vault();
        for n in 1..=MOST as u64 + 2 {
            vault.keep(id(n), &ann());
        }
        assert_eq!(vault.kept().len(), MOST);
        assert_eq!(vault.take(id(2)), None);
        assert_eq!(vault.take(id(3)), Some(ann()));
    }

    #[test]
    fn nothing_shows_them_by_mistake() {
        let (vault, _) = vault();
        vault.keep(id(1), &ann());
        let shown = format!("{vault:#?}");
        assert!(!shown.contains("ann") && !shown.contains("horse"), "{shown}");
    }
}
