//! Where an attempt is just now: written by whoever works on it, read by whoever looks, and nothing depends on it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use posthaste_mail::attempt::phase::Phase;

/// Shared by the one who looks and all who work; a clone is the same place.
#[derive(Clone, Debug)]
pub struct Whereabouts(Arc<Mutex<Place>>);

#[derive(Debug)]
struct Place {
    phase: Phase,
    since: Instant,
    host: Option<String>,
    address: Option<IpAddr>,
}

/// One look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    pub phase: Phase,
    /// In this phase, at this host.
    pub lasting: Duration,
    pub host: Option<String>,
    pub address: Option<IpAddr>,
}

impl Default for Whereabouts {
    fn default() -> Whereabouts {
        Whereabouts::begin(Phase::default())
    }
}

impl Whereabouts {
    pub fn begin(phase: Phase) -> Whereabouts {
        let since = Instant::now();
        Whereabouts(Arc::new(Mutex::new(Place { phase, since, host: None, address: None })))
    }

    /// Another phase, of no host in particular.
    pub fn enter(&self, phase: Phase) {
        self.move_to(Place { phase, since: Instant::now(), host: None, address: None });
    }

    /// Another phase with this host, or address of it.
    pub fn at(&self, phase: Phase, host: &str, address: Option<IpAddr>) {
        let host = Some(host.to_string());
        self.move_to(Place { phase, since: Instant::now(), host, address });
    }

    fn move_to(&self, place: Place) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Another phase at the same place. Told again it is the same one, and its time goes on.
    pub fn step(&self, phase: Phase) {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if place.phase != phase {
            (place.phase, place.since) = (phase, Instant::now());
        }
    }

    pub fn phase(&self) -> Phase {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).phase
    }

    pub fn look(&self) -> Glimpse {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Glimpse {
            phase: place.phase,
            lasting: place.since.elapsed(),
            host: place.host.clone(),
            address: place.address,
        }
    }
}

#[cfg(test)]
mod tests {
    use posthaste_mail::outcome::Stage;

    use super::*;

    #[test]
    fn a_phase_lasts_until_another_one_begins() {
        let attempt = Whereabouts::default();
        let seen = attempt.clone();
        let since = || seen.0.lock().unwrap().since;
        assert_eq!(seen.look().phase, Phase::Starting);
        let address = "192.0.2.1".parse().ok();
        attempt.at(Phase::In(Stage::Connect), "mx.test", address);
        attempt.step(Phase::In(Stage::Content));
        let begun = since();
        while begun.elapsed() < Duration::from_micros(1) {}
        attempt.step(Phase::In(Stage::Content)); // a further piece
        assert_eq!(since(), begun);
        attempt.step(Phase::Settling);
        assert_eq!(seen.phase(), Phase::Settling);
        assert!(since() > begun);
        let glimpse = seen.look();
        assert_eq!((glimpse.host.as_deref(), glimpse.address), (Some("mx.test"), address));
        attempt.enter(Phase::MxLookup);
        assert_eq!(seen.look().host, None);
    }
}
