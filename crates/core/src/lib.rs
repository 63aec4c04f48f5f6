//! Pure decisions: no I/O, no clock, no threads, no own randomness.
//!
//! Every *decision* of ostler is here, as total functions over plain data. Tables, property tests
//! and the simulation can therefore test it. The daemon performs the effects and returns the
//! results as events.
#![forbid(unsafe_code)]

pub mod app;
pub mod cron;
pub mod environment;
pub mod errors;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
pub mod health;
pub mod home;
pub mod lifecycle;
pub mod logs;
pub mod rollout;
pub mod serving;
pub mod text;
pub mod time;
pub mod watch;
