//! `runtime`: the first process of a container, or the only one of a terminal.
//!
//! # Theory of operation
//!
//! Two processes do it. The one that was called (process 1 of the container) checks its options and becomes the keeper by `execve`: it stays
//! small, and its standard output and error stay what they are. Just before that it starts another one, the *starter*, with the same command
//! line: that one evaluates the configuration while keeper and daemon come up, asks the daemon to start it all, and ends. The daemon learns of
//! its end from the keeper, as of the end of any child; see `ostler_daemon`'s `runtime`.

mod front;
mod settings;
mod starter;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};

/// Stays until everything has ended, and ends with the app's code.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    match starter::StarterContext::take() {
        Some(place) => starter::run(cx, call, place),
        None => front::run(cx, call),
    }
}
