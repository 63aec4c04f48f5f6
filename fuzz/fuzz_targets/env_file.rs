//! Env files in three syntaxes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("env_file", bytes));
