//! An app as JSON, as `prepare` and a restart get it.
#![no_main]
#![allow(dead_code, reason = "streams are another target's")]

#[path = "../../crates/proto/tests/hostile/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = serde_json::from_slice(bytes) {
        checks::app(&value);
    }
});
