//! The server: accepts connections, answers requests, shuts down.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use crate::encryption::Encryption;
use crate::guests::{Guest, Guests};
use crate::sockets::{Address, Listener, Stream, listeners};
use crate::stall_timeout::StallTimeout;

/// Maximum size of a request head in bytes.
const MAX_HEAD: usize = 16 << 10;
/// Maximum number of headers.
const MAX_HEADERS: usize = 64;
/// Time that an idle connection is kept open after the stop request, because its next request may
/// already be on its way.
const LINGER: Duration = Duration::from_millis(500);
/// Time that a connected client without a request is kept while there is no room.
const FRESH: Duration = Duration::from_secs(1);
/// Maximum duration of the encryption handshake.
const AGREED: Duration = Duration::from_secs(5);
/// Pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(50);

/// Failure to start the server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is not available, or an inherited descriptor is not a socket.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// A thread, a descriptor or a signal handler could not be created.
    #[error("cannot set up the server")]
    SetUp(#[source] io::Error),
}

/// Limits on the resources that clients use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum time for a client to send a head, or to read any part of a response.
    pub patience: Duration,
    /// Maximum number of simultaneous connections; less if there are not enough descriptors.
    pub connections: usize,
    /// Maximum number of connections per address without a login ([`crate::GuestStatus::admit`]);
    /// none = clients need no login.
    pub guests: Option<usize>,
}

/// Remote end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; none = it connected by a unix socket.
    pub address: Option<SocketAddr>,
    /// Index of the listening socket at which it arrived, in the order of inheritance.
    pub socket: usize,
}

/// Phase of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerPhase {
    Serves,
    /// Accepts no new connections; every response is the last of its connection.
    Leaves,
    /// Closes idle connections.
    Closes,
}

/// State that all connections share.
struct Shared<S> {
    answer: S,
    encryption: Option<Encryption>,
    patience: Duration,
    most: usize,
    guests: Rc<Guests>,
    connections: Cell<usize>,
    /// Signals that a connection ended.
    ended: Notify,
    /// Signals that there is no room, so idle connections close.
    crowded: Notify,
    phase: watch::Receiver<ServerPhase>,
}

/// Serves until the process is asked to stop and all running requests are finished.
///
/// `begin` is called once, on the server's only thread. Its argument signals the shutdown: a
/// response without an end must finish when it is signalled. `begin` returns the function that
/// answers each request.
///
/// # Errors
/// Returns a [`ServerError`] if the server cannot start, or the error of `begin`.
pub fn run<S, A, B, E>(
    own: &Address,
    limits: Limits,
    encryption: Option<Encryption>,
    begin: impl FnOnce(Ending) -> Result<S, E>,
) -> Result<(), E>
where
    S: Fn(Peer, Request<Incoming>) -> A + 'static,
    A: Future<Output = Response<B>> + 'static,
    B: Body + 'static,
    B::Error: std::error::Error + Send + Sync,
    E: From<ServerError>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServerError::SetUp)?;
    LocalSet::new().block_on(&runtime, async {
        let mut ends = signal(SignalKind::terminate()).map_err(ServerError::SetUp)?;
        let mut interrupts = signal(SignalKind::interrupt()).map_err(ServerError::SetUp)?;
        let listeners = listeners(own).map_err(|source| ServerError::Listen { address: own.to_string(), source })?;
        let (say, phase) = watch::channel(ServerPhase::Serves);
        let shared = Rc::new(Shared {
            answer: begin(Ending(phase.clone()))?,
            encryption,
            patience: limits.patience,
            most: within_limit(limits.connections),
            guests: Guests::new(limits.guests),
            connections: Cell::new(0),
            ended: Notify::new(),
            crowded: Notify::new(),
            phase,
        });
        let accepting: Vec<_> =
            listeners.into_iter().enumerate().map(|(at, listener)| spawn_local(accept(listener, at, Rc::clone(&shared)))).collect();
        crate::notify::ready();
        tokio::select! {
            _ = ends.recv() => {}
            _ = interrupts.recv() => {}
        }
        let _ = say.send(ServerPhase::Leaves);
        for task in accepting {
            let _ = task.await;
        }
        let _ = tokio::time::timeout(LINGER, shared.all_ended()).await;
        let _ = say.send(ServerPhase::Closes);
        shared.all_ended().await;
        Ok::<(), E>(())
    })
}

/// Handle that signals the shutdown.
#[derive(Clone, Debug)]
pub struct Ending(watch::Receiver<ServerPhase>);

impl Ending {
    /// Waits until the server is asked to stop.
    pub async fn stop_requested(&mut self) {
        let _ = self.0.wait_for(|phase| *phase != ServerPhase::Serves).await;
    }
}

/// Serves one more socket, with its own limits and without encryption, until the server stops. Must
/// run as a task within the `begin` of [`run`]. Requests that still run at the end are aborted.
///
/// # Errors
/// Returns an error if the runtime rejects the socket.
pub async fn serve_additional<S, A, B>(listener: std::net::TcpListener, limits: Limits, ending: Ending, answer: S) -> io::Result<()>
where
    S: Fn(Peer, Request<Incoming>) -> A + 'static,
    A: Future<Output = Response<B>> + 'static,
    B: Body + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let shared = Rc::new(Shared {
        answer,
        encryption: None,
        patience: limits.patience,
        most: limits.connections,
        guests: Guests::new(limits.guests),
        connections: Cell::new(0),
        ended: Notify::new(),
        crowded: Notify::new(),
        phase: ending.0,
    });
    accept(Listener::of(listener.into())?, 0, shared).await;
    Ok(())
}

