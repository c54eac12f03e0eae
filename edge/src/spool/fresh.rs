//! Bodies that came in a moment ago, still in memory: the first attempt follows at once and need not read them back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use posthaste_mail::envelope::EnvelopeId;

use crate::body::Body;

/// Octets kept in all; the oldest make room.
const MOST: u64 = 32 << 20;

#[derive(Debug, Default)]
pub struct FreshBodies(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// With how many attempts will ask for it: one for each batch. Ids sort by age.
    bodies: BTreeMap<EnvelopeId, (Body, u64)>,
    octets: u64,
}

impl FreshBodies {
    /// Keeps a body that lies in memory.
    pub fn keep(&self, id: EnvelopeId, body: &Body, batches: u64) {
        if body.in_memory().is_none() || body.len() > MOST {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.octets = kept.octets.saturating_add(body.len());
        kept.bodies.insert(id, (body.clone(), batches));
        while kept.octets > MOST
            && let Some((_, (oldest, _))) = kept.bodies.pop_first()
        {
            kept.octets = kept.octets.saturating_sub(oldest.len());
        }
    }

    /// Hands a body out, once for each batch: later attempts are minutes away.
    pub fn take(&self, id: EnvelopeId) -> Option<Body> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (body, left) = kept.bodies.get_mut(&id)?;
        *left = left.saturating_sub(1);
        let (body, left) = (body.clone(), *left);
        if left == 0 {
            kept.bodies.remove(&id);
            kept.octets = kept.octets.saturating_sub(body.len());
        }
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use posthaste_mail::dice::Dice;
    use posthaste_mail::time::Timestamp;

    use super::*;

    #[test]
    fn memory_is_bounded_and_given_back() {
        let fresh = FreshBodies::default();
        let mut dice = Dice::new(1);
        let ids: Vec<EnvelopeId> =
            (0..40).map(|s| EnvelopeId::new(Timestamp::from_secs(s), &mut dice)).collect();
        for id in &ids {
            fresh.keep(*id, &Body::memory(vec![0; 1 << 20]), 2);
        }
        let taken = |id: &&EnvelopeId| fresh.take(**id).is_some();
        assert_eq!(ids.iter().filter(taken).count(), 32);
        assert_eq!(ids[8..].iter().filter(taken).count(), 32); // for the second batch of each
        assert_eq!(ids.iter().filter(taken).count(), 0);
        assert_eq!(fresh.0.lock().unwrap().octets, 0);
    }
}
