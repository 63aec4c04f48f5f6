//! A datagram of a program by the sd_notify protocol.
#![no_main]

#[allow(dead_code, reason = "each target asks a part of it")]
#[path = "../../crates/proto/tests/hostile/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::notify(bytes));
