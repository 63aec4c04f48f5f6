//! State that one keeper hands to the next: to itself in a new binary (upgrade), or from a daemon
//! whose keeper was killed (revival).
//!
//! The state is a memfd; descriptors are inherited and identified by number. The first four bytes
//! are the version. A newer binary keeps the decoders of older versions. An older binary rejects a
//! newer state, and the upgrade fails.

pub(crate) mod hold;
pub(crate) mod upgrade;

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use ostler_sys::{ProcRef, fd::memfd};
use rustix::io::Errno;

use crate::link::codec::{Input, Malformed, Wire, decode, encode, record};
use crate::link::message::{Child, Originals};

/// Lock file in the home. The process that holds its lock is the keeper of this home.
pub const LOCK_FILE: &str = "ostler.lock";
/// Socket of the daemon in the home.
pub const SOCKET_FILE: &str = "ostler.sock";
/// File in the home with the keeper's pid, decimal, no newline. Only the keeper's pid stays the
/// same.
pub const PID_FILE: &str = "pm2.pid";
/// Log of keeper and daemon.
pub(crate) const LOG_FILE: &str = "pm2.log";

/// Returns the pid file of a home's keeper. A relative path in the variable is relative to the
/// home.
pub fn pid_file(home: &Path) -> PathBuf {
    moved(home, "PM2_PID_FILE_PATH", PID_FILE)
}

/// Returns the log of keeper and daemon. A relative path in the variable is relative to the home.
pub fn log_file(home: &Path) -> PathBuf {
    moved(home, "PM2_LOG_FILE_PATH", LOG_FILE)
}

fn moved(home: &Path, variable: &str, usual: &str) -> PathBuf {
    home.join(std::env::var_os(variable).filter(|path| !path.is_empty()).unwrap_or_else(|| usual.into()))
}

const VERSION: u32 = 1;
/// Maximum size of the state. It needs a few hundred bytes per child.
const MAX_BYTES: usize = 64 << 20;

/// State of a keeper.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeeperState {
    pub(crate) home: PathBuf,
    pub(crate) as_pm2: bool,
    pub(crate) originals: Originals,
    /// Children, with the number of the pidfd if the process is not our child.
    pub(crate) children: Vec<(Child, Option<i32>)>,
    pub(crate) held: Vec<(String, i32)>,
    pub(crate) daemon: Option<DaemonState>,
    /// Signals that have not reached any daemon yet, one bit each.
    pub(crate) signals: u64,
}

/// The running daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct DaemonState {
    pub(crate) pid: i32,
    pub(crate) start_ticks: u64,
    /// Descriptor number of our end of the link.
    pub(crate) link: Option<i32>,
    /// Whether to exchange the daemon (upgrade) or to keep it (revival).
    pub(crate) retire: bool,
}

impl DaemonState {
    pub(crate) fn process(&self) -> ProcRef {
        ProcRef { pid: self.pid, start_ticks: self.start_ticks }
    }
}

record!(DaemonState { pid, start_ticks, link, retire });
record!(KeeperState { home, as_pm2, originals, children, held, daemon, signals });

impl KeeperState {
    /// Writes the state into a memfd.
    pub(crate) fn to_memfd(&self) -> Result<OwnedFd, Errno> {
        let mut bytes = encode(&VERSION);
        self.put(&mut bytes);
        memfd::with("ostler-keeper-state", &bytes)
    }

    /// Reads the state from a memfd of this or an older version.
    pub(crate) fn from_memfd(fd: BorrowedFd<'_>) -> Result<Self, StateError> {
        let bytes = memfd::read(fd, MAX_BYTES).map_err(StateError::Read)?;
        let (version, rest) = bytes.split_at_checked(4).ok_or(StateError::Malformed(Malformed("too short")))?;
        match decode::<u32>(version)? {
            VERSION => Ok(decode(rest)?),
            other => Err(StateError::Version(other)),
        }
    }
}

/// Reason why a state cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("cannot read the state of the previous keeper")]
    Read(#[source] Errno),
    #[error("the state of the previous keeper has version {0}, which this binary does not support")]
    Version(u32),
    #[error("the state of the previous keeper is invalid")]
    Malformed(#[from] Malformed),
}

/// Returns the number that identifies an inherited descriptor.
pub(crate) fn number(fd: BorrowedFd<'_>) -> RawFd {
    fd.as_raw_fd()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn state() -> KeeperState {
        KeeperState {
            home: "/tmp/h".into(),
            as_pm2: true,
            children: vec![(Child { key: 1, pid: 2, start_ticks: 3, ended: None }, Some(9))],
            held: vec![("socket".into(), 5)],
            daemon: Some(DaemonState { pid: 4, start_ticks: 5, link: Some(6), retire: true }),
            signals: 1 << 15,
            ..KeeperState::default()
        }
    }

    #[test]
    fn state_round_trips_through_a_memfd() {
        assert_eq!(KeeperState::from_memfd(state().to_memfd().unwrap().as_fd()).unwrap(), state());
    }

    #[test]
    fn state_of_another_version_or_malformed_is_rejected() {
        let refused = |bytes: &[u8]| KeeperState::from_memfd(memfd::with("test", bytes).unwrap().as_fd()).unwrap_err();
        assert!(matches!(refused(&[2, 0, 0, 0, 1, 2, 3]), StateError::Version(2)));
        assert!(matches!(refused(&[1, 0, 0]), StateError::Malformed(_)));
        assert!(matches!(refused(&[1, 0, 0, 0, 9]), StateError::Malformed(_)));
    }

    /// Version 1 must stay readable: these are the bytes that an older binary writes.
    #[test]
    fn state_of_version_1_is_readable() {
        let mut bytes = encode(&1u32).to_vec();
        bytes.extend_from_slice(&encode(&PathBuf::from("/h")));
        bytes.push(0); // as_pm2
        bytes.extend_from_slice(&encode(&0o22u32)); // umask
        bytes.extend([0, 0]); // nofile, oom_score_adj
        bytes.extend([0; 8]); // no children, nothing held
        bytes.push(0); // no daemon
        bytes.extend_from_slice(&encode(&0u64)); // signals
        let state = KeeperState::from_memfd(memfd::with("test", &bytes).unwrap().as_fd()).unwrap();
        assert_eq!((state.home, state.originals.umask), (PathBuf::from("/h"), 0o22));
    }
}
