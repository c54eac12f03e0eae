#![no_main]

#[path = "../bodies/sts_policy.rs"]
mod sts_policy;

libfuzzer_sys::fuzz_target!(|input: &[u8]| sts_policy::run(input));
