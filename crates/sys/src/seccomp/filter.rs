//! Filter that a process installs before it executes its program, and the report of that.

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use crate::process::last_errno;

/// Number of a system call's architecture and of its calls.
struct Architecture {
    /// `AUDIT_ARCH_*`.
    audit: u32,
    bind: u32,
    listen: u32,
}

#[cfg(target_arch = "x86_64")]
const NATIVE: Architecture = Architecture { audit: 0xC000_003E, bind: libc::SYS_bind as u32, listen: libc::SYS_listen as u32 };
#[cfg(target_arch = "aarch64")]
const NATIVE: Architecture = Architecture { audit: 0xC000_00B7, bind: libc::SYS_bind as u32, listen: libc::SYS_listen as u32 };

/// 32-bit programs on the same kernel.
#[cfg(target_arch = "x86_64")]
const NARROW: Architecture = Architecture { audit: 0x4000_0003, bind: 361, listen: 363 };
#[cfg(target_arch = "aarch64")]
const NARROW: Architecture = Architecture { audit: 0x4000_0028, bind: 282, listen: 284 };

/// Architecture of our own programs (`AUDIT_ARCH_*`).
pub(crate) const NATIVE_AUDIT: u32 = NATIVE.audit;

/// Bit of the x32 calls of x86_64, which are the same calls otherwise.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// Old call of i386 for all calls of sockets, and its first arguments for `bind` and `listen`.
const SOCKETCALL: u32 = 102;
const SOCKETCALL_BIND: u32 = 2;
const SOCKETCALL_LISTEN: u32 = 4;

/// Offsets in `struct seccomp_data` of `linux/seccomp.h`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;

const NOTIFY: u32 = 0x7fc0_0000;
const ALLOW: u32 = 0x7fff_0000;

/// `SECCOMP_SET_MODE_FILTER`, and flags of `seccomp(2)`.
const SET_MODE_FILTER: libc::c_long = 1;
const SPEC_ALLOW: libc::c_long = 1 << 2;
const NEW_LISTENER: libc::c_long = 1 << 3;

/// Returns true for the architecture of our own programs.
pub(super) fn is_native(audit: u32) -> bool {
    audit == NATIVE.audit
}

/// Filter that notifies of `bind` and `listen`, and of filters with a listener of the program itself.
/// It allows everything else.
#[derive(Clone, Debug)]
pub(crate) struct CallFilter(Vec<libc::sock_filter>);

impl CallFilter {
    pub(crate) fn new() -> Self {
        let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let load = |offset: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
        let jump = |k: u32, jt: u8, jf: u8| libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt, jf, k };
        // The jumps are relative: the last two instructions allow and notify.
        Self(vec![
            load(ARCHITECTURE),
            jump(NATIVE.audit, 0, 7),
            load(NUMBER),
            statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, if cfg!(target_arch = "x86_64") { !X32_BIT } else { u32::MAX }),
            jump(NATIVE.bind, 13, 0),
            jump(NATIVE.listen, 12, 0),
            jump(libc::SYS_seccomp as u32, 0, 10),
            load(SECOND_ARGUMENT),
            libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16, jt: 9, jf: 8, k: NEW_LISTENER as u32 },
            jump(NARROW.audit, 0, 7),
            load(NUMBER),
            jump(NARROW.bind, 6, 0),
            jump(NARROW.listen, 5, 0),
            jump(if cfg!(target_arch = "x86_64") { SOCKETCALL } else { u32::MAX }, 0, 3),
            load(FIRST_ARGUMENT),
            jump(SOCKETCALL_BIND, 2, 0),
            jump(SOCKETCALL_LISTEN, 1, 0),
            statement(libc::BPF_RET | libc::BPF_K, ALLOW),
            statement(libc::BPF_RET | libc::BPF_K, NOTIFY),
        ])
    }

    /// Installs the filter in this process, and sends its listener to `socket`. A refusal is sent,
    /// too: the program then runs without the filter. Returns false, with the errno set, if the
    /// listener could not be sent: the kernel would answer the program's calls with `ENOSYS`. Never
    /// allocates.
    pub(crate) fn install_and_report(&self, socket: RawFd) -> bool {
        let mut report = Report { without_new_privileges: false, errno: 0 };
        let mut listener = self.install(0);
        if listener == Err(Errno::ACCESS) {
            // SAFETY: plain prctl without pointers.
            unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            report.without_new_privileges = true;
            listener = self.install(0);
        }
        match listener {
            Ok(listener) => send(socket, report, Some(listener)),
            Err(errno) => {
                // Without this report, the program is served as one without a filter, too.
                send(socket, Report { errno: errno.raw_os_error(), ..report }, None);
                true
            }
        }
    }

    /// Filter that notifies of all calls except these. A program of another architecture runs
    /// without notifications.
    #[cfg(feature = "traps")]
    pub(super) fn of_all_but(numbers: &[u32]) -> Self {
        let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let load = |offset: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
        let jump = |k: u32, jt: u8, jf: u8| libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt, jf, k };
        let allow = || statement(libc::BPF_RET | libc::BPF_K, ALLOW);
        let mut program = vec![load(ARCHITECTURE), jump(NATIVE.audit, 1, 0), allow(), load(NUMBER)];
        for number in numbers {
            program.extend([jump(*number, 0, 1), allow()]);
        }
        program.push(statement(libc::BPF_RET | libc::BPF_K, NOTIFY));
        Self(program)
    }

    pub(super) fn install(&self, flags: libc::c_long) -> Result<RawFd, Errno> {
        let program = libc::sock_fprog { len: self.0.len() as libc::c_ushort, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: the description and the program outlive the call, which copies them.
        let listener = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, NEW_LISTENER | SPEC_ALLOW | flags, &raw const program) };
        if listener < 0 { Err(last_errno()) } else { Ok(listener as RawFd) }
    }
}

