//! OpenTelemetry, compressed.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("otlp_gzip", bytes));
