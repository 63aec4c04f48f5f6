//! HTTP, both ways: what every request passes and every reply has, and requests of our own to services.

pub(crate) mod assets;
pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod client_tls;
pub(crate) mod guard;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod shares;
