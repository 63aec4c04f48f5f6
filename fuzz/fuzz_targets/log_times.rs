//! Times in log lines and of a log search.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("log_times", bytes));
