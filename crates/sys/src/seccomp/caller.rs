//! Facts about the process whose call waits, and about the socket that the call names.
//!
//! These come from `/proc`, which shows them to every process of the same user. The other facts need
//! the right to trace the process ([`super::inspection`]).

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{getsockname, ipproto, sockopt};

use crate::process::ProcRef;
use crate::process::descriptors::is_stopped;
use crate::process::tree::with_descendants;

/// Process whose call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Id of the thread that made the call.
    thread: i32,
    /// Id of its process.
    pid: i32,
}

/// Socket of a process.
#[derive(Debug)]
pub struct CallerSocket {
    copy: SocketCopy,
    /// Flags of the descriptor, `O_CLOEXEC` included.
    flags: OFlags,
}

#[derive(Debug)]
enum SocketCopy {
    /// Another descriptor of the socket. As long as it is open, the socket is.
    Descriptor(OwnedFd),
    /// Name of the socket's protocol in the kernel, such as `TCPv6`, if no copy can be made.
    Protocol(Vec<u8>),
}

impl Caller {
    /// Finds the process of a thread.
    ///
    /// # Errors
    /// Returns `ESRCH` if it does not exist, and `EACCES` if `/proc` does not show it.
    pub fn of_thread(thread: i32) -> Result<Self, Errno> {
        let status = fs::read_to_string(format!("/proc/{thread}/status")).map_err(|error| to_errno(&error))?;
        let pid = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).ok_or(Errno::SRCH)?;
        Ok(Self { thread, pid })
    }

    /// Returns the id of its process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns a socket of the process. Without a copy of the descriptor, its options are unknown.
    ///
    /// # Errors
    /// Returns `ENOENT` if the process has no such descriptor, `EOPNOTSUPP` if it is not a socket,
    /// and `EACCES` if `/proc` does not show it.
    pub fn socket(&self, number: RawFd, copy: Option<OwnedFd>) -> Result<CallerSocket, Errno> {
        let copy = match copy {
            Some(fd) => SocketCopy::Descriptor(fd),
            None => SocketCopy::Protocol(self.protocol(number)?),
        };
        Ok(CallerSocket { copy, flags: self.flags(number)? })
    }

    fn protocol(&self, number: RawFd) -> Result<Vec<u8>, Errno> {
        let mut name = [0; 32];
        let length = rustix::fs::getxattr(format!("/proc/{}/fd/{number}", self.thread), "system.sockprotoname", &mut name)?;
        let name = name.get(..length).unwrap_or_default();
        Ok(name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
    }

    fn flags(&self, number: RawFd) -> Result<OFlags, Errno> {
        let info = fs::read_to_string(format!("/proc/{}/fdinfo/{number}", self.thread)).map_err(|error| to_errno(&error))?;
        let flags = info.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        flags.map(OFlags::from_bits_retain).ok_or(Errno::BADF)
    }

    /// Returns true if the process is in our network namespace. Elsewhere, our socket would be at
    /// another place than its own.
    ///
    /// # Errors
    /// Returns the errors of `stat`.
    pub fn is_in_our_network(&self) -> Result<bool, Errno> {
        let inode = |path: &str| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).map_err(|error| to_errno(&error));
        Ok(inode(&format!("/proc/{}/ns/net", self.thread))? == inode("/proc/self/ns/net")?)
    }

    /// Returns true if the descriptor is registered in an epoll instance of the process. The
    /// registration belongs to the socket and would be lost with it.
    ///
    /// # Errors
    /// Returns the errors of reading `/proc`.
    pub fn has_registered(&self, number: RawFd) -> Result<bool, Errno> {
        let folder = format!("/proc/{}/fd", self.thread);
        let is_epoll = |name: &fs::DirEntry| fs::read_link(name.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[eventpoll]");
        for entry in fs::read_dir(folder).map_err(|error| to_errno(&error))?.flatten().filter(is_epoll) {
            let name = entry.file_name();
            let info = fs::read_to_string(format!("/proc/{}/fdinfo/{}", self.thread, name.to_string_lossy())).unwrap_or_default();
            let registered = |line: &str| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse::<RawFd>().ok();
            if info.lines().filter_map(registered).any(|registered| registered == number) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Interrupts the calls of a process and its descendants that wait for an answer. The kernel issues
/// them again, so the present holder of the listener receives them. The processes are stopped for a
/// moment.
pub fn reissue_calls(pid: i32) {
    const STOPS_WITHIN: Duration = Duration::from_millis(100);
    for process in with_descendants(pid).into_iter().filter(|pid| has_waiting_call(*pid)).filter_map(|pid| ProcRef::of(pid).ok()) {
        if process.signal(libc::SIGSTOP).is_err() {
            continue;
        }
        // A process that continues before all of its threads have stopped interrupts no call.
        let begin = Instant::now();
        while !is_stopped(process.pid) && begin.elapsed() < STOPS_WITHIN {
            std::thread::sleep(Duration::from_millis(1));
        }
        // It fails if the process was killed.
        let _ = process.signal(libc::SIGCONT);
    }
}

/// Returns true if a thread of the process waits for an answer.
fn has_waiting_call(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let waits = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("wchan")).is_ok_and(|place| place.contains("seccomp"));
    threads.into_iter().any(waits)
}

fn to_errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Returns true if a new IPv6 socket accepts IPv6 connections only.
fn is_v6_only_by_default() -> bool {
    fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() != "0")
}

impl CallerSocket {
    /// Returns true if the descriptor closes when the process executes a program.
    pub fn is_cloexec(&self) -> bool {
        self.flags.contains(OFlags::CLOEXEC)
    }

    /// Returns true if it is bound to a port already. Without a copy, that is unknown.
    pub fn is_bound(&self) -> bool {
        let address = self.copied().and_then(|fd| SocketAddr::try_from(getsockname(fd).ok()?).ok());
        address.is_some_and(|address| address.port() > 0)
    }

    /// Returns its inode, which identifies the socket. Without a copy, that is unknown.
    pub fn inode(&self) -> Option<u64> {
        crate::net::listening::inode(self.copied()?.as_fd())
    }

    fn copied(&self) -> Option<&OwnedFd> {
        match &self.copy {
            SocketCopy::Descriptor(fd) => Some(fd),
            SocketCopy::Protocol(_) => None,
        }
    }

    /// Returns true for a TCP socket. MPTCP is one, too: its clients fall back to TCP (Go 1.24 listens
    /// with it by default).
    pub fn is_tcp(&self) -> bool {
        let is_tcp = |protocol| protocol == Some(ipproto::TCP) || protocol == Some(ipproto::MPTCP);
        match &self.copy {
            SocketCopy::Descriptor(fd) => sockopt::socket_protocol(fd).is_ok_and(is_tcp),
            SocketCopy::Protocol(name) => matches!(&name[..], b"TCP" | b"TCPv6" | b"MPTCP" | b"MPTCPv6"),
        }
    }

    /// Returns true if it accepts IPv6 connections only. Returns `None` if that is unknown, because
    /// there is no copy and new sockets accept both.
    pub fn is_v6_only(&self) -> Option<bool> {
        match &self.copy {
            SocketCopy::Descriptor(fd) => Some(sockopt::ipv6_v6only(fd).unwrap_or(false)),
            SocketCopy::Protocol(name) if name.ends_with(b"v6") => is_v6_only_by_default().then_some(true),
            SocketCopy::Protocol(_) => Some(false),
        }
    }

    /// Returns true if it shares its port with other sockets that do (`SO_REUSEPORT`). Without a
    /// copy, it may: otherwise the kernel could add it to the sockets of the app.
    pub fn may_share_port(&self) -> bool {
        match &self.copy {
            SocketCopy::Descriptor(fd) => sockopt::socket_reuseport(fd) == Ok(true),
            SocketCopy::Protocol(_) => true,
        }
    }

    /// Copies the options that matter to a listening socket and to the connections that it accepts,
    /// as far as `to` differs. An option that cannot be set is left out.
    pub fn copy_options(&self, to: impl AsFd) {
        let to = to.as_fd();
        if let SocketCopy::Descriptor(from) = &self.copy {
            let (from_raw, to_raw) = (from.as_raw_fd(), to.as_raw_fd());
            for (level, name, kind) in OPTIONS {
                let (Some(wanted), Some(present)) = (option(from_raw, level, name), option(to_raw, level, name)) else { continue };
                if wanted.used() != present.used() {
                    set_option(to_raw, level, name, wanted, kind);
                }
            }
        }
        let flags = self.flags - OFlags::CLOEXEC;
        if rustix::fs::fcntl_getfl(to).is_ok_and(|present| present != flags) {
            // This can only fail for flags that sockets do not have.
            let _ = rustix::fs::fcntl_setfl(to, flags);
        }
    }
}

/// Way in which an option is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OptionKind {
    AsIs,
    /// The kernel doubles the value that is set.
    Doubled,
}

