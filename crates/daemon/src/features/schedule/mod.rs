//! Schedules: times, the order of starts, and commands at fixed points.

pub(crate) mod commands;
pub(crate) mod cron;
pub(crate) mod hooks;
pub(crate) mod order;
