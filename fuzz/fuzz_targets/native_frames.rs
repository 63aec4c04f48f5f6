//! Frames on `ostler.sock`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("native_frames", bytes));
