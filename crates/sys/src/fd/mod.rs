//! Descriptors: pipes, memory behind a descriptor, and descriptors in messages.

pub mod counted_sends;
pub mod epoll_wait;
pub mod fdpass;
pub mod input;
pub mod memfd;
pub mod pipe;
pub mod socket_copies;
