//! Calls that wait for an answer.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};

use super::filter::is_native;
use crate::process::last_errno;

/// Call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrappedCall {
    /// Its id.
    pub id: u64,
    /// Id of the thread that made it.
    pub thread: i32,
    /// The call.
    pub call: Call,
}

/// Call of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `bind`.
    Bind {
        /// Descriptor of the socket.
        fd: RawFd,
        /// Address of the socket address, in the memory of the process.
        address: u64,
        /// Length of the socket address.
        length: u32,
    },
    /// `listen`.
    Listen {
        /// Descriptor of the socket.
        fd: RawFd,
        /// Length of the queue.
        backlog: i32,
    },
    /// `seccomp`, for a filter with a listener. The kernel refuses a second listener.
    Filter,
    /// A call of a 32-bit program.
    Narrow,
}

/// Answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel executes the call.
    Continue,
    /// The call returns 0 and has no other effect.
    Done,
    /// The call fails.
    Fail(Errno),
}

/// `struct seccomp_data` of `linux/seccomp.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct CallData {
    pub(super) number: i32,
    architecture: u32,
    instruction: u64,
    pub(super) arguments: [u64; 6],
}

/// `struct seccomp_notif`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Notification {
    pub(super) id: u64,
    pub(super) pid: u32,
    flags: u32,
    pub(super) data: CallData,
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct AddedFd {
    id: u64,
    flags: u32,
    source: u32,
    number: u32,
    number_flags: u32,
}

/// Numbers of `ioctl` (`linux/seccomp.h`): direction, size of the record, `!`, number.
const fn request(direction: u64, size: usize, number: u64) -> u64 {
    direction << 30 | (size as u64) << 16 | (b'!' as u64) << 8 | number
}

const RECEIVE: u64 = request(3, size_of::<Notification>(), 0);
const SEND: u64 = request(3, size_of::<Response>(), 1);
const IS_VALID: u64 = request(1, size_of::<u64>(), 2);
const ADD_FD: u64 = request(1, size_of::<AddedFd>(), 3);

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;
/// `SECCOMP_ADDFD_FLAG_SETFD`: use the given number, whatever it referred to.
const SET_NUMBER: u32 = 1;

/// Listener of a filter: the calls of a process and its descendants.
#[derive(Debug)]
pub struct CallListener(OwnedFd);

impl From<OwnedFd> for CallListener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for CallListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl CallListener {
    /// Receives a call, or returns `None` if none waits. Never blocks.
    ///
    /// # Errors
    /// Returns `EPIPE` if no process with the filter is left, and the errors of `ioctl`.
    pub fn receive(&self) -> Result<Option<TrappedCall>, Errno> {
        Ok(self.receive_notification()?.as_ref().map(to_call))
    }

    pub(super) fn receive_notification(&self) -> Result<Option<Notification>, Errno> {
        loop {
            // Receiving blocks if no call waits.
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut fds, Some(&Timespec::default())) {
                Err(Errno::INTR) => continue,
                polled => polled?,
            };
            let [ready] = fds.map(|fd| fd.revents());
            if !ready.contains(PollFlags::IN) {
                return if ready.intersects(PollFlags::HUP | PollFlags::ERR) { Err(Errno::PIPE) } else { Ok(None) };
            }
            let mut notification = Notification::default();
            match self.control(RECEIVE, (&raw mut notification).cast()) {
                Ok(()) => return Ok(Some(notification)),
                // The process was killed, or the call was interrupted by a signal.
                Err(Errno::NOENT | Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Returns true if the call still waits. Its thread cannot have been replaced by another with
    /// the same id then, so what was read about it before is true.
    pub fn is_waiting(&self, id: u64) -> bool {
        let mut id = id;
        self.control(IS_VALID, (&raw mut id).cast()).is_ok()
    }

    /// Answers a call.
    ///
    /// # Errors
    /// Returns `ENOENT` if the call does not wait any more: its process was killed, or a signal
    /// interrupted it. An interrupted call is repeated by the kernel or by the program.
    pub fn answer(&self, id: u64, answer: Answer) -> Result<(), Errno> {
        let (error, flags) = match answer {
            Answer::Continue => (0, CONTINUE),
            Answer::Done => (0, 0),
            Answer::Fail(errno) => (-errno.raw_os_error(), 0),
        };
        let mut response = Response { id, value: 0, error, flags };
        retry_on_intr(|| self.control(SEND, (&raw mut response).cast()))
    }

    /// Puts a copy of `fd` in place of descriptor `number` of the process whose call waits.
    ///
    /// # Errors
    /// Returns `ENOENT` if the call does not wait any more, `EINVAL` before Linux 5.9, and the
    /// errors of `dup2` in that process (`EBADF` if its limit of descriptors is below the number).
    pub fn replace(&self, id: u64, fd: BorrowedFd<'_>, number: RawFd, is_cloexec: bool) -> Result<(), Errno> {
        let number_flags = if is_cloexec { libc::O_CLOEXEC.cast_unsigned() } else { 0 };
        let (source, number) = (fd.as_raw_fd().cast_unsigned(), number.cast_unsigned());
        let mut added = AddedFd { id, flags: SET_NUMBER, source, number, number_flags };
        retry_on_intr(|| self.control(ADD_FD, (&raw mut added).cast()))
    }

    /// Returns true if the kernel has [`Self::replace`] (Linux 5.9).
    pub fn can_replace(&self) -> bool {
        // No call has this id.
        self.replace(u64::MAX, self.as_fd(), 0, true) != Err(Errno::INVAL)
    }

    fn control(&self, request: u64, record: *mut libc::c_void) -> Result<(), Errno> {
        // SAFETY: the callers pass a live record of the type and size that the request names.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, record) };
        if result < 0 { Err(last_errno()) } else { Ok(()) }
    }
}

/// Returns the call of a notification. Arguments of 32 bits use the lower half of a register only.
fn to_call(notification: &Notification) -> TrappedCall {
    let CallData { number, architecture, arguments: [first, second, third, ..], .. } = notification.data;
    let narrow = |argument: u64| argument as u32;
    let fd = narrow(first).cast_signed();
    let call = if !is_native(architecture) {
        Call::Narrow
    } else {
        match libc::c_long::from(number & 0x3fff_ffff) {
            libc::SYS_bind => Call::Bind { fd, address: second, length: narrow(third) },
            libc::SYS_seccomp => Call::Filter,
            _ => Call::Listen { fd, backlog: narrow(second).cast_signed() },
        }
    };
    TrappedCall { id: notification.id, thread: notification.pid.cast_signed(), call }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_numbers_of_the_kernel() {
        // Computed with the macros of linux/seccomp.h.
        assert_eq!([RECEIVE, SEND, IS_VALID, ADD_FD], [0xc050_2100, 0xc018_2101, 0x4008_2102, 0x4018_2103]);
    }
}
