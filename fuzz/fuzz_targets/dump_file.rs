//! Saved lists of PM2 and ostler.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("dump_file", bytes));
