//! Servers that announced CHUNKING and then did not know BDAT, or the one on the way to them that hides it.
//!
//! Forgetting one costs a connection: it is told again, and the content is sent by DATA then.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use posthaste_mail::wire::client::flow::Chunks;

/// Addresses remembered, the latest.
const MOST: usize = 1000;

#[derive(Debug, Default)]
pub struct Unchunked(Mutex<VecDeque<IpAddr>>);

impl Unchunked {
    pub fn note(&self, address: IpAddr) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&address) {
            return;
        }
        known.truncate(MOST - 1);
        known.push_front(address);
    }

    /// What may be used there.
    pub fn chunks(&self, address: IpAddr) -> Chunks {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&address) { Chunks::Unknown } else { Chunks::Welcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let address = |number: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number]);
        let unchunked = Unchunked::default();
        assert_eq!(unchunked.chunks(address(0)), Chunks::Welcome);
        for number in 0..=MOST as u16 {
            unchunked.note(address(number));
            unchunked.note(address(number)); // twice is once
        }
        assert_eq!(unchunked.chunks(address(0)), Chunks::Welcome); // forgotten
        assert_eq!(unchunked.chunks(address(1)), Chunks::Unknown);
        assert_eq!(unchunked.chunks(address(MOST as u16)), Chunks::Unknown);
    }
}
