//! Verdict on one attempt to check a process.

use crate::lifecycle::command::CommandOutcome;

/// Result of one attempt to check a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeVerdict {
    /// The process answers as expected.
    Good,
    /// The process does not answer, or not as expected.
    Bad,
    /// The request never reached the process, so the check is broken. The health of the process is
    /// unknown.
    Broken,
}

/// Exit codes by which shells, and programs such as `env`, `nice` and `timeout`, report that they
/// cannot run a program.
const CANNOT_EXECUTE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Linux error numbers for connections that fail on the daemon's side: permissions, descriptors,
/// memory, ports, protocol, route.
const OUR_ERRORS: &[i32] = &[1, 11, 12, 13, 23, 24, 97, 98, 99, 101, 105];

impl ProbeVerdict {
    /// Returns the verdict on a check that is a command. None: the command was cancelled and has to
    /// run again.
    ///
    /// A check that a signal ends was killed from outside or crashed. Neither is an answer of the
    /// app. A check that takes too long is an answer, because it usually waits for the app.
    pub fn of_command(outcome: &CommandOutcome) -> Option<Self> {
        match outcome {
            CommandOutcome::Code(0) => Some(Self::Good),
            CommandOutcome::Code(CANNOT_EXECUTE | NOT_FOUND) | CommandOutcome::Signal(_) | CommandOutcome::CouldNotStart(_) => {
                Some(Self::Broken)
            }
            CommandOutcome::Code(_) | CommandOutcome::TimedOut(_) => Some(Self::Bad),
            CommandOutcome::Cancelled | CommandOutcome::Lost => None,
        }
    }

    /// Returns the verdict on a connection that failed with this error number.
    pub fn of_connection(errno: i32) -> Self {
        if OUR_ERRORS.contains(&errno) { Self::Broken } else { Self::Bad }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_that_cannot_run_is_broken() {
        use ProbeVerdict::{Bad, Broken, Good};
        for (outcome, expected) in [
            (CommandOutcome::Code(0), Some(Good)),
            (CommandOutcome::Code(1), Some(Bad)),
            (CommandOutcome::Code(125), Some(Bad)),
            (CommandOutcome::Code(126), Some(Broken)),
            (CommandOutcome::Code(127), Some(Broken)),
            (CommandOutcome::Code(128), Some(Bad)),
            (CommandOutcome::Signal(9), Some(Broken)),
            (CommandOutcome::TimedOut(5000), Some(Bad)),
            (CommandOutcome::CouldNotStart("exec pg_isready: No such file or directory".into()), Some(Broken)),
            (CommandOutcome::Cancelled, None),
            (CommandOutcome::Lost, None),
        ] {
            assert_eq!(ProbeVerdict::of_command(&outcome), expected, "{outcome:?}");
        }
    }

    #[test]
    fn local_connection_errors_are_broken_not_bad() {
        let errno = |kind: std::io::ErrorKind| (1..200).find(|number| std::io::Error::from_raw_os_error(*number).kind() == kind).unwrap();
        use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, OutOfMemory};
        for (kind, expected) in [
            (ConnectionRefused, ProbeVerdict::Bad),
            (ConnectionReset, ProbeVerdict::Bad),
            (HostUnreachable, ProbeVerdict::Bad),
            (NetworkUnreachable, ProbeVerdict::Broken),
            (AddrNotAvailable, ProbeVerdict::Broken),
            (OutOfMemory, ProbeVerdict::Broken),
        ] {
            assert_eq!(ProbeVerdict::of_connection(errno(kind)), expected, "{kind:?}");
        }
        for text in ["Too many open files", "Operation not permitted", "Permission denied", "Resource temporarily unavailable"] {
            let known = OUR_ERRORS.iter().any(|number| std::io::Error::from_raw_os_error(*number).to_string().starts_with(text));
            assert!(known, "{text}");
        }
    }
}
