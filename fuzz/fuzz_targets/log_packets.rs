//! Packets of the log reader for PM2's bus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_fuzzing::check("log_packets", bytes));
