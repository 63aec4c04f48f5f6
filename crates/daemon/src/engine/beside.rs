//! Additions of features to a process before it is asked for.

use std::os::fd::OwnedFd;

use ostler_sys::users::user::Identity;

use crate::logs::Outputs;
use crate::platform::secrets::Values;

/// Additions to a process besides what its description says.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// User that it runs as, where that is said.
    pub account: Option<Identity>,
    /// Standard output and error; without them it is not started.
    pub outputs: Option<Outputs>,
    /// Descriptors and their numbers in the process.
    pub fds: Vec<(OwnedFd, i32)>,
    /// Variables.
    pub vars: Vec<(&'static str, String)>,
    /// Arguments for Node itself, before those of the description.
    pub node_args: Vec<String>,
    /// Arguments for Node itself, after those of the description: of two, Node takes the last.
    pub last_node_args: Vec<String>,
    /// Port of Node's inspector that the preload sets; none = Node has it from its options.
    pub debug_port: Option<u16>,
    /// Secrets that commands gave.
    pub secrets: Values,
}
