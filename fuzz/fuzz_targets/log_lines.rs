//! Output of apps on its way to the logs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("log_lines", bytes));
