//! Bytes that a client sends to `rpc.sock`: frames, requests, and the apps in them.
#![no_main]

#[allow(dead_code, reason = "each target asks a part of it")]
#[path = "../../crates/proto/tests/hostile/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::stream(bytes));
