//! Alerts: rules, notifications, message texts and the outbox. Pure: no I/O, no clock, no threads.
//!
//! - [`rule`]: rules as users write them, and the default rules.
//! - [`engine`]: `step(state, config, input, now)` → messages.
//! - [`channel`] and [`render`]: a message as a request to each service within its limits, and the
//!   meaning of its response.
//! - [`dispatch`]: when each message is sent, and retried after a failure.
//! - [`journal`]: state and messages as bytes of a file whose end may be damaged or missing.
#![forbid(unsafe_code)]

pub mod certificate;
pub mod channel;
pub mod config;
pub mod dispatch;
pub mod engine;
mod fields;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
pub mod input;
pub mod journal;
pub mod message;
pub mod render;
pub mod rule;
mod severity;
pub mod text;

pub use fields::Problem;
