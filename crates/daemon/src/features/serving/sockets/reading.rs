//! Reads the address and the socket of a call of `bind`. This may block as long as the process wants,
//! so it belongs into a thread.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use ostler_core::serving::interception::{InspectionFacts, Obstacle, OwnSocketReason, obstacle};
use ostler_keeper::{LinkSender, ToKeeper};
use ostler_sys::net::socket;
use ostler_sys::process::is_refusal;
use ostler_sys::seccomp::caller::{Caller, CallerSocket};
use ostler_sys::seccomp::inspection::{BindCall, BindCopies};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

/// Longest time for reading the memory of a process. The kernel executes the call after that.
pub(super) const READS_WITHIN_MS: u64 = 1000;

/// Address and socket of a call of `bind`.
#[derive(Debug)]
pub(super) struct ReadBind {
    pub(super) pid: i32,
    pub(super) address: Option<SocketAddr>,
    pub(super) socket: CallerSocket,
    pub(super) is_in_our_network: bool,
    pub(super) is_registered: bool,
}

/// Reads what a thread binds, through the keeper if the daemon itself may not. `call` needs no pid.
pub(super) fn read_bind(call: BindCall, keeper: Option<&LinkSender>) -> Result<ReadBind, OwnSocketReason> {
    let read = || -> Result<ReadBind, Errno> {
        let caller = Caller::of_thread(call.thread)?;
        let copies = copy(BindCall { pid: caller.pid(), ..call }, keeper)?;
        // If a sandbox forbids copies of descriptors, only the options of the socket are unknown.
        let socket = match copies.socket {
            Err(errno) if !is_refusal(errno) => return Err(errno),
            socket => caller.socket(call.fd, socket.ok())?,
        };
        Ok(ReadBind {
            pid: caller.pid(),
            address: copies.address?.parse()?,
            socket,
            is_in_our_network: caller.is_in_our_network()?,
            is_registered: caller.has_registered(call.fd)?,
        })
    };
    read().map_err(|errno| match errno {
        // The kernel itself refuses these.
        Errno::FAULT | Errno::INVAL | Errno::BADF | Errno::NOENT | Errno::NODATA | Errno::OPNOTSUPP | Errno::SRCH => {
            OwnSocketReason::NotShared
        }
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => OwnSocketReason::NotReplaced(errno.raw_os_error()),
        Errno::TIMEDOUT => OwnSocketReason::Unreadable(Obstacle::Late),
        Errno::BUSY => OwnSocketReason::Unreadable(Obstacle::Busy),
        _ => OwnSocketReason::Unreadable(obstacle(&facts(call.thread))),
    })
}

/// Copies what a call names.
fn copy(call: BindCall, keeper: Option<&LinkSender>) -> Result<BindCopies, Errno> {
    let own = call.copy();
    match (own.address, keeper) {
        (Err(errno), Some(keeper)) if is_refusal(errno) => match copy_by_keeper(call, keeper) {
            // The keeper has no room for another thread.
            Err(Errno::PIPE) => Err(Errno::BUSY),
            copies => copies,
        },
        _ => Ok(own),
    }
}

/// Makes the keeper copy it: Yama permits that only to ancestors.
fn copy_by_keeper(call: BindCall, keeper: &LinkSender) -> Result<BindCopies, Errno> {
    let (ours, theirs) = socket::packet_pair()?;
    keeper.send(&ToKeeper::Inspect(call), &[theirs.as_fd()]);
    drop(theirs);
    BindCopies::receive(&ours, READS_WITHIN_MS)
}

fn facts(thread: i32) -> InspectionFacts {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse::<u32>().ok());
    let owner = fs::metadata(format!("/proc/{thread}")).ok().map(|meta| meta.uid());
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    InspectionFacts {
        ptrace_scope: scope.and_then(|scope| scope.trim().parse().ok()).unwrap_or(0),
        may_trace_all: capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE)),
        is_our_user: user == Some(rustix::process::getuid().as_raw()),
        // The kernel gives the files of other processes to root.
        is_dumpable: owner == user,
    }
}
