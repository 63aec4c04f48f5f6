//! Frames and calls on PM2's sockets.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("pm2_stream", bytes));
