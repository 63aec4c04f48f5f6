//! Descriptors: pipes, memory behind a descriptor, and descriptors in messages.

pub mod counted;
pub mod fdpass;
pub mod input;
pub mod lent;
pub mod memfd;
pub mod pipe;
