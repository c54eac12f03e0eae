//! Points at which a test kills the process, as a power cut or an operator's `kill -9` might.
//!
//! `POSTHASTE_KILL_AT=POINT:N` names a point, and how often it is passed before: SIGKILL, so nothing is flushed, closed or answered. Only
//! in builds with debug assertions; in others a point is nothing. The points of the spool are the durable steps of
//! `docs/decisions/0001-spool.md`.

/// Point `KIND.STEP` is reached.
#[cfg(debug_assertions)]
pub fn reached(kind: &str, step: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("POSTHASTE_KILL_AT").ok()?;
        let (point, number) = text.rsplit_once(':')?;
        Some((point.to_string(), number.parse().ok()?))
    });
    let Some((point, number)) = wanted else { return };
    let here = point.split_once('.').is_some_and(|(k, s)| k == kind && s == step);
    if here && PASSED.fetch_add(1, Ordering::SeqCst) == *number {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal may take a moment; nothing must happen meanwhile.
        loop {
            std::thread::park();
        }
    }
}

#[cfg(not(debug_assertions))]
#[inline]
pub fn reached(_: &str, _: &str) {}
