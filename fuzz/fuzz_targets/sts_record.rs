#![no_main]

#[path = "../bodies/sts_record.rs"]
mod sts_record;

libfuzzer_sys::fuzz_target!(|input: &[u8]| sts_record::run(input));
