//! Steps of a start, as errors name them.

use std::fmt;

/// Step in which a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SpawnStep {
    /// Memory or process could not be created.
    Clone = 1,
    /// New session.
    Session = 2,
    /// Placing the descriptors.
    Descriptors = 3,
    /// Out-of-memory score.
    OomScore = 4,
    /// Scheduling priority.
    Nice = 5,
    /// Resource limit.
    Rlimit = 6,
    /// Supplementary groups.
    Groups = 7,
    /// Group id.
    Gid = 8,
    /// User id.
    Uid = 9,
    /// Working directory.
    Chdir = 10,
    /// The program itself. `ENOEXEC` = neither a binary nor a script with `#!`; `ENOENT` on an
    /// existing file = its interpreter is missing (see [`crate::process::exec::explain`]).
    Exec = 11,
    /// The request did not arrive complete (the keeper is out of descriptors).
    Receive = 12,
    /// The key of the request is in use (a bug of the caller).
    Key = 13,
    /// The filter of system calls was installed, but its listener could not be sent.
    Filter = 14,
    /// Separate mounts.
    Mount = 15,
    /// Capabilities.
    Capabilities = 16,
    /// No new privileges.
    NoNewPrivs = 17,
    /// Enforcing the ruleset of Landlock.
    Landlock = 18,
    /// A code that this version does not know.
    Unknown = 255,
}

impl SpawnStep {
    /// Returns the step as users know it: the name of the system call.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clone => "fork",
            Self::Session => "setsid",
            Self::Descriptors => "dup2",
            Self::OomScore => "oom_score_adj",
            Self::Nice => "setpriority",
            Self::Rlimit => "setrlimit",
            Self::Groups => "setgroups",
            Self::Gid => "setgid",
            Self::Uid => "setuid",
            Self::Chdir => "chdir",
            Self::Exec => "exec",
            Self::Receive => "receive",
            Self::Key => "key",
            Self::Filter => "seccomp",
            Self::Mount => "mount",
            Self::Capabilities => "capset",
            Self::NoNewPrivs => "no_new_privs",
            Self::Landlock => "landlock",
            Self::Unknown => "spawn",
        }
    }

    /// Returns the code on the wire.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Returns the step of a [`SpawnStep::code`]; unknown codes give `Unknown`.
    pub fn from_code(code: u8) -> Self {
        const ALL: [SpawnStep; 18] = [
            SpawnStep::Clone,
            SpawnStep::Session,
            SpawnStep::Descriptors,
            SpawnStep::OomScore,
            SpawnStep::Nice,
            SpawnStep::Rlimit,
            SpawnStep::Groups,
            SpawnStep::Gid,
            SpawnStep::Uid,
            SpawnStep::Chdir,
            SpawnStep::Exec,
            SpawnStep::Receive,
            SpawnStep::Key,
            SpawnStep::Filter,
            SpawnStep::Mount,
            SpawnStep::Capabilities,
            SpawnStep::NoNewPrivs,
            SpawnStep::Landlock,
        ];
        ALL.into_iter().find(|step| step.code() == code).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for SpawnStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