const OPTIONS: [(i32, i32, OptionKind); 17] = [
    (libc::SOL_SOCKET, libc::SO_RCVBUF, OptionKind::Doubled),
    (libc::SOL_SOCKET, libc::SO_SNDBUF, OptionKind::Doubled),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE, OptionKind::AsIs),
    (libc::SOL_SOCKET, libc::SO_LINGER, OptionKind::AsIs),
    (libc::SOL_SOCKET, libc::SO_PRIORITY, OptionKind::AsIs),
    (libc::SOL_SOCKET, libc::SO_BUSY_POLL, OptionKind::AsIs),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY, OptionKind::AsIs),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, OptionKind::AsIs),
    (libc::IPPROTO_TCP, libc::TCP_FASTOPEN, OptionKind::AsIs),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, OptionKind::AsIs),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, OptionKind::AsIs),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, OptionKind::AsIs),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, OptionKind::AsIs),
    (libc::IPPROTO_TCP, libc::TCP_QUICKACK, OptionKind::AsIs),
    (libc::IPPROTO_TCP, libc::TCP_CONGESTION, OptionKind::AsIs),
    (libc::IPPROTO_IP, libc::IP_TOS, OptionKind::AsIs),
    (libc::IPPROTO_IP, libc::IP_TTL, OptionKind::AsIs),
];

