//! Is an instance well? Answers to questions go in, a state comes out; somebody else asks.
//!
//! [`Monitor`] judges one process, [`Pace`] says how soon what was replaced may be replaced again.

mod monitor;
mod pace;

pub use monitor::{Monitor, State};
pub use pace::Pace;
