//! State of apps and instances, and its part that outlives the daemon.

pub(crate) mod left_behind;
pub(crate) mod marked;
pub(crate) mod policy;
pub(crate) mod slots;
pub(crate) mod store;
