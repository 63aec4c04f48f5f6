//! OpenTelemetry in JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("otlp_json", bytes));
