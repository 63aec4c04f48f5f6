//! The server: accepts, answers, ends.

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
use crate::patient::Patient;
use crate::sockets::{Address, Listener, Stream, listeners};

/// Most bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// Most headers.
const MAX_HEADERS: usize = 64;
/// How long a connection that rests is kept after the word to end: its next request may be on its way.
const LINGER: Duration = Duration::from_millis(500);
/// How long a client that is connected and has asked nothing is kept while there is no room.
const FRESH: Duration = Duration::from_secs(1);
/// Longest time in which a client has agreed on encryption.
const AGREED: Duration = Duration::from_secs(5);
/// Pause after a failure to accept.
const PAUSE: Duration = Duration::from_millis(50);

/// A failure to begin.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be had, or what was handed over is no socket.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// No thread, descriptor or signal.
    #[error("cannot set up the server")]
    SetUp(#[source] io::Error),
}

/// Bounds on what clients may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a client may take for a head, or to read anything of an answer.
    pub patience: Duration,
    /// Most connections at a time; fewer where there are not enough descriptors.
    pub connections: usize,
    /// Most connections of an address whose client is not known ([`crate::Standing::admit`]); none = clients need not be known.
    pub guests: Option<usize>,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; none = it came by a unix socket.
    pub address: Option<SocketAddr>,
    /// The listening socket at which it arrived, in the order in which they were handed over.
    pub socket: usize,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serves,
    /// Nothing new is accepted, every answer is the last of its connection.
    Leaves,
    /// What rests is closed.
    Closes,
}

/// What all connections share.
struct Shared<S> {
    answer: S,
    encryption: Option<Encryption>,
    patience: Duration,
    most: usize,
    guests: Rc<Guests>,
    connections: Cell<usize>,
    /// A connection ended.
    ended: Notify,
    /// There is no room: connections that rest make some.
    crowded: Notify,
    phase: watch::Receiver<Phase>,
}

/// Serves until it is asked to end and everything that ran is finished. `begin` is called once, on the one thread that all of it runs on, with what tells of
/// the end: an answer that would go on for ever has to end with it. It returns what answers each request.
///
/// # Errors
/// [`ServerError`]; what `begin` says is passed on.
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
    LocalSet::new().block_on(&runtime, serve(own, limits, encryption, begin))
}

/// Knowledge of the end.
#[derive(Clone, Debug)]
pub struct Ending(watch::Receiver<Phase>);

impl Ending {
    /// Waits until the server is asked to end.
    pub async fn begun(&mut self) {
        let _ = self.0.wait_for(|phase| *phase != Phase::Serves).await;
    }
}

async fn serve<S, A, B, E>(
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
    let mut ends = signal(SignalKind::terminate()).map_err(ServerError::SetUp)?;
    let mut interrupts = signal(SignalKind::interrupt()).map_err(ServerError::SetUp)?;
    let listeners = listeners(own).map_err(|source| ServerError::Listen { address: own.to_string(), source })?;
    let (say, phase) = watch::channel(Phase::Serves);
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
    let _ = say.send(Phase::Leaves);
    for task in accepting {
        let _ = task.await;
    }
    let _ = tokio::time::timeout(LINGER, shared.all_ended()).await;
    let _ = say.send(Phase::Closes);
    shared.all_ended().await;
    Ok(())
}

/// Serves one more socket, with bounds of its own and in clear text, until the server ends; within [`run`]'s `begin`, as a task. What runs then is broken off.
///
/// # Errors
/// The runtime does not take the socket.
pub async fn beside<S, A, B>(listener: std::net::TcpListener, limits: Limits, ending: Ending, answer: S) -> io::Result<()>
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

/// As many connections as there are descriptors for: each has one, and a file.
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

    /// Waits until there is room for one more; those that rest make it.
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
            // What waits in the queue was promised: it is taken before the end is looked at.
            biased;
            stream = async { shared.room().await; listener.accept().await } => stream,
            _ = phase.wait_for(|phase| *phase != Phase::Serves) => return,
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
            // Out of descriptors, or a client that was gone at once.
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// A future that is counted as a connection until it is dropped.
trait Counted: Future + Sized {
    fn counted<S: 'static>(self, shared: &Rc<Shared<S>>) -> impl Future<Output = Self::Output> + use<Self, S> {
        let place = Place::new(shared);
        async move {
            let _place = place;
            self.await
        }
    }
}

impl<F: Future> Counted for F {}

/// A connection's place among those that there may be.
struct Place<S>(Rc<Shared<S>>);

impl<S> Place<S> {
    fn new(shared: &Rc<Shared<S>>) -> Self {
        shared.connections.set(shared.connections.get() + 1);
        Self(Rc::clone(shared))
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.ended.notify_one();
    }
}

/// Agrees with a client on encryption, where there is any, and answers it.
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
        _ = phase.wait_for(|phase| *phase == Phase::Closes) => return,
    };
    // Who does not agree, or takes too long, is no client.
    if let Ok(Ok(stream)) = agreed {
        converse(stream, peer, guest, shared).await;
    }
}

/// Answers one client until it, or we, have enough.
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
            if *shared.phase.borrow() != Phase::Serves {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let stream = TokioIo::new(Patient::new(stream, shared.patience));
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
            // A client that breaks off, and one that was too slow, are no fault of ours.
            _ = &mut connection => return,
            _ = phase.wait_for(|phase| *phase == Phase::Closes), if !is_last => {
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
