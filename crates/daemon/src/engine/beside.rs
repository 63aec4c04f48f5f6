//! What features add to a process before it is asked for.

use std::os::fd::OwnedFd;

use crate::logs::Outputs;
use crate::secrets::Values;

/// What a process gets besides its channel.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// Standard output and error; without them it is not started.
    pub outputs: Option<Outputs>,
    /// Descriptors and their numbers in the process.
    pub fds: Vec<(OwnedFd, i32)>,
    /// Variables.
    pub vars: Vec<(&'static str, String)>,
    /// Secrets that commands gave.
    pub secrets: Values,
}
