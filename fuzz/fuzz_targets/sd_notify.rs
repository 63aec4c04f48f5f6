//! Datagrams of sd_notify.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("sd_notify", bytes));
