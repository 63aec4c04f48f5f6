//! The server: accepts, answers, ends.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use crate::answer::Site;
use crate::files::Root;
use crate::patient::Patient;
use crate::settings::Settings;
use crate::sockets::{Listener, Stream, listeners};

/// Most bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// Most headers.
const MAX_HEADERS: usize = 64;
/// How long a connection that rests is kept after the word to end: its next request may be on its way.
const LINGER: Duration = Duration::from_millis(500);
/// How long a client that is connected and has asked nothing is kept while there is no room.
const FRESH: Duration = Duration::from_secs(1);
/// Pause after a failure to accept.
const PAUSE: Duration = Duration::from_millis(50);

/// A failure to begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("cannot serve the folder \"{path}\"")]
    Folder { path: String, source: io::Error },
    #[error("cannot listen on {address}")]
    Listen { address: String, source: io::Error },
    #[error("cannot set up the server")]
    SetUp(#[source] io::Error),
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
#[derive(Debug)]
struct Shared {
    site: Site,
    patience: Duration,
    most: usize,
    connections: Cell<usize>,
    /// A connection ended.
    ended: Notify,
    /// There is no room: connections that rest make some.
    crowded: Notify,
    phase: watch::Receiver<Phase>,
}

/// Serves until it is asked to end and everything that ran is finished.
pub(crate) fn run(settings: Settings) -> Result<(), ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServerError::SetUp)?;
    LocalSet::new().block_on(&runtime, serve(settings))
}

async fn serve(settings: Settings) -> Result<(), ServerError> {
    // By its path from the top: our own directory stays the old one when a build makes it anew.
    let path = std::path::absolute(&settings.path).unwrap_or_else(|_| settings.path.clone());
    let shown = path.display().to_string();
    let root = Root::new(path, settings.follow_out).map_err(|source| ServerError::Folder { path: shown.clone(), source })?;
    let address = format!("{}:{}", settings.host, settings.port);
    let mut ends = signal(SignalKind::terminate()).map_err(ServerError::SetUp)?;
    let mut interrupts = signal(SignalKind::interrupt()).map_err(ServerError::SetUp)?;
    let listeners = listeners(&settings).map_err(|source| ServerError::Listen { address: address.clone(), source })?;
    let (say, phase) = watch::channel(Phase::Serves);
    let shared = Rc::new(Shared {
        site: Site::new(&settings, root),
        patience: settings.patience,
        most: within_limit(settings.connections),
        connections: Cell::new(0),
        ended: Notify::new(),
        crowded: Notify::new(),
        phase,
    });
    let accepting: Vec<_> = listeners.into_iter().map(|listener| spawn_local(accept(listener, Rc::clone(&shared)))).collect();
    crate::log(&format!("Exposing {shown} directory on {address}"));
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

/// As many connections as there are descriptors for: each has one, and a file.
fn within_limit(wanted: usize) -> usize {
    ostler_sys::rlimit::raise_nofile();
    let limit = ostler_sys::rlimit::nofile().soft;
    let room = usize::try_from(limit.saturating_sub(32) / 2).unwrap_or(usize::MAX);
    wanted.min(room).max(1)
}

impl Shared {
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

async fn accept(listener: Listener, shared: Rc<Shared>) {
    let mut phase = shared.phase.clone();
    loop {
        let stream = tokio::select! {
            // What waits in the queue was promised: it is taken before the end is looked at.
            biased;
            stream = async { shared.room().await; listener.accept().await } => stream,
            _ = phase.wait_for(|phase| *phase != Phase::Serves) => return,
        };
        match stream {
            Ok(Stream::Tcp(stream)) => drop(spawn_local(converse(stream, Rc::clone(&shared)).counted(&shared))),
            Ok(Stream::Unix(stream)) => drop(spawn_local(converse(stream, Rc::clone(&shared)).counted(&shared))),
            // Out of descriptors, or a client that was gone at once.
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// A future that is counted as a connection until it is dropped.
trait Counted: Future + Sized {
    fn counted(self, shared: &Rc<Shared>) -> impl Future<Output = Self::Output> + use<Self> {
        let place = Place::new(shared);
        async move {
            let _place = place;
            self.await
        }
    }
}

impl<F: Future> Counted for F {}

/// A connection's place among those that there may be.
struct Place(Rc<Shared>);

impl Place {
    fn new(shared: &Rc<Shared>) -> Self {
        shared.connections.set(shared.connections.get() + 1);
        Self(Rc::clone(shared))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.ended.notify_one();
    }
}

/// Answers one client until it, or we, have enough.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Rc<Shared>) {
    let (began, has_asked) = (Instant::now(), Cell::new(false));
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        has_asked.set(true);
        let (head, _) = request.into_parts();
        let mut answer = shared.site.answer(&head);
        if *shared.phase.borrow() != Phase::Serves {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        ready(Ok::<_, Infallible>(answer))
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
            () = shared.crowded.notified(), if !is_last => {
                if has_asked.get() {
                    is_last = true;
                    connection.as_mut().graceful_shutdown();
                } else if began.elapsed() >= FRESH {
                    return;
                }
            }
        }
    }
}
