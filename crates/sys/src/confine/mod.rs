//! Confinement of a program: Landlock, a filter that denies system calls, capabilities, and separate
//! mounts.
//!
//! The daemon creates the ruleset ([`landlock`]) and opens its paths. The keeper receives it together
//! with a [`Confinement`], and the new process applies both between fork and exec ([`apply`]).

pub(crate) mod apply;
pub mod denial;
pub mod landlock;

use std::os::fd::BorrowedFd;

/// Confinement of a program, apart from the ruleset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Whether setuid programs gain no rights.
    pub no_new_privs: bool,
    /// Capabilities to keep, as bits; `None` = unchanged.
    pub capabilities: Option<u64>,
    /// Numbers of denied system calls.
    pub denied_calls: Vec<u32>,
    /// Whether `clone` and `clone3` create no namespaces.
    pub denies_namespaces: bool,
    /// Families of addresses for new sockets; `None` = all.
    pub families: Option<Vec<u32>>,
    /// Whether `/tmp` and `/var/tmp` are new and empty.
    pub private_tmp: bool,
    /// Whether `/proc` hides processes that the program may not inspect.
    pub private_proc: bool,
    /// Access to the new `/tmp` and `/var/tmp`, see [`landlock::Access`]; 0 = the ruleset has no files.
    pub tmp_access: u64,
    /// Access to the new `/proc`.
    pub proc_access: u64,
}

/// Confinement of a new process.
#[derive(Clone, Copy, Debug)]
pub struct Confining<'a> {
    /// The description.
    pub confinement: &'a Confinement,
    /// The ruleset of Landlock.
    pub ruleset: Option<BorrowedFd<'a>>,
}
