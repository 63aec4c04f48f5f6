//! Sizes, durations and percentages.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("units", bytes));