/// Limits the number of connections to the available descriptors: each connection needs one, and
/// one for a file.
fn within_limit(wanted: usize) -> usize {
    ostler_sys::process::rlimit::raise_nofile();
    let limit = ostler_sys::process::rlimit::nofile().soft;
    let room = usize::try_from(limit.saturating_sub(32) / 2).unwrap_or(usize::MAX);
    wanted.min(room).max(1)
}

impl<S> Shared<S> {
    async fn all_ended(&self) {
        while self.connections.get() > 0 {
            self.ended.notified().await;
        }
    }

    /// Waits until there is room for one more connection; idle ones are closed for it.
    async fn room(&self) {
        while self.connections.get() >= self.most {
            self.crowded.notify_waiters();
            let _ = tokio::time::timeout(FRESH, self.ended.notified()).await;
        }
    }
}

async fn accept<S, A, B>(listener: Listener, socket: usize, shared: Rc<Shared<S>>)
where
    S: Fn(Peer, Request<Incoming>) -> A + 'static,
    A: Future<Output = Response<B>> + 'static,
    B: Body + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let mut phase = shared.phase.clone();
    loop {
        let stream = tokio::select! {
            // Connections in the accept queue come first: the kernel has already accepted them.
            biased;
            stream = async { shared.room().await; listener.accept().await } => stream,
            _ = phase.wait_for(|phase| *phase != ServerPhase::Serves) => return,
        };
        match stream {
            Ok(Stream::Tcp(stream, address)) => {
                let peer = Peer { address: Some(address), socket };
                let encryption = shared.encryption.clone().filter(|_| socket == 0);
                let guest = shared.guests.enter(Some(address.ip()));
                drop(spawn_local(agree(stream, peer, guest, encryption, Rc::clone(&shared)).counted(&shared)));
            }
            Ok(Stream::Unix(stream)) => {
                let peer = Peer { address: None, socket };
                let guest = shared.guests.enter(None);
                drop(spawn_local(converse(stream, peer, guest, Rc::clone(&shared)).counted(&shared)));
            }
            // No descriptor is free, or the client disconnected at once.
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Future that counts as a connection until it is dropped.
trait Counted: Future + Sized {
    fn counted<S: 'static>(self, shared: &Rc<Shared<S>>) -> impl Future<Output = Self::Output> + use<Self, S> {
        let place = ConnectionPermit::new(shared);
        async move {
            let _place = place;
            self.await
        }
    }
}

impl<F: Future> Counted for F {}

/// Place of a connection in the number of connections.
struct ConnectionPermit<S>(Rc<Shared<S>>);

impl<S> ConnectionPermit<S> {
    fn new(shared: &Rc<Shared<S>>) -> Self {
        shared.connections.set(shared.connections.get() + 1);
        Self(Rc::clone(shared))
    }
}

impl<S> Drop for ConnectionPermit<S> {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.ended.notify_one();
    }
}

/// Performs the encryption handshake, if any, and then serves the connection.
async fn agree<S, A, B>(stream: TcpStream, peer: Peer, guest: Guest, encryption: Option<Encryption>, shared: Rc<Shared<S>>)
where
    S: Fn(Peer, Request<Incoming>) -> A + 'static,
    A: Future<Output = Response<B>> + 'static,
    B: Body + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let Some(encryption) = encryption else { return converse(stream, peer, guest, shared).await };
    let mut phase = shared.phase.clone();
    let agreed = tokio::select! {
        agreed = timeout(AGREED, encryption(stream)) => agreed,
        () = guest.standing.closed() => return,
        _ = phase.wait_for(|phase| *phase == ServerPhase::Closes) => return,
    };
    // If the handshake fails or times out, the connection is dropped.
    if let Ok(Ok(stream)) = agreed {
        converse(stream, peer, guest, shared).await;
    }
}

/// Serves one connection until the client or the server closes it.
async fn converse<S, A, B>(stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer, guest: Guest, shared: Rc<Shared<S>>)
where
    S: Fn(Peer, Request<Incoming>) -> A + 'static,
    A: Future<Output = Response<B>> + 'static,
    B: Body + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let (began, has_asked) = (Instant::now(), Cell::new(false));
    let service = service_fn(|mut request: Request<Incoming>| {
        has_asked.set(true);
        request.extensions_mut().insert(guest.standing.clone());
        let answer = (shared.answer)(peer, request);
        async {
            let mut answer = answer.await;
            if *shared.phase.borrow() != ServerPhase::Serves {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let stream = TokioIo::new(StallTimeout::new(stream, shared.patience));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.patience)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    let mut phase = shared.phase.clone();
    let mut is_last = false;
    loop {
        tokio::select! {
            // A client that disconnects or is too slow is not an error of the server.
            _ = &mut connection => return,
            _ = phase.wait_for(|phase| *phase == ServerPhase::Closes), if !is_last => {
                if !has_asked.get() {
                    return;
                }
                is_last = true;
                connection.as_mut().graceful_shutdown();
            }
            () = guest.standing.closed(), if !guest.standing.is_known() => return,
            () = shared.crowded.notified() => {
                let is_stranger = !has_asked.get() || !guest.standing.is_known();
                if is_stranger && began.elapsed() >= FRESH {
                    return;
                }
                if has_asked.get() && !is_last {
                    is_last = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
