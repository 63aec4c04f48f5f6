//! Apps that PM2's clients send.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("pm2_app", bytes));
