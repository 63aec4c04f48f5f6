//! The state machine: pending, firing, resolved for each rule and app; which channel is told what, and when. Pure.
//!
//! # Theory of operation
//! An [`Alert`] belongs to a rule and an app, whatever number of instances it is about. It is level-triggered: what a channel was told is kept beside what is true, and
//! a message is made of the difference. So a batch is what has changed since the last message, nothing is queued here, and a flood of occurrences costs a counter.
//! Everything but the windows of figures is in the state that is kept; those begin anew.

mod alert;
mod judge;
mod pace;
mod series;
mod state;
mod step;
mod tell;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_rules;

pub use crate::config::{Channel, Config, Quiet, Silence};
pub use alert::{Alert, Phase, Told};
pub use pace::{MOST_A_MINUTE, Pace};
pub use state::{Change, Output, State};
pub use step::step;
