//! `logs`: the last lines of log files, then each line that is added.
//!
//! The client itself reads the files. It asks the daemon only for the list of apps, and the daemon
//! reports new apps. Following therefore costs the daemon nothing, and continues while the daemon
//! is replaced.

mod bus;
mod bus_packets;
mod content;
mod daemon_connection;
mod feed;
mod follow;
mod grep;
mod line_times;
mod lines;
mod markers;
mod merge;
mod observer;
mod own;
mod past;
mod printer;
mod resume;
mod run;
mod search;
mod source;
mod start_positions;
mod watch;

pub(crate) use bus::main as log_reader;
pub(crate) use feed::LogFeed;
pub(crate) use observer::Observer;
pub(crate) use printer::LineFormat;
#[cfg(feature = "web")]
pub(crate) use run::last_errors;
pub(crate) use run::{StreamFormat, run, stream, stream_as, stream_instance};
#[cfg(feature = "web")]
pub(crate) use search::log_search;
pub(crate) use start_positions::StartPositions;
