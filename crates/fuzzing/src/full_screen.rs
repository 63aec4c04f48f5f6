//! Full-screen files of the binary.

#[path = "../../ostler/src/full_screen/input.rs"]
pub(crate) mod input;
