//! Process names in `/proc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("proc_stat", bytes));
