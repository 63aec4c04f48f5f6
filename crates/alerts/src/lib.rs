//! Alerts: what is one, who is told, in which words, and what is still to be sent. Pure: no I/O, no clock, no threads.
//!
//! - [`rule`]: rules, as a person writes them, and those that are on from the start.
//! - [`engine`]: `step(state, config, input, now)` → messages.
//! - [`channel`] and [`render`]: a message as a request of each service, within its limits; and what the answer means.
//! - [`dispatch`]: which message goes out when, and again after a failure.
//! - [`journal`]: state and messages as bytes of a file of which any part may be missing.
#![forbid(unsafe_code)]

pub mod certificate;
pub mod channel;
pub mod config;
pub mod dispatch;
pub mod engine;
mod fields;
pub mod input;
pub mod journal;
pub mod message;
pub mod render;
pub mod rule;
mod severity;
pub mod text;

pub use fields::Problem;
