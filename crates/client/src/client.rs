//! A connection, and the requests on it.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ostler_proto::control::{
    ClientFrame, DaemonFrame, Detail, Event, Failure, Json, MissedEntries, PROTOCOL, Position, Progress, Request, Response, Summary,
    TableRow,
};
use ostler_proto::frame::{Decoder, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::VERSION;
use crate::connector::{Connector, Socket, Stream, connect_or_recover};
use crate::error::ClientError;
use crate::silence::{HELLO_WITHIN, Silence, SilenceHandler, Unanswered};

/// Maximum number of new connections if the connection is lost before the request has changed
/// anything.
pub const RETRIES: u32 = 3;

pub use ostler_proto::control::MAX_ON_BEHALF_OF;

/// Facts that the daemon reported about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its version.
    pub version: String,
    /// Its pid.
    pub pid: i32,
    /// The keeper's pid.
    pub keeper_pid: i32,
}

/// Notification for a subscriber.
#[derive(Clone, Debug, PartialEq)]
pub enum Notification {
    /// An event.
    Event(Event),
    /// Some of the events after the requested position are lost.
    Missed(MissedEntries),
    /// The subscriber did not read fast enough. The connection ends, and the subscriber may connect
    /// again.
    FellBehind,
}

impl Notification {
    /// Returns the notification in a response, or `None` for other responses.
    pub fn from_response(response: Response) -> Option<Self> {
        match response {
            Response::Happened(event) => Some(Self::Event(event)),
            Response::Missed(missed) => Some(Self::Missed(missed)),
            Response::FellBehind => Some(Self::FellBehind),
            _ => None,
        }
    }
}

/// A connection to a daemon.
pub struct Client<S = UnixStream> {
    stream: S,
    /// Creates another connection after a loss.
    connector: Option<Box<dyn Connector<S>>>,
    decoder: Decoder,
    last_id: u64,
    peer: Option<Peer>,
    alarm: Option<OwnedFd>,
    limit: Option<Duration>,
    silence_handler: Option<Box<dyn SilenceHandler>>,
    /// Whether the daemon may speak another version of the protocol.
    any_protocol: bool,
    read_only: bool,
    on_behalf_of: Option<String>,
    /// Limits of the current wait for an answer.
    wait: WaitLimits,
}

/// Limits of a wait for an answer.
#[derive(Debug, Default)]
struct WaitLimits {
    /// Silence of the connection, if a handler for it is set.
    silence: Option<Silence>,
    /// Deadline of the wait.
    until: Option<Instant>,
}

/// Id reserved for hello.
const HELLO_ID: u64 = 0;

impl Client<UnixStream> {
    /// Connects to the socket at this path. Sends nothing yet.
    ///
    /// # Errors
    /// Returns [`ClientError::NotRunning`] if no process listens, [`ClientError::Permission`], or
    /// [`ClientError::Connect`].
    pub fn connect(socket: impl Into<PathBuf>) -> Result<Self, ClientError> {
        Self::connect_with(Socket(socket.into()))
    }
}

impl<S: Stream> Client<S> {
    /// Wraps a connected stream. If the stream is lost, so is the client.
    pub fn from_stream(stream: S) -> Self {
        Self {
            stream,
            connector: None,
            decoder: Decoder::default(),
            last_id: HELLO_ID,
            peer: None,
            alarm: None,
            limit: None,
            silence_handler: None,
            any_protocol: false,
            read_only: false,
            on_behalf_of: None,
            wait: WaitLimits::default(),
        }
    }

    /// Connects with a connector. Sends nothing yet. The client uses it again if the connection
    /// is lost.
    ///
    /// # Errors
    /// Returns the errors of [`Connector::connect`].
    pub fn connect_with(connector: impl Connector<S> + 'static) -> Result<Self, ClientError> {
        let stream = connector.connect()?;
        Ok(Self { connector: Some(Box::new(connector)), ..Self::from_stream(stream) })
    }

