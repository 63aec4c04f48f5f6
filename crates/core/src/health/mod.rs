//! Health of instances: takes the results of checks and returns a state. The daemon runs the
//! checks.
//!
//! [`Monitor`] judges one process. [`Pace`] limits how soon a replaced instance may be replaced
//! again. [`RemedyInput`] decides about a process that is unhealthy or uses too much.

pub mod autoscale;
pub mod limits;
mod monitor;
mod pace;
pub mod probe;
mod remedy;
pub mod safeguards;
pub mod scrape;
mod spec;
mod verdict;

pub use monitor::{HealthState, Monitor};
pub use pace::Pace;
pub use remedy::{Remedy, RemedyCause, RemedyInput, is_complete};
pub use spec::{Action, Check, CheckMethod, CheckPhase, HealthSpec};
pub use verdict::ProbeVerdict;
