//! HTTP in both directions: checks and headers of the server, and the client for external services.

pub(crate) mod assets;
pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod client_tls;
pub(crate) mod guard;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod shares;