    /// Works like [`Client::connect_with`], and uses [`Connector::recover`] if necessary.
    ///
    /// # Errors
    /// Returns the errors of [`Connector::connect`] and [`Connector::recover`].
    pub fn connect_or_recover_with(connector: impl Connector<S> + 'static) -> Result<Self, ClientError> {
        let stream = connect_or_recover(&connector)?;
        Ok(Self { connector: Some(Box::new(connector)), ..Self::from_stream(stream) })
    }

    /// Lets this descriptor interrupt waits from now on. When it becomes readable, waiting for an
    /// answer returns [`ClientError::Interrupted`].
    ///
    /// # Errors
    /// Returns [`ClientError::Lost`] if no descriptor is free.
    pub fn interrupt_on(&mut self, alarm: BorrowedFd<'_>) -> Result<(), ClientError> {
        self.alarm = Some(alarm.try_clone_to_owned().map_err(ClientError::Lost)?);
        Ok(())
    }

    /// Limits the duration of each request from now on. If the final answer has not arrived in
    /// time, the request returns [`ClientError::TimedOut`].
    pub fn limit(&mut self, limit: Duration) {
        self.limit = Some(limit);
    }

    /// Permits a daemon of any version: for [`Request::Ping`] and [`Request::Update`], which are
    /// the same in all versions.
    pub fn allow_any_protocol(&mut self) -> &mut Self {
        self.any_protocol = true;
        self
    }

    /// Makes the client read-only, even after it connects again: the daemon rejects every change
    /// ([`Request::is_read_only`]) with [`Failure::ReadOnly`]. Call it before the first request. If
    /// the daemon does not support this, every request returns [`ClientError::Version`].
    #[must_use]
    pub fn read_only(mut self) -> Self {
        debug_assert_eq!(self.last_id, HELLO_ID, "the greeting was sent already");
        self.read_only = true;
        self
    }

    /// Names the person for whom the client asks, even after it connects again: the user of a
    /// login, `ssh user@host`. The daemon shows the first [`MAX_ON_BEHALF_OF`] characters beside
    /// the uid and pid of this process (`why`). Call it before the first request.
    #[must_use]
    pub fn on_behalf_of(mut self, name: &str) -> Self {
        debug_assert_eq!(self.last_id, HELLO_ID, "the greeting was sent already");
        self.on_behalf_of = Some(name.chars().take(MAX_ON_BEHALF_OF).collect());
        self
    }

    /// Sets the handler for a connection that stays silent while an answer is owed. `None`, the
    /// default, means no handler.
    pub fn set_silence_handler(&mut self, handler: Option<Box<dyn SilenceHandler>>) {
        self.silence_handler = handler;
    }

    /// Returns the facts that the daemon reported about itself; known after the first answer.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Sends a request and waits for the final answer. Passes progress to `on_progress` as it
    /// arrives.
    ///
    /// # Errors
    /// Returns [`ClientError::Refused`] if the daemon rejects the request. All other errors concern
    /// the connection.
    pub fn request(&mut self, request: &Request, on_progress: &mut dyn FnMut(Progress)) -> Result<Response, ClientError> {
        // To reload logs a second time has no effect, so a repetition is safe.
        if request.is_read_only() || matches!(request, Request::ReloadLogs) {
            return self.retry_when_lost(|client| client.exchange(request, on_progress));
        }
        self.retry_when_lost(Self::handshake)?;
        self.exchange(request, on_progress)
    }

    /// Runs `action`, and repeats it on another connection if the connection ends before the
    /// result.
    fn retry_when_lost<T>(&mut self, mut action: impl FnMut(&mut Self) -> Result<T, ClientError>) -> Result<T, ClientError> {
        let mut attempt = 0;
        loop {
            match action(self) {
                Err(ClientError::Lost(_)) if attempt < RETRIES && self.connector.is_some() => {
                    attempt += 1;
                    self.connect_again()?;
                }
                other => return other,
            }
        }
    }

