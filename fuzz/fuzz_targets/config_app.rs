//! Values of an app in a configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("config_app", bytes));