/// Value of an option: a number, `struct linger` or a short name.
#[derive(Clone, Copy, Debug)]
struct OptionValue {
    bytes: [u8; 16],
    length: libc::socklen_t,
}

impl OptionValue {
    fn used(&self) -> &[u8] {
        self.bytes.get(..self.length as usize).unwrap_or_default()
    }
}

fn option(socket: RawFd, level: i32, name: i32) -> Option<OptionValue> {
    let mut value = OptionValue { bytes: [0; 16], length: 16 };
    // SAFETY: the buffer has the given length.
    let got = unsafe { libc::getsockopt(socket, level, name, value.bytes.as_mut_ptr().cast(), &raw mut value.length) };
    (got == 0).then_some(value)
}

fn set_option(socket: RawFd, level: i32, name: i32, mut value: OptionValue, kind: OptionKind) {
    if kind == OptionKind::Doubled
        && let Some(number) = value.bytes.first_chunk_mut::<4>()
    {
        *number = (i32::from_ne_bytes(*number) / 2).to_ne_bytes();
    }
    // SAFETY: the buffer has the given length.
    unsafe { libc::setsockopt(socket, level, name, value.bytes.as_ptr().cast(), value.length) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

    fn me() -> Caller {
        // SAFETY: returns a number.
        Caller::of_thread(unsafe { libc::gettid() }).unwrap()
    }

    #[test]
    fn sockets_and_their_options_are_copied() {
        let socket = |kind, flags| socket_with(AddressFamily::INET, kind, flags, None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let of = |fd: &dyn AsFd| me().socket(fd.as_fd().as_raw_fd(), Some(fd.as_fd().try_clone_to_owned().unwrap())).unwrap();
        assert!(of(&listener).is_tcp() && of(&listener).is_cloexec());
        assert!(!of(&socket(SocketType::DGRAM, SocketFlags::empty())).is_tcp());
        let theirs = socket(SocketType::STREAM, SocketFlags::NONBLOCK);
        sockopt::set_socket_keepalive(&theirs, true).unwrap();
        sockopt::set_tcp_nodelay(&theirs, true).unwrap();
        sockopt::set_socket_recv_buffer_size(&theirs, 50_000).unwrap();
        let copy = of(&theirs);
        assert!(!copy.is_cloexec());
        let ours = socket(SocketType::STREAM, SocketFlags::CLOEXEC);
        copy.copy_options(&ours);
        assert_eq!(sockopt::socket_keepalive(&ours), Ok(true));
        assert_eq!(sockopt::tcp_nodelay(&ours), Ok(true));
        assert_eq!(sockopt::socket_recv_buffer_size(&ours), sockopt::socket_recv_buffer_size(&theirs));
        assert!(rustix::fs::fcntl_getfl(&ours).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    }

    #[test]
    fn sockets_without_a_copy_have_their_protocol_and_flags() {
        let of = |fd: &dyn AsFd| me().socket(fd.as_fd().as_raw_fd(), None);
        let socket = |family, kind, flags| socket_with(family, kind, flags, None).unwrap();
        let theirs = socket(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK);
        let facts = of(&theirs).unwrap();
        assert!(facts.is_tcp() && facts.is_v6_only() == Some(false) && facts.may_share_port() && !facts.is_cloexec());
        let ours = socket(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC);
        facts.copy_options(&ours);
        assert_eq!(rustix::fs::fcntl_getfl(&ours), rustix::fs::fcntl_getfl(&theirs));
        let v6 = socket(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC);
        let facts = of(&v6).unwrap();
        assert!(facts.is_tcp() && facts.is_cloexec());
        assert_eq!(facts.is_v6_only(), Some(true).filter(|_| sockopt::ipv6_v6only(&v6).unwrap()));
        assert!(!of(&socket(AddressFamily::INET, SocketType::DGRAM, SocketFlags::empty())).unwrap().is_tcp());
        assert!(!of(&socket(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty())).unwrap().is_tcp());
        assert!(of(&fs::File::open("/dev/null").unwrap()).is_err());
        assert_eq!(me().socket(-1, None).err(), Some(Errno::NOENT));
    }

    #[test]
    fn registration_in_epoll_is_found() {
        use rustix::event::epoll;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let (registered, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        epoll::add(&epoll, &registered, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
        assert_eq!(me().has_registered(registered.as_raw_fd()), Ok(true));
        assert_eq!(me().has_registered(other.as_raw_fd()), Ok(false));
        assert_eq!(me().is_in_our_network(), Ok(true));
    }
}