    fn connect_again(&mut self) -> Result<(), ClientError> {
        let Some(connector) = &self.connector else { return Err(ClientError::Lost(ErrorKind::NotConnected.into())) };
        self.stream = connect_or_recover(connector.as_ref())?;
        (self.decoder, self.last_id, self.peer) = (Decoder::default(), HELLO_ID, None);
        Ok(())
    }

    /// Waits until the daemon has answered hello on this connection.
    ///
    /// # Errors
    /// Returns [`ClientError::Lost`] if no daemon was behind the socket, or
    /// [`ClientError::Version`].
    pub fn handshake(&mut self) -> Result<(), ClientError> {
        self.with_wait_limits(Self::wait_for_hello)
    }

    /// Waits for an owed answer, with the handler for silence and the time limit.
    fn with_wait_limits<T>(&mut self, wait: impl FnOnce(&mut Self) -> T) -> T {
        let now = Instant::now();
        let silence = self.silence_handler.is_some().then(|| Silence::start(now));
        self.wait = WaitLimits { silence, until: self.limit.map(|limit| now + limit) };
        let result = wait(self);
        self.wait = WaitLimits::default();
        result
    }

    fn wait_for_hello(&mut self) -> Result<(), ClientError> {
        if self.last_id == HELLO_ID {
            // This skips the id of a request that is never sent, so that hello is sent only once.
            self.last_id += 1;
            self.write(&encode(&self.hello()))?;
        }
        while self.peer.is_none() {
            match self.decoder.take::<DaemonFrame>().map_err(ClientError::from)? {
                Some(frame) => self.handle_hello(frame.response)?,
                None => self.fill()?,
            }
        }
        Ok(())
    }

    fn hello(&self) -> ClientFrame {
        let request = Request::Hello {
            protocol: PROTOCOL,
            version: VERSION.into(),
            read_only: self.read_only,
            on_behalf_of: self.on_behalf_of.clone(),
        };
        ClientFrame { id: HELLO_ID, request }
    }

