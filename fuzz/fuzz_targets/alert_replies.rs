//! Answers of services to alerts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("alert_replies", bytes));
