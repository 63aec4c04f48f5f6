//! One client and its connection.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::answer::HttpAnswer;
use super::{Address, LoadSpec};

/// Event that a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientState {
    /// Its next request.
    Idle,
    /// The connection.
    Connecting,
    /// The answer; this many bytes of the request are written.
    Asking(usize),
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) state: ClientState,
    pub(super) stream: Option<OwnedFd>,
    pub(super) answer: HttpAnswer,
    pub(super) begun: Instant,
    /// Increases with each connection, so that an event of the previous connection is not mistaken
    /// for a new one.
    pub(super) connection: u32,
    /// Increases with each request, so that a deadline of the previous request does not end the
    /// next.
    pub(super) request: u32,
    /// Whether the connection has already served a request.
    pub(super) kept: bool,
}

/// State of a keep-alive connection before the next request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum IdleConnection {
    Open,
    Closed,
    /// The server sent unrequested bytes.
    Talks,
}

impl Client {
    pub(super) fn new(now: Instant) -> Self {
        Self { state: ClientState::Idle, stream: None, answer: HttpAnswer::new(), begun: now, connection: 0, request: 0, kept: false }
    }

    /// Returns the state of the keep-alive connection. If the server closed it before the request
    /// is written, this is not a failure.
    pub(super) fn idle_state(&self) -> IdleConnection {
        let Some(stream) = &self.stream else { return IdleConnection::Closed };
        match net::recv(stream, &mut [0_u8; 1], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => IdleConnection::Open,
            Ok((n, _)) if n > 0 => IdleConnection::Talks,
            Ok(_) | Err(_) => IdleConnection::Closed,
        }
    }

    /// Writes the rest of the request. Returns true if it is complete.
    ///
    /// # Errors
    /// Returns an error if the connection is broken.
    pub(super) fn write(&mut self, request: &[u8]) -> Result<bool, Errno> {
        let ClientState::Asking(mut written) = self.state else { return Ok(true) };
        let stream = self.stream.as_ref().ok_or(Errno::NOTCONN)?;
        while let Some(rest) = request.get(written..).filter(|rest| !rest.is_empty()) {
            match net::send(stream, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(n) => written += n,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            self.state = ClientState::Asking(written);
        }
        Ok(written == request.len())
    }

    /// Returns the situation, for failure messages.
    pub(super) fn describe_state(&self) -> String {
        let connection = if self.kept { "on a kept connection" } else { "on a new connection" };
        match self.state {
            ClientState::Connecting => "while connecting".to_owned(),
            ClientState::Asking(0) => format!("{connection}, before the request was written"),
            ClientState::Idle | ClientState::Asking(_) => format!("{connection}, {}", self.answer.progress()),
        }
    }
}

/// Opens a connection, which may still be in progress.
///
/// # Errors
/// Returns an error if the connection is refused, or if no socket is available.
pub(super) fn connect(spec: &LoadSpec) -> Result<OwnedFd, Errno> {
    let family = match &spec.addr {
        Address::Tcp(address) if address.is_ipv4() => AddressFamily::INET,
        Address::Tcp(_) => AddressFamily::INET6,
        Address::Unix(_) => AddressFamily::UNIX,
    };
    let stream = net::socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    if let (Some(from), Address::Tcp(_)) = (spec.from, &spec.addr) {
        net::bind(&stream, &std::net::SocketAddr::from((from, 0)))?;
    }
    let made = match &spec.addr {
        Address::Tcp(address) => net::connect(&stream, address),
        Address::Unix(path) => net::connect(&stream, &SocketAddrUnix::new(path.as_path())?),
    };
    match made {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(stream),
        Err(error) => Err(error),
    }
}
