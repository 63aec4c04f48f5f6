//! Additions of features to a process before the keeper is asked to start it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ostler_sys::users::user::Identity;

use crate::logs::Outputs;
use crate::platform::secrets::Values;

/// Additions to a process that its description does not contain.
#[derive(Debug, Default)]
pub(crate) struct SpawnExtras {
    /// User that the process runs as, if the app sets one.
    pub account: Option<Identity>,
    /// Standard output and error; the process is not started without them.
    pub outputs: Option<Outputs>,
    /// Descriptors and their numbers in the process.
    pub fds: Vec<(OwnedFd, i32)>,
    /// Variables.
    pub vars: Vec<(&'static str, String)>,
    /// Arguments for Node itself, before those of the description.
    pub node_args: Vec<String>,
    /// Arguments for Node itself, after those of the description. If an option occurs twice, Node
    /// uses the last.
    pub last_node_args: Vec<String>,
    /// Port of Node's inspector that the preload sets; `None` if Node's own options set it.
    pub debug_port: Option<u16>,
    /// Files of ostler that the process reads, which a sandbox must allow.
    pub readable: Vec<PathBuf>,
    /// Secrets that commands returned.
    pub secrets: Values,
}
