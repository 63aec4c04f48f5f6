//! Conversion between bytes and types, sans-IO: the native API (shared by CLI, TUI, web and tests)
//! and the wire formats of PM2 and Node.
#![forbid(unsafe_code)]

mod app_message;
pub mod control;
pub mod event;
mod failure;
mod figures;
pub mod frame;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
pub mod health;
pub mod host;
pub mod instance;
pub mod node;
pub mod pm2;
mod response;
pub mod rollout;
pub mod sd_notify;
