//! Unix sockets.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use crate::process::is_refusal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with, socketpair,
};

/// Peer of a connection, as the kernel recorded it at connect time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id; 0 if its pid namespace is hidden from us.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

const CLOEXEC_NONBLOCK: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Creates a connected pair that keeps message boundaries (`SOCK_SEQPACKET`), both CLOEXEC and
/// nonblocking.
///
/// # Errors
/// Returns `EMFILE` or `ENFILE`.
pub fn packet_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, CLOEXEC_NONBLOCK, None)
}

/// Creates a connected pair of streams, both CLOEXEC and nonblocking (the IPC channel of Node
/// children).
///
/// # Errors
/// Returns `EMFILE` or `ENFILE`.
pub fn stream_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, CLOEXEC_NONBLOCK, None)
}

/// Listens at a path (stream, 0600, CLOEXEC, nonblocking). A stale socket file without a listener
/// is replaced; any other file stays untouched.
///
/// # Errors
/// Returns `EADDRINUSE` if a process listens there or the file is not a socket, `ENAMETOOLONG`
/// beyond 107 bytes, and the errors of `bind`.
pub fn listen_at(path: &Path) -> Result<OwnedFd, Errno> {
    listen_with(path, BACKLOG)
}

/// Works like [`listen_at`] with a queue of this length.
///
/// # Errors
/// Returns the errors of [`listen_at`].
pub fn listen_with(path: &Path, backlog: i32) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, CLOEXEC_NONBLOCK, None)?;
    // The mode is set on the unbound socket and becomes that of the file, so the file never has a
    // wider mode.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    match bind(&socket, &address) {
        Err(Errno::ADDRINUSE) if is_stale(path, &address) => {
            rustix::fs::unlink(path)?;
            bind(&socket, &address)?;
        }
        bound => bound?,
    }
    listen(&socket, backlog)?;
    Ok(socket)
}

/// The file of a socket, pinned: it stays the same file whatever happens to its path.
#[derive(Debug)]
pub struct SocketFile {
    pin: OwnedFd,
    /// Device and inode.
    pub identity: (u64, u64),
    /// User that owns it.
    pub uid: u32,
}

impl SocketFile {
    /// Opens the socket file at this path without following a link.
    ///
    /// # Errors
    /// Returns `ENOTSOCK` if the file is not a socket, and the errors of `open`.
    pub fn at(path: &Path) -> Result<Self, Errno> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
        let pin = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&pin)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket() {
            return Err(Errno::NOTSOCK);
        }
        Ok(Self { pin, identity: (stat.st_dev, stat.st_ino), uid: stat.st_uid })
    }

    /// Changes its owner to this user and group.
    ///
    /// # Errors
    /// Returns `EPERM`.
    pub fn give_to(&self, uid: u32, gid: u32) -> Result<(), Errno> {
        use rustix::fs::{AtFlags, Gid, Uid};
        rustix::fs::chownat(&self.pin, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
    }

    /// Sets its mode, which determines the users that may connect.
    ///
    /// # Errors
    /// Returns `EPERM`.
    pub fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        // A descriptor of this kind does not support `fchmod`.
        let path = format!("/proc/self/fd/{}", self.pin.as_raw_fd());
        rustix::fs::chmod(path, Mode::from_raw_mode(mode))
    }
}

/// Length of the queue for clients that wait while the daemon is being replaced. The kernel limits
/// it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Returns true if this path, through this address, is a socket without a listener.
pub fn is_stale(path: &Path, address: &SocketAddrUnix) -> bool {
    let is_socket = rustix::fs::lstat(path).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket());
    is_socket && matches!(connect_to(address), Err(Errno::CONNREFUSED))
}

/// Connects to a stream socket (CLOEXEC, nonblocking afterwards).
///
/// # Errors
/// Returns `ENOENT` if the file does not exist, `ECONNREFUSED` if no process listens, `EAGAIN` if
/// the queue is full, and `EACCES`.
pub fn connect_at(path: &Path) -> Result<OwnedFd, Errno> {
    connect_to(&SocketAddrUnix::new(path)?)
}

fn connect_to(address: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, CLOEXEC_NONBLOCK, None)?;
    connect(&socket, address)?;
    Ok(socket)
}

