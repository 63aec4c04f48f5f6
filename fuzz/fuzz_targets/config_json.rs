//! Configuration in JSON and JSON5.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("config_json", bytes));
