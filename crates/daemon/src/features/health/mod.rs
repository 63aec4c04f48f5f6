//! Health: checks, limits, and the reactions to them.

pub(crate) mod autoscale;
pub(crate) mod checks;
pub(crate) mod lifetime;
pub(crate) mod limits;
pub(crate) mod remediation;
pub(crate) mod usage;