/// Stops listening: from now on no client can connect here, even if other processes hold copies of
/// the descriptor. Closing our copy alone would take effect only when the last copy is closed. A
/// socket that does not listen stays unchanged.
pub fn stop_listening(socket: impl AsFd) {
    // This fails for datagram sockets, which are not connected.
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}

/// Returns true after [`stop_listening`] by any process.
pub fn has_stopped(socket: impl AsFd) -> bool {
    let mut looked_at = [PollFd::new(&socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut looked_at, Some(&now)).is_ok() && looked_at[0].revents().contains(PollFlags::HUP)
}

/// Returns the next waiting connection (CLOEXEC, nonblocking), or `None` if no client waits. If a
/// sandbox refuses `accept4`, the older call is used.
///
/// # Errors
/// Returns `EMFILE` or `ENFILE`. The connection stays in the queue then, so a level-triggered loop
/// must pause.
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>, Errno> {
    loop {
        match accept_with(&listener, CLOEXEC_NONBLOCK) {
            Ok(connection) => return Ok(Some(connection)),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            // The client gave up while it waited: take the next connection.
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(errno) if is_refusal(errno) => match accept_in_steps(&listener) {
                Ok(connection) => return Ok(Some(connection)),
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => return Err(errno),
            },
            Err(errno) => return Err(errno),
        }
    }
}

/// Accepts by the older call. A program that another thread starts between the calls inherits the
/// connection; ostler starts programs with a list of their descriptors.
fn accept_in_steps(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    let connection = rustix::net::accept(listener)?;
    rustix::io::fcntl_setfd(&connection, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&connection, true)?;
    Ok(connection)
}

/// Returns the peer of a connection.
///
/// # Errors
/// Returns an error if the descriptor is not a connected unix socket.
pub fn peer(connection: impl AsFd) -> Result<Peer, Errno> {
    // Rustix's function does not work here: it treats pid 0 of another namespace as a failure.
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let fd = connection.as_fd().as_raw_fd();
    // SAFETY: the pointers are to a record of that length.
    let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut cred).cast(), &raw mut length) };
    if got < 0 {
        return Err(crate::process::last_errno());
    }
    Ok(Peer { pid: cred.pid, uid: cred.uid, gid: cred.gid })
}

/// Returns the number of bytes that the other end of a connected unix socket has not read yet,
/// including the kernel's own overhead. The result is never too small.
///
/// # Errors
/// Returns an error if the descriptor is not a socket.
pub fn unread(socket: impl AsFd) -> Result<usize, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the pointer is to the one int that this request writes.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        return Err(crate::process::last_errno());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn duplicate_reports_that_listening_has_stopped() {
        let path = std::env::temp_dir().join(format!("ostler-stopped-{}", std::process::id()));
        let unix = listen_at(&path).unwrap();
        let tcp = OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        for listener in [unix, tcp] {
            let copy = listener.try_clone().unwrap();
            assert!(!has_stopped(&copy));
            stop_listening(&listener);
            assert!(has_stopped(&copy));
        }
        std::fs::remove_file(path).unwrap();
        let datagram = OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        assert!(!has_stopped(&datagram));
    }

    #[test]
    fn stale_socket_is_replaced_and_a_live_one_is_kept() {
        let path = std::env::temp_dir().join(format!("ostler-sock-{}", std::process::id()));
        let first = listen_at(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listen_at(&path).unwrap_err(), Errno::ADDRINUSE);
        drop(first);
        let second = listen_at(&path).unwrap();
        assert!(accept(&second).unwrap().is_none());
        let client = connect_at(&path).unwrap();
        let server = accept(&second).unwrap().unwrap();
        let me = Peer { pid: std::process::id() as i32, uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };
        assert_eq!((peer(&client).unwrap(), peer(&server).unwrap()), (me, me));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(listen_at(&path).unwrap_err(), Errno::ADDRINUSE);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn unread_counts_only_unread_bytes() {
        let (a, b) = stream_pair().unwrap();
        assert_eq!(unread(&a), Ok(0));
        rustix::io::write(&a, &[7; 3000]).unwrap();
        assert!(unread(&a).unwrap() >= 3000);
        rustix::io::read(&b, &mut [0; 4096]).unwrap();
        assert_eq!(unread(&a), Ok(0));
    }

    #[test]
    fn long_socket_path_is_an_error() {
        assert_eq!(listen_at(Path::new(&format!("/tmp/{}", "x".repeat(110)))).unwrap_err(), Errno::NAMETOOLONG);
    }
}
