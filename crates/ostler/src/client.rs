//! The connection to the daemon: blocking, one request at a time.
//!
//! Hello and a first request that only reads travel in one write. The keeper holds the listening socket, so a connection made while the
//! daemon is being replaced waits in the queue; only one that the old daemon had accepted already is lost. Reading requests are then
//! sent again, changing ones are not: nobody knows how far they came. So they are sent only when the daemon has answered hello: where
//! keeper and daemon were killed, their socket takes connections until the kernel has cleaned up behind them, and nobody reads those.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ostler_proto::control::{ClientFrame, DaemonFrame, Detail, Failure, PROTOCOL, Progress, Request, Response, Summary, TableRow};
use ostler_proto::frame::{Decoder, FrameError, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cli::CliError;
use crate::silence::{Silence, Verdict};

/// How often another connection is tried when one was lost before anything was changed.
pub(crate) const RETRIES: u32 = 3;

/// How long a keeper that was started a moment ago by another call has to listen.
#[cfg(feature = "roles")]
const LISTENS_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);

/// Version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why talking to the daemon failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens.
    #[error("no daemon is running in {home}")]
    NotRunning {
        /// Where.
        home: String,
    },
    /// Somebody listens, but not for us.
    #[error("no permission to connect to the daemon in {home}")]
    Permission {
        /// Where.
        home: String,
    },
    /// Something else about the socket.
    #[error("cannot connect to the daemon in {home}: {source}")]
    Connect {
        /// Where.
        home: String,
        /// Why.
        source: io::Error,
    },
    /// It runs, and this is not its home any more.
    #[error("{0}")]
    Elsewhere(String),
    /// Starting one failed.
    #[error("cannot start the daemon: {0}")]
    Launch(String),
    /// Somebody listens and does not answer.
    #[error("{0}")]
    Silent(String),
    /// There is no daemon, for this reason: the keeper says so.
    #[error("{0}")]
    Down(String),
    /// A signal came while we waited.
    #[error("interrupted")]
    Interrupted,
    /// The connection ended early.
    #[error("the connection to the daemon was lost before it answered")]
    Lost(#[source] io::Error),
    /// It said something that makes no sense.
    #[error("the daemon sent an answer that makes no sense")]
    Frame(#[from] FrameError),
    /// It answered another question.
    #[error("the daemon gave an answer that does not fit the question")]
    Unexpected,
    /// It speaks another version of the protocol.
    #[error("the running daemon (version {daemon}) and this program (version {VERSION}) do not understand each other")]
    Version {
        /// Version of the daemon.
        daemon: String,
    },
}

impl ClientError {
    /// No daemon can be talked to (exit code 3).
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::NotRunning { .. }
            | Self::Permission { .. }
            | Self::Connect { .. }
            | Self::Launch(_)
            | Self::Elsewhere(_)
            | Self::Silent(_)
            | Self::Down(_)
            | Self::Version { .. } => true,
            Self::Interrupted | Self::Lost(_) | Self::Frame(_) | Self::Unexpected => false,
        }
    }
}

/// What the daemon said about itself.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its version.
    pub version: String,
    /// Its pid.
    pub pid: i32,
    /// The keeper's pid.
    pub keeper_pid: i32,
}

/// A connection.
pub(crate) struct Client {
    home: PathBuf,
    stream: UnixStream,
    decoder: Decoder,
    last_id: u64,
    peer: Option<Peer>,
    alarm: Option<OwnedFd>,
    /// The daemon may speak another version of the protocol.
    any_protocol: bool,
    /// While an answer is owed: how long nothing has come.
    silence: Option<Silence>,
    /// Whoever uses this connection looks after the daemon itself.
    without_words: bool,
}

/// Id of the hello, and so of nothing else.
const HELLO_ID: u64 = 0;

fn hello() -> ClientFrame {
    ClientFrame { id: HELLO_ID, request: Request::Hello { protocol: PROTOCOL, version: VERSION.into() } }
}

