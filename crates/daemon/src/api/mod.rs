//! Public interfaces of the daemon. They decode requests and encode answers, and decide nothing.

pub(crate) mod native;
pub(crate) mod pm2;