    /// Returns all instances, in short form.
    ///
    /// # Errors
    /// Returns the errors of [`Client::request`].
    pub fn list(&mut self) -> Result<Vec<Summary>, ClientError> {
        match self.request(&Request::List, &mut |_| {})? {
            Response::List(list) => Ok(list),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Returns the table rows of all instances.
    ///
    /// # Errors
    /// Returns the errors of [`Client::request`].
    pub fn table(&mut self) -> Result<Vec<TableRow>, ClientError> {
        match self.request(&Request::Table, &mut |_| {})? {
            Response::Table(rows) => Ok(rows),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Returns instances in full; no target means all.
    ///
    /// # Errors
    /// Returns the errors of [`Client::request`]; an unknown target is [`Failure::NotFound`].
    pub fn inspect(&mut self, targets: &[String]) -> Result<Vec<Detail>, ClientError> {
        self.inspect_in(targets, String::new())
    }

    /// Works like [`Client::inspect`], but a target may also be the path of a script, relative to
    /// this directory.
    ///
    /// # Errors
    /// Returns the errors of [`Client::inspect`].
    pub fn inspect_in(&mut self, targets: &[String], cwd: String) -> Result<Vec<Detail>, ClientError> {
        match self.request(&Request::Inspect { targets: targets.to_vec(), cwd }, &mut |_| {})? {
            Response::Details(list) => Ok(list),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Returns all instances as text in PM2's format.
    ///
    /// # Errors
    /// Returns the errors of [`Client::request`].
    pub fn processes(&mut self) -> Result<Json, ClientError> {
        match self.request(&Request::Processes, &mut |_| {})? {
            Response::Processes(list) => Ok(list),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Sends a request without waiting for anything, not even for hello. [`Client::next_frame`]
    /// returns its answers; they carry the id that this function returns.
    ///
    /// # Errors
    /// Returns [`ClientError::Lost`].
    pub fn send(&mut self, request: Request) -> Result<u64, ClientError> {
        let mut bytes = Vec::new();
        if self.last_id == HELLO_ID {
            bytes = encode(&self.hello());
        }
        self.last_id += 1;
        bytes.extend(encode(&ClientFrame { id: self.last_id, request }));
        self.write(&bytes)?;
        Ok(self.last_id)
    }

    /// Subscribes to every event on this connection: first those after this position, then new
    /// ones. [`Client::next_notification`] returns them, or [`Client::received_frames`] by the id
    /// that this function returns. After a lost connection, or after falling behind, a subscriber
    /// resumes from the position of the last event that it has seen.
    ///
    /// # Errors
    /// Returns [`ClientError::Lost`].
    pub fn subscribe(&mut self, after: Option<Position>) -> Result<u64, ClientError> {
        self.send(Request::Subscribe { after })
    }

    /// Listens to messages of apps on this connection ([`Request::Listen`]).
    /// [`Client::received_frames`] returns them by the id that this function returns.
    ///
    /// # Errors
    /// Returns [`ClientError::Lost`].
    pub fn listen(&mut self, topics: &[&str]) -> Result<u64, ClientError> {
        self.send(Request::Listen { topics: topics.iter().map(|topic| (*topic).to_owned()).collect() })
    }

    /// Waits for the next event after [`Client::subscribe`].
    ///
    /// # Errors
    /// Returns the errors of [`Client::next_frame`], and [`ClientError::Refused`].
    pub fn next_notification(&mut self) -> Result<Notification, ClientError> {
        loop {
            match self.next_frame()?.response {
                Response::Failed(failure) => return Err(refused(failure)),
                response => {
                    if let Some(notification) = Notification::from_response(response) {
                        return Ok(notification);
                    }
                }
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        match self.stream.write_all(bytes).and_then(|()| self.stream.flush()) {
            // A daemon that rejects the client may close while we still write. Its answer is more
            // useful than the broken pipe.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(ClientError::Lost(error)),
            _ => Ok(()),
        }
    }

    /// Waits without limit for the next answer to any request. Answers to hello are handled here.
    ///
    /// # Errors
    /// Returns an error if the connection ended or carries invalid data.
    pub fn next_frame(&mut self) -> Result<DaemonFrame, ClientError> {
        loop {
            if let Some(frame) = self.decoder.take::<DaemonFrame>()? {
                if frame.id != HELLO_ID {
                    return Ok(frame);
                }
                self.handle_hello(frame.response)?;
                continue;
            }
            self.fill()?;
        }
    }

    /// Returns the answers that are complete after one read. It does not wait if the descriptor is
    /// readable.
    ///
    /// # Errors
    /// Returns the errors of [`Client::next_frame`].
    pub fn received_frames(&mut self) -> Result<Vec<DaemonFrame>, ClientError> {
        self.fill()?;
        let mut frames = Vec::new();
        while let Some(frame) = self.decoder.take::<DaemonFrame>()? {
            if frame.id == HELLO_ID {
                self.handle_hello(frame.response)?;
            } else {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn exchange(&mut self, request: &Request, on_progress: &mut dyn FnMut(Progress)) -> Result<Response, ClientError> {
        let id = self.send(request.clone())?;
        self.with_wait_limits(|client| client.wait_for_answer(id, on_progress))
    }

    fn wait_for_answer(&mut self, id: u64, on_progress: &mut dyn FnMut(Progress)) -> Result<Response, ClientError> {
        loop {
            let frame = self.next_frame()?;
            if frame.id != id {
                continue;
            }
            match frame.response {
                Response::Progress(progress) => on_progress(progress),
                Response::Failed(failure) => return Err(refused(failure)),
                answer => return Ok(answer),
            }
        }
    }

    fn handle_hello(&mut self, answer: Response) -> Result<(), ClientError> {
        match answer {
            Response::Hello { protocol, version, .. } if protocol != PROTOCOL && !self.any_protocol => {
                Err(ClientError::Version { daemon: version })
            }
            Response::Hello { read_only, version, .. } if self.read_only && !read_only => Err(ClientError::Version { daemon: version }),
            Response::Hello { version, pid, keeper_pid, .. } => {
                self.peer = Some(Peer { version, pid, keeper_pid });
                Ok(())
            }
            Response::Failed(Failure::Protocol { daemon_version }) => Err(ClientError::Version { daemon: daemon_version }),
            Response::Failed(Failure::Other(reason)) => Err(ClientError::Down(reason)),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Performs one blocking read into the decoder.
    fn fill(&mut self) -> Result<(), ClientError> {
        let mut chunk = [0; 64 << 10];
        // If no alarm or limit can end the wait, the read itself may block.
        let mut waits = self.alarm.is_some() || self.wait.silence.is_some() || self.wait.until.is_some();
        loop {
            if waits {
                self.wait_for_bytes()?;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Lost(ErrorKind::UnexpectedEof.into())),
                Ok(n) => {
                    self.decoder.push(&chunk[..n]);
                    if let Some(silence) = &mut self.wait.silence {
                        *silence = Silence::start(Instant::now());
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => waits = true,
                Err(error) => return Err(ClientError::Lost(error)),
            }
        }
    }

    /// Waits until data is readable.
    fn wait_for_bytes(&mut self) -> Result<(), ClientError> {
        while !self.poll()? {
            if self.wait.until.is_some_and(|until| until <= Instant::now()) {
                return Err(ClientError::TimedOut(self.limit.unwrap_or_default()));
            }
            self.handle_silence()?;
        }
        Ok(())
    }

    /// Polls. Returns false if nothing arrived within the limit of the silence or of the whole
    /// wait.
    fn poll(&self) -> Result<bool, ClientError> {
        let mut fds = vec![PollFd::new(&self.stream, PollFlags::IN)];
        fds.extend(self.alarm.as_ref().map(|alarm| PollFd::new(alarm, PollFlags::IN)));
        loop {
            let now = Instant::now();
            let silence = self.wait.silence.as_ref().map(|silence| silence.until_next_check(now));
            let rest = self.wait.until.map(|until| until.saturating_duration_since(now));
            let left = silence.into_iter().chain(rest).min().and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) if fds.get(1).is_some_and(|alarm| !alarm.revents().is_empty()) => return Err(ClientError::Interrupted),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(ClientError::Lost(errno.into())),
            }
        }
    }

    fn handle_silence(&mut self) -> Result<(), ClientError> {
        let now = Instant::now();
        // If hello is not answered on this connection, it would not be answered on another one,
        // either.
        let is_busy = self.peer.is_some() && self.connector.as_deref().is_some_and(answers_hello);
        let (Some(silence), Some(handler)) = (&mut self.wait.silence, &mut self.silence_handler) else { return Ok(()) };
        let keeper = self.peer.as_ref().map(|peer| peer.keeper_pid);
        if is_busy {
            let now = Instant::now();
            silence.busy(now);
            let silent = silence.elapsed(now);
            return if handler.busy(silent, keeper) { Ok(()) } else { Err(ClientError::Silent(handler.give_up(silent, keeper))) };
        }
        match silence.unanswered(now) {
            Unanswered::Call => {
                let helps = handler.unanswered(silence.elapsed(Instant::now()), keeper);
                silence.help_requested(now, helps);
                Ok(())
            }
            Unanswered::Wait => Ok(()),
            Unanswered::GiveUp => Err(ClientError::Silent(handler.give_up(silence.elapsed(Instant::now()), keeper))),
        }
    }
}

/// Returns the error for a rejection by the daemon.
fn refused(failure: Failure) -> ClientError {
    match failure {
        Failure::Protocol { daemon_version } => ClientError::Version { daemon: daemon_version },
        other => ClientError::Refused(other),
    }
}

/// Returns true if the daemon behind this connector answers at all.
fn answers_hello<S: Stream>(connector: &dyn Connector<S>) -> bool {
    let Ok(stream) = connector.connect() else { return false };
    let mut client = Client::from_stream(stream);
    client.limit(HELLO_WITHIN);
    client.allow_any_protocol().handshake().is_ok()
}

impl<S: AsFd> AsFd for Client<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests;
