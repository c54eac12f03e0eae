//! A thread that ends the process when root stops beating: a runtime that stands still cannot restart anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Root beats once a second; this many seconds without a beat are the end.
const PATIENCE: u32 = 60;

#[derive(Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Watches until the process ends. Nothing of the runtime is used here, because it is what may have stopped.
pub fn watch(pulse: Pulse) {
    let watching = std::thread::Builder::new().name("watchdog".to_string());
    let _ = watching.spawn(move || {
        let (mut seen, mut silent) = (0, 0);
        loop {
            #[allow(clippy::disallowed_methods)] // the one thread that has to sleep by itself
            std::thread::sleep(Duration::from_secs(1));
            let now = pulse.0.load(Ordering::Relaxed);
            silent = if now == seen { silent + 1 } else { 0 };
            seen = now;
            if silent >= PATIENCE {
                eprintln!("posthaste: root has not moved for {PATIENCE} s, ending the process");
                #[allow(clippy::disallowed_methods)]
                // no destructor can run when the runtime stands
                std::process::exit(super::INTERNAL_ERROR);
            }
        }
    });
}
