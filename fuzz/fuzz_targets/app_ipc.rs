//! Messages that an app writes into its channel.
#![no_main]

#[allow(dead_code, reason = "each target asks a part of it")]
#[path = "../../crates/proto/tests/hostile/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::ipc(bytes));
