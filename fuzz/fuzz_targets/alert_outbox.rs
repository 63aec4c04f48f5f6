//! Outbox of alerts on disk.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("alert_outbox", bytes));
