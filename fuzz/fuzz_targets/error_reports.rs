//! Reports of errors in the output of apps.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("error_reports", bytes));
