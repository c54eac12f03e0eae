#![no_main]

#[path = "../bodies/reply.rs"]
mod reply;

libfuzzer_sys::fuzz_target!(|input: &[u8]| reply::run(input));
