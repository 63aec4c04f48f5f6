//! Configuration of unknown format.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("config_stdin", bytes));
