//! Messages between daemon and keeper.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("keeper_messages", bytes));
