//! State of apps and instances, and its part that outlives the daemon.

pub(crate) mod leftovers;
pub(crate) mod marked;
pub(crate) mod policy;
pub(crate) mod slots;
pub(crate) mod store;
