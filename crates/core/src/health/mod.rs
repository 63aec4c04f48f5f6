//! Health of instances: answers to checks go in, a state comes out; the daemon asks.
//!
//! [`Monitor`] judges one process, [`Pace`] says how soon what was replaced may be replaced again, [`Case`] what is done
//! about one that is not well or uses too much.

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

pub use monitor::{Monitor, State};
pub use pace::Pace;
pub use remedy::{Case, Cause, Remedy, is_over};
pub use spec::{Action, Ask, Check, HealthSpec, Phase};
pub use verdict::Verdict;
