//! A message between daemon and keeper, either way.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ostler_keeper::fake_keeper::check_message(bytes));