impl Client {
    /// Connects; sends nothing yet.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] when nobody listens.
    pub(crate) fn connect(home: &Path) -> Result<Self, ClientError> {
        let shown = || home.display().to_string();
        let stream = UnixStream::connect(home.join("ostler.sock")).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning { home: shown() },
            ErrorKind::PermissionDenied => ClientError::Permission { home: shown() },
            _ => ClientError::Connect { home: shown(), source },
        })?;
        Ok(Self {
            home: home.to_owned(),
            stream,
            decoder: Decoder::default(),
            last_id: HELLO_ID,
            peer: None,
            alarm: None,
            any_protocol: false,
            silence: None,
            without_words: false,
        })
    }

    /// [`Client::connect`], also where the socket was removed a moment ago: its keeper makes another.
    ///
    /// # Errors
    /// As [`Client::connect`], and [`ClientError::Elsewhere`].
    pub(crate) fn connect_or_find(home: &Path) -> Result<Self, ClientError> {
        match Self::connect(home) {
            Err(ClientError::NotRunning { .. }) if find_again(home)? => Self::connect(home),
            connected => connected,
        }
    }

    /// Waiting for an answer ends with [`ClientError::Interrupted`] when this descriptor becomes readable.
    ///
    /// # Errors
    /// No more descriptors.
    pub(crate) fn heed(&mut self, alarm: BorrowedFd<'_>) -> Result<(), ClientError> {
        self.alarm = Some(alarm.try_clone_to_owned().map_err(ClientError::Lost)?);
        Ok(())
    }

    /// Talks to a daemon of any version: for [`Request::Ping`] and [`Request::Update`], which are the same in all of them.
    pub(crate) fn of_any_protocol(&mut self) -> &mut Self {
        self.any_protocol = true;
        self
    }

    /// Silence is somebody else's affair: nothing is said about it, and waiting ends by [`Client::heed`] alone.
    pub(crate) fn without_words(&mut self) {
        self.without_words = true;
    }

    /// What the daemon said about itself; known after the first answer.
    pub(crate) fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Sends a request and waits for the final answer; progress goes to `told` as it comes.
    ///
    /// # Errors
    /// [`CliError::Daemon`] when the daemon refuses, [`CliError::Client`] when the connection fails.
    pub(crate) fn request(&mut self, request: &Request, told: &mut dyn FnMut(Progress)) -> Result<Response, CliError> {
        use Request::{Health, Inspect, List, Ping, ReloadLogs, Subscribe, Table};
        // Reloading logs that were reloaded already does nothing; all others read only.
        let can_be_repeated = matches!(request, Ping | List | Table | Health { .. } | Inspect { .. } | Subscribe | ReloadLogs);
        if can_be_repeated {
            return self.again_when_lost(|client| client.exchange(request, told));
        }
        self.again_when_lost(Self::greet)?;
        self.exchange(request, told)
    }

    /// Does it on another connection when this one ends before it is done.
    fn again_when_lost<T>(&mut self, mut what: impl FnMut(&mut Self) -> Result<T, CliError>) -> Result<T, CliError> {
        let mut attempt = 0;
        loop {
            match what(self) {
                Err(CliError::Client(ClientError::Lost(_))) if attempt < RETRIES => {
                    attempt += 1;
                    let alarm = self.alarm.take();
                    let (any_protocol, without_words) = (self.any_protocol, self.without_words);
                    *self = Self { alarm, any_protocol, without_words, ..Self::connect_or_find(&self.home)? };
                }
                other => return other,
            }
        }
    }

    /// Waits until the daemon has answered hello, and so has this connection.
    ///
    /// # Errors
    /// [`ClientError::Lost`] when nobody was behind the socket, [`ClientError::Version`].
    pub(crate) fn greet(&mut self) -> Result<(), CliError> {
        self.owed(Self::wait_for_hello)
    }

    /// While an answer is owed, silence is looked into.
    fn owed<T>(&mut self, wait: impl FnOnce(&mut Self) -> T) -> T {
        self.silence = (!self.without_words).then(Silence::begin);
        let result = wait(self);
        self.silence = None;
        result
    }

    fn wait_for_hello(&mut self) -> Result<(), CliError> {
        if self.last_id == HELLO_ID {
            // Of a request that is never sent: hello is not said twice.
            self.last_id += 1;
            self.write(&encode(&hello()))?;
        }
        while self.peer.is_none() {
            match self.decoder.take::<DaemonFrame>().map_err(ClientError::from)? {
                Some(frame) => self.greeted(frame.response)?,
                None => self.fill()?,
            }
        }
        Ok(())
    }

    /// All instances, short.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub(crate) fn list(&mut self) -> Result<Vec<Summary>, CliError> {
        match self.request(&Request::List, &mut |_| {})? {
            Response::List(list) => Ok(list),
            _ => Err(ClientError::Unexpected.into()),
        }
    }

    /// What a table shows of all instances.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub(crate) fn table(&mut self) -> Result<Vec<TableRow>, CliError> {
        match self.request(&Request::Table, &mut |_| {})? {
            Response::Table(rows) => Ok(rows),
            _ => Err(ClientError::Unexpected.into()),
        }
    }

    /// Instances in full; no target means all.
    ///
    /// # Errors
    /// As [`Client::request`]; an unknown target is [`Failure::NotFound`].
    pub(crate) fn inspect(&mut self, targets: &[String]) -> Result<Vec<Detail>, CliError> {
        self.inspect_in(targets, String::new())
    }

    /// The same, where a target may be the path of a script, seen from this directory.
    ///
    /// # Errors
    /// As [`Client::inspect`].
    pub(crate) fn inspect_in(&mut self, targets: &[String], cwd: String) -> Result<Vec<Detail>, CliError> {
        match self.request(&Request::Inspect { targets: targets.to_vec(), cwd }, &mut |_| {})? {
            Response::Details(list) => Ok(list),
            _ => Err(ClientError::Unexpected.into()),
        }
    }

    /// Sends a request without waiting; its answers come from [`Client::next_frame`].
    ///
    /// # Errors
    /// [`ClientError::Lost`].
    pub(crate) fn send(&mut self, request: Request) -> Result<u64, ClientError> {
        let mut bytes = Vec::new();
        if self.last_id == HELLO_ID {
            bytes = encode(&hello());
        }
        self.last_id += 1;
        bytes.extend(encode(&ClientFrame { id: self.last_id, request }));
        self.write(&bytes)?;
        Ok(self.last_id)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        match self.stream.write_all(bytes) {
            // A daemon that refuses may close while we still write: what it said is more useful than the broken pipe.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(ClientError::Lost(error)),
            _ => Ok(()),
        }
    }

    /// Waits for the next answer; the one to hello is taken care of here.
    ///
    /// # Errors
    /// The connection ended or carries nonsense.
    pub(crate) fn next_frame(&mut self) -> Result<DaemonFrame, ClientError> {
        loop {
            if let Some(frame) = self.decoder.take::<DaemonFrame>()? {
                if frame.id != HELLO_ID {
                    return Ok(frame);
                }
                self.greeted(frame.response)?;
                continue;
            }
            self.fill()?;
        }
    }

    /// The answers that are complete after one read. Call it when the descriptor is readable: then it does not wait.
    ///
    /// # Errors
    /// As [`Client::next_frame`].
    pub(crate) fn arrived(&mut self) -> Result<Vec<DaemonFrame>, ClientError> {
        self.fill()?;
        let mut frames = Vec::new();
        while let Some(frame) = self.decoder.take::<DaemonFrame>()? {
            if frame.id == HELLO_ID {
                self.greeted(frame.response)?;
            } else {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn exchange(&mut self, request: &Request, told: &mut dyn FnMut(Progress)) -> Result<Response, CliError> {
        let id = self.send(request.clone())?;
        self.owed(|client| client.wait_for_answer(id, told))
    }

    fn wait_for_answer(&mut self, id: u64, told: &mut dyn FnMut(Progress)) -> Result<Response, CliError> {
        loop {
            let frame = self.next_frame()?;
            if frame.id != id {
                continue;
            }
            match frame.response {
                Response::Progress(progress) => told(progress),
                Response::Failed(Failure::Protocol { daemon_version }) => {
                    return Err(ClientError::Version { daemon: daemon_version }.into());
                }
                Response::Failed(failure) => return Err(failure.into()),
                answer => return Ok(answer),
            }
        }
    }

    fn greeted(&mut self, answer: Response) -> Result<(), ClientError> {
        match answer {
            Response::Hello { protocol, version, .. } if protocol != PROTOCOL && !self.any_protocol => {
                Err(ClientError::Version { daemon: version })
            }
            Response::Hello { version, pid, keeper_pid, .. } => {
                self.peer = Some(Peer { version, pid, keeper_pid });
                Ok(())
            }
            Response::Failed(Failure::Protocol { daemon_version }) => Err(ClientError::Version { daemon: daemon_version }),
            Response::Failed(Failure::Other(reason)) => Err(ClientError::Down(reason)),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Reads once, blocking, into the decoder.
    fn fill(&mut self) -> Result<(), ClientError> {
        let mut chunk = [0; 64 << 10];
        loop {
            self.wait()?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Lost(ErrorKind::UnexpectedEof.into())),
                Ok(n) => {
                    self.decoder.push(&chunk[..n]);
                    if let Some(silence) = &mut self.silence {
                        silence.broken();
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ClientError::Lost(error)),
            }
        }
    }
}

impl Client {
    /// Until there is something to read; with neither an alarm nor an answer owed the read itself waits.
    fn wait(&mut self) -> Result<(), ClientError> {
        if self.alarm.is_none() && self.silence.is_none() {
            return Ok(());
        }
        while !self.poll()? {
            self.nothing_came()?;
        }
        Ok(())
    }

    /// False when nothing came for as long as the silence may last.
    fn poll(&self) -> Result<bool, ClientError> {
        let mut fds = vec![PollFd::new(&self.stream, PollFlags::IN)];
        fds.extend(self.alarm.as_ref().map(|alarm| PollFd::new(alarm, PollFlags::IN)));
        loop {
            let left = self.silence.as_ref().map(|silence| timespec(silence.left()));
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) if fds.get(1).is_some_and(|alarm| !alarm.revents().is_empty()) => return Err(ClientError::Interrupted),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(ClientError::Lost(errno.into())),
            }
        }
    }

    fn nothing_came(&mut self) -> Result<(), ClientError> {
        let Some(silence) = &mut self.silence else { return Ok(()) };
        let home = &self.home;
        let turns = |within| Self::answers_hello(home, within);
        // Without an answer to hello on this connection none would come on another.
        let turns: Option<&dyn Fn(Duration) -> bool> = if self.peer.is_some() { Some(&turns) } else { None };
        match silence.look(home, self.peer.as_ref().map(|peer| peer.keeper_pid), turns) {
            Verdict::Wait => Ok(()),
            Verdict::GiveUp(who) => Err(ClientError::Silent(who)),
        }
    }

    /// Whether the daemon of this home answers at all.
    fn answers_hello(home: &Path, within: Duration) -> bool {
        let ask = || -> Option<()> {
            let mut client = Self::connect(home).ok()?;
            client.stream.set_read_timeout(Some(within)).ok()?;
            client.of_any_protocol().wait_for_hello().ok()
        };
        ask().is_some()
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Starts keeper and daemon and connects. With the keeper's pid, unless another call was faster.
///
/// # Errors
/// [`ClientError::Launch`] with the failing step.
#[cfg(feature = "roles")]
pub(crate) fn launch(home: &Path, as_pm2: bool) -> Result<(Client, Option<i32>), ClientError> {
    let launched = ostler_keeper::launch(home, as_pm2).map_err(|error| ClientError::Launch(with_causes(&error)))?;
    let keeper = match launched {
        ostler_keeper::Launched::New(pid) => Some(pid),
        ostler_keeper::Launched::Already => None,
    };
    // When another call was first, its keeper holds the lock but perhaps not yet the socket.
    let deadline = std::time::Instant::now() + LISTENS_WITHIN;
    loop {
        match Client::connect(home) {
            Err(ClientError::NotRunning { .. }) if std::time::Instant::now() < deadline => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            other => return other.map(|client| (client, keeper)),
        }
    }
}

/// A keeper that lost its socket has made another when this returns true.
///
/// # Errors
/// [`ClientError::Elsewhere`] where its home is another folder by now.
#[cfg(feature = "roles")]
fn find_again(home: &Path) -> Result<bool, ClientError> {
    match ostler_keeper::behind(home) {
        ostler_keeper::Behind::Nobody => Ok(false),
        ostler_keeper::Behind::Keeper => Ok(true),
        ostler_keeper::Behind::Elsewhere(why) => Err(ClientError::Elsewhere(why)),
    }
}

/// Without the roles nobody knows.
#[cfg(not(feature = "roles"))]
fn find_again(_home: &Path) -> Result<bool, ClientError> {
    Ok(false)
}

/// Without the roles there is nothing to start.
#[cfg(not(feature = "roles"))]
pub(crate) fn launch(_home: &Path, _as_pm2: bool) -> Result<(Client, Option<i32>), ClientError> {
    Err(ClientError::Launch("this program was built without the daemon".into()))
}

/// An error with everything that caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.ends_with(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests;
