//! Requests to the dashboard.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("web_request", bytes));
