//! How much memory the allocator keeps.

/// glibc gives each thread an arena of its own, up to eight a processor, and hands none of them back: after the check that follows a
/// start a third of the memory of a deep queue was in arenas of threads that rested. One a processor serves as fast.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn bound_arenas() {
    let processors = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
    let arenas = libc::c_int::try_from(processors).unwrap_or(libc::c_int::MAX);
    // SAFETY: no other thread runs yet, and mallopt takes any two numbers; what it does not know it refuses.
    #[allow(unsafe_code, reason = "the allocator has no other door")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, arenas);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn bound_arenas() {}
