//! Sockets, and what the kernel knows of connections.

pub mod connections;
pub mod datagram;
pub mod dial;
pub mod listening;
pub mod reuseport;
pub(crate) mod sock_diag;
pub mod socket;
