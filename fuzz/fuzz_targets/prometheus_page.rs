//! Pages in Prometheus' text format.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("prometheus_page", bytes));
