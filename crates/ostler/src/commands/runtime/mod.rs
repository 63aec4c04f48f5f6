//! `runtime`: the first process of a container, or the only one of a terminal.
//!
//! # Theory of operation
//!
//! Two processes do the work. The first process (process 1 of the container) checks its options and
//! becomes the keeper by `execve`. It stays small, and keeps its standard output and error. Just
//! before that, it starts a second process, the *starter*, with the same command line. The starter
//! evaluates the configuration while keeper and daemon come up, asks the daemon to start
//! everything, and exits. The keeper reports this exit to the daemon, like that of any child; see
//! `ostler_daemon`'s `runtime`.

mod front;
mod settings;
mod starter;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};

/// Stays until everything has stopped, and exits with the app's code.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    match starter::StarterContext::take() {
        Some(place) => starter::run(cx, call, place),
        None => front::run(cx, call),
    }
}
