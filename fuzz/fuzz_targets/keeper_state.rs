//! State of a keeper, and messages to its anchor.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("keeper_state", bytes));
