//! Keys, clicks and pastes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("terminal_input", bytes));
