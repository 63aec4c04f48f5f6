//! Logging: operations on log files while apps write them.

pub(crate) mod flush;
pub(crate) mod last_lines;
pub(crate) mod line_times;
pub(crate) mod log_writers;
pub(crate) mod pm2_log;
pub(crate) mod reclaim;
pub(crate) mod rotation;
