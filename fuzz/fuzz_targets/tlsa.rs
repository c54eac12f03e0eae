#![no_main]

#[path = "../bodies/tlsa.rs"]
mod tlsa;

libfuzzer_sys::fuzz_target!(|input: &[u8]| tlsa::run(input));
