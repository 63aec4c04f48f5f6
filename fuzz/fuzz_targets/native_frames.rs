//! Frames on `ostler.sock`: requests of a client and answers of a daemon.
#![no_main]

#[allow(dead_code, reason = "each target asks a part of it")]
#[path = "../../crates/proto/tests/hostile/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::native(bytes));
