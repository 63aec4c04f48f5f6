//! ANSI sequences in lines for a terminal.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("terminal_text", bytes));
