//! Record of log lines in transit.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("log_checkpoint", bytes));
