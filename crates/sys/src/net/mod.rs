//! Sockets, and the kernel's data about connections.

pub mod connected;
pub mod connections;
pub mod datagram;
pub mod dial;
pub mod listening;
pub mod order;
pub mod reuseport;
pub mod shutdowns;
pub(crate) mod sock_diag;
pub mod socket;
