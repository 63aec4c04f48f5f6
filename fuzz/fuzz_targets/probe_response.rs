//! Responses to health checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("probe_response", bytes));
