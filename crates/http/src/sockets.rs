//! Listening sockets: inherited from the supervisor, else opened by the server.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcp};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnix;

use rustix::net::{AddressFamily, sockopt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// First inherited descriptor, see `sd_listen_fds(3)`.
const FIRST: i32 = 3;
/// Maximum number of sockets; `listen` accepts no more.
const MAX_SOCKETS: i32 = 64;

/// Address to listen on if no socket was inherited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // An IPv6 address contains colons and needs brackets.
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, address)| Stream::Tcp(stream, address)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    pub(crate) fn of(fd: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_domain(&fd)? == AddressFamily::UNIX {
            let listener = StdUnix::from(fd);
            listener.set_nonblocking(true)?;
            return UnixListener::from_std(listener).map(Self::Unix);
        }
        // Accepted connections inherit this option from their listener.
        sockopt::set_tcp_nodelay(&fd, true)?;
        let listener = StdTcp::from(fd);
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }
}

/// Returns the listening sockets. Must be called within the runtime.
///
/// # Errors
/// Returns an error if the address is not available, or if an inherited descriptor is not a socket.
pub(crate) fn listeners(own: &Address) -> io::Result<Vec<Listener>> {
    let count = handed_over();
    if count == 0 {
        let listener = StdTcp::bind((own.host.as_str(), own.port))?;
        return Ok(vec![Listener::of(listener.into())?]);
    }
    (FIRST..FIRST + count).map(|number| Listener::of(ostler_sys::fd::fdpass::inherited(number)?)).collect()
}

/// Returns the number of sockets that were passed to this process.
fn handed_over() -> i32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let is_ours = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
    let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
    i32::try_from(count).unwrap_or(0).min(MAX_SOCKETS)
}
