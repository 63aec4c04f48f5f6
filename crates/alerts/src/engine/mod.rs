//! State machine: decides for each rule and app whether an alert is pending, firing or resolved,
//! and notifies the channels. Pure.
//!
//! # Theory of operation
//! An [`Alert`] belongs to a rule and an app, regardless of the number of affected instances. The
//! engine is level-triggered. It keeps the last notification of each channel beside the present
//! state, and creates a message from the difference.
//!
//! A batch therefore contains the changes since the last message. The engine has no queue, and a
//! flood of events only increments a counter. The kept state includes everything except the windows
//! of metrics, which start empty after a restart.

mod alert;
mod judge;
mod notify;
mod pace;
mod series;
mod state;
mod step;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_rules;

pub use crate::config::{Channel, Config, QuietHours, Silence};
pub use alert::{Alert, Phase, SentNotification};
pub use pace::{MOST_A_MINUTE, Pace};
pub use state::{AlertChange, EngineState, StepOutput};
pub use step::step;
