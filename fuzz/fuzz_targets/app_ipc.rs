//! Messages of a Node app on its channel.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("app_ipc", bytes));
