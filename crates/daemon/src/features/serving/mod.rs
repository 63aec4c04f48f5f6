//! Serving: clusters, sockets, channels, readiness and drains.

pub(crate) mod channels;
pub(crate) mod cluster;
pub(crate) mod drains;
pub(crate) mod readiness;
pub(crate) mod sockets;
