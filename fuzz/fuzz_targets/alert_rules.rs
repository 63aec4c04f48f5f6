//! Rules and channels of alerts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("alert_rules", bytes));
