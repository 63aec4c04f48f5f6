//! Pure decisions: no I/O, no clock, no threads, no randomness of its own.
//!
//! Everything that ostler *decides* lives here as total functions over plain data, so that it can be tested by table, by property
//! and in the simulation. Whoever performs the effects (the daemon) feeds results back as events.
#![forbid(unsafe_code)]

pub mod app;
pub mod cron;
pub mod errors;
pub mod health;
pub mod home;
pub mod lifecycle;
pub mod logs;
pub mod rollout;
pub mod serving;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod text;
pub mod time;
pub mod watch;
