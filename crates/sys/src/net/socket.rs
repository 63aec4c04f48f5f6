//! Unix sockets.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with, socketpair,
};

/// Peer of a connection, as the kernel knows it from the time of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id; 0 for one in a pid namespace that is hidden from us.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

const CLOEXEC_NONBLOCK: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// A connected pair that keeps message boundaries (`SOCK_SEQPACKET`), both CLOEXEC and nonblocking.
///
/// # Errors
/// `EMFILE`/`ENFILE`.
pub fn packet_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, CLOEXEC_NONBLOCK, None)
}

/// A connected pair of streams, both CLOEXEC and nonblocking (the IPC channel of Node children).
///
/// # Errors
/// `EMFILE`/`ENFILE`.
pub fn stream_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, CLOEXEC_NONBLOCK, None)
}

/// Listens at a path (stream, 0600, CLOEXEC, nonblocking). A socket file that nobody listens at is replaced; anything else that is in
/// the way is left alone.
///
/// # Errors
/// `EADDRINUSE` when somebody listens there or the file is no socket, `ENAMETOOLONG` beyond 107 bytes, and what `bind` says.
pub fn listen_at(path: &Path) -> Result<OwnedFd, Errno> {
    listen_with(path, BACKLOG)
}

/// [`listen_at`] with a queue of this length.
///
/// # Errors
/// As [`listen_at`].
pub fn listen_with(path: &Path, backlog: i32) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, CLOEXEC_NONBLOCK, None)?;
    // The mode is set on the unbound socket and becomes that of the file: there is no moment with a wider one.
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

/// The file of a socket, pinned: it is the same file whatever happens to its path.
#[derive(Debug)]
pub struct SocketFile {
    pin: OwnedFd,
    /// Device and inode.
    pub identity: (u64, u64),
    /// Its user.
    pub uid: u32,
}

impl SocketFile {
    /// The socket at this path, which is not followed if it is a link.
    ///
    /// # Errors
    /// `ENOTSOCK`: something else is there; and what `open` says.
    pub fn at(path: &Path) -> Result<Self, Errno> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
        let pin = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&pin)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket() {
            return Err(Errno::NOTSOCK);
        }
        Ok(Self { pin, identity: (stat.st_dev, stat.st_ino), uid: stat.st_uid })
    }

    /// Gives it to this user and group.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn give_to(&self, uid: u32, gid: u32) -> Result<(), Errno> {
        use rustix::fs::{AtFlags, Gid, Uid};
        rustix::fs::chownat(&self.pin, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
    }

    /// Sets who may connect.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        // A descriptor of this kind takes no `fchmod`.
        let path = format!("/proc/self/fd/{}", self.pin.as_raw_fd());
        rustix::fs::chmod(path, Mode::from_raw_mode(mode))
    }
}

/// Queue of clients while a daemon is being replaced; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// True if this path, by this address, is a socket that nobody listens at.
pub fn is_stale(path: &Path, address: &SocketAddrUnix) -> bool {
    let is_socket = rustix::fs::lstat(path).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket());
    is_socket && matches!(connect_to(address), Err(Errno::CONNREFUSED))
}

/// Connects to a stream socket (CLOEXEC, nonblocking from then on).
///
/// # Errors
/// `ENOENT` no such file, `ECONNREFUSED` nobody listens, `EAGAIN` its queue is full, `EACCES`.
pub fn connect_at(path: &Path) -> Result<OwnedFd, Errno> {
    connect_to(&SocketAddrUnix::new(path)?)
}

fn connect_to(address: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, CLOEXEC_NONBLOCK, None)?;
    connect(&socket, address)?;
    Ok(socket)
}

/// Ends listening: from now on nobody can connect here, however many copies of the descriptor others hold. Closing ours alone would take effect when the last
/// one is closed, a moment later. Does nothing to what is no listening socket.
pub fn stop_listening(socket: impl AsFd) {
    // Not connected is what sockets for datagrams are.
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}

/// True after [`stop_listening`], whoever called it.
pub fn has_stopped(socket: impl AsFd) -> bool {
    let mut looked_at = [PollFd::new(&socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut looked_at, Some(&now)).is_ok() && looked_at[0].revents().contains(PollFlags::HUP)
}

/// The next waiting connection (CLOEXEC, nonblocking), `None` when there is none.
///
/// # Errors
/// `EMFILE`/`ENFILE`: the connection stays in the queue, so a level-triggered loop must pause.
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>, Errno> {
    loop {
        match accept_with(&listener, CLOEXEC_NONBLOCK) {
            Ok(connection) => return Ok(Some(connection)),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            // The client gave up while it waited: the next one.
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The peer of a connection.
///
/// # Errors
/// Not a connected unix socket.
pub fn peer(connection: impl AsFd) -> Result<Peer, Errno> {
    // Not rustix's: it takes the pid 0 of another namespace for a failure.
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

/// Bytes that the other end of a connected unix socket has not read yet, with what the kernel itself needs for them: never too few.
///
/// # Errors
/// Not a socket.
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
    fn a_copy_tells_that_it_listens_no_more() {
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
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
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
    fn what_is_read_does_not_count() {
        let (a, b) = stream_pair().unwrap();
        assert_eq!(unread(&a), Ok(0));
        rustix::io::write(&a, &[7; 3000]).unwrap();
        assert!(unread(&a).unwrap() >= 3000);
        rustix::io::read(&b, &mut [0; 4096]).unwrap();
        assert_eq!(unread(&a), Ok(0));
    }

    #[test]
    fn a_long_path_is_an_error() {
        assert_eq!(listen_at(Path::new(&format!("/tmp/{}", "x".repeat(110)))).unwrap_err(), Errno::NAMETOOLONG);
    }
}
