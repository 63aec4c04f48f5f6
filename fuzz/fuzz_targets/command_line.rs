//! Arguments as one text.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("command_line", bytes));
