//! What features add to a process before it is asked for.

use std::os::fd::OwnedFd;

use crate::secrets::Values;

/// What a process gets besides its output and its channel.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// Descriptors and their numbers in the process.
    pub fds: Vec<(OwnedFd, i32)>,
    /// Variables.
    pub vars: Vec<(&'static str, String)>,
    /// Secrets that commands gave.
    pub secrets: Values,
}