/// Report of a process about its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    without_new_privileges: bool,
    /// 0 = the filter is installed.
    errno: i32,
}

impl Report {
    fn to_bytes(self) -> [u8; 5] {
        let [a, b, c, d] = self.errno.to_le_bytes();
        [u8::from(self.without_new_privileges), a, b, c, d]
    }

    fn from_bytes(bytes: [u8; 5]) -> Self {
        let [flag, a, b, c, d] = bytes;
        Self { without_new_privileges: flag == 1, errno: i32::from_le_bytes([a, b, c, d]) }
    }
}

/// Sends a report. Returns false if that fails.
fn send(socket: RawFd, report: Report, listener: Option<RawFd>) -> bool {
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let mut bytes = report.to_bytes();
    let mut control = Control([0; 64]);
    // SAFETY: all pointers are to live objects of this frame, which are large enough for one
    // descriptor.
    unsafe {
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if let Some(listener) = listener {
            const SIZE: u32 = size_of::<RawFd>() as u32;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(SIZE) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(SIZE) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(listener);
        }
        libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) >= 0
    }
}

/// Result of the installation, as a process reported it.
#[derive(Debug)]
pub enum Installed {
    /// The calls of the process and its descendants arrive here.
    Listener {
        /// The listener.
        fd: OwnedFd,
        /// Whether the process had to give up new privileges: `sudo`, `ping` and other programs
        /// with the setuid bit do not work below it.
        without_new_privileges: bool,
    },
    /// The process runs without a filter, for this reason: `EBUSY` = it has a listener already,
    /// `EINVAL` = the kernel or a sandbox cannot do it.
    Refused(Errno),
}

/// Receives the report of a process. `None` means that it has not arrived.
///
/// # Errors
/// Returns `EPIPE` if there will be none, because the process has exited without it, and the errors
/// of `recvmsg`.
pub fn receive(socket: BorrowedFd<'_>) -> Result<Option<Installed>, Errno> {
    let mut bytes = [0; 5];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = match recvmsg(socket, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut control, flags) {
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        received => received?,
    };
    if received.bytes != bytes.len() || received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::PIPE);
    }
    let listener = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let report = Report::from_bytes(bytes);
    Ok(Some(match listener {
        Some(fd) if report.errno == 0 => Installed::Listener { fd, without_new_privileges: report.without_new_privileges },
        _ => Installed::Refused(if report.errno == 0 { Errno::PIPE } else { Errno::from_raw_os_error(report.errno) }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets a filter as the kernel does.
    fn run(filter: &CallFilter, audit: u32, number: u32, [first_argument, second_argument]: [u32; 2]) -> u32 {
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let instruction = filter.0[at];
            at += 1;
            match u32::from(instruction.code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    accumulator = match instruction.k {
                        NUMBER => number,
                        ARCHITECTURE => audit,
                        FIRST_ARGUMENT => first_argument,
                        SECOND_ARGUMENT => second_argument,
                        other => panic!("offset {other}"),
                    }
                }
                code if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K => accumulator &= instruction.k,
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => {
                    at += usize::from(if accumulator == instruction.k { instruction.jt } else { instruction.jf });
                }
                code if code == libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K => {
                    at += usize::from(if accumulator & instruction.k == 0 { instruction.jf } else { instruction.jt });
                }
                code if code == libc::BPF_RET | libc::BPF_K => return instruction.k,
                code => panic!("code {code}"),
            }
        }
    }

    #[test]
    fn filter_notifies_of_bind_and_listen_in_every_form_only() {
        let filter = CallFilter::new();
        let mut cases = vec![
            (NATIVE.audit, NATIVE.bind, [0, 0], NOTIFY),
            (NATIVE.audit, NATIVE.listen, [0, 0], NOTIFY),
            (NATIVE.audit, libc::SYS_connect as u32, [0, 0], ALLOW),
            (NATIVE.audit, libc::SYS_socket as u32, [SOCKETCALL_BIND, 0], ALLOW),
            (NATIVE.audit, libc::SYS_seccomp as u32, [1, NEW_LISTENER as u32 | 1], NOTIFY),
            (NATIVE.audit, libc::SYS_seccomp as u32, [1, 1], ALLOW),
            (NARROW.audit, NARROW.bind, [0, 0], NOTIFY),
            (NARROW.audit, NARROW.listen, [0, 0], NOTIFY),
            (NARROW.audit, NARROW.bind + 1, [0, 0], ALLOW),
            // Another architecture has other numbers.
            (0xC000_00FF, NATIVE.bind, [0, 0], ALLOW),
        ];
        if cfg!(target_arch = "x86_64") {
            cases.extend([
                (NATIVE.audit, NATIVE.bind | X32_BIT, [0, 0], NOTIFY),
                (NARROW.audit, SOCKETCALL, [SOCKETCALL_BIND, 0], NOTIFY),
                (NARROW.audit, SOCKETCALL, [SOCKETCALL_LISTEN, 0], NOTIFY),
                (NARROW.audit, SOCKETCALL, [3, 0], ALLOW),
                (NARROW.audit, NATIVE.bind, [0, 0], ALLOW),
            ]);
        }
        for (audit, number, arguments, result) in cases {
            assert_eq!(run(&filter, audit, number, arguments), result, "{audit:x} {number} {arguments:?}");
        }
    }

    #[test]
    fn report_round_trips() {
        for report in [Report { without_new_privileges: true, errno: 0 }, Report { without_new_privileges: false, errno: libc::EBUSY }] {
            assert_eq!(Report::from_bytes(report.to_bytes()), report);
        }
    }
}
