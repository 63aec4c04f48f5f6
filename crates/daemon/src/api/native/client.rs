//! One connected client: reads bytes, writes frames, never blocks and never waits for a slow
//! reader.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use ostler_proto::control::{AppMessage, ClientFrame, DaemonFrame, Failure, MAX_ON_BEHALF_OF, PROTOCOL, Request, Response};
use ostler_proto::event::Event;
use ostler_proto::frame::{Decoder, encode};

use crate::engine::PM2_CLIENT;
use crate::platform::reactor::{Reactor, Source};

/// Largest backlog of a client in bytes. Beyond it the daemon closes the connection; the client can
/// reconnect and request the list.
const MAX_BACKLOG_BYTES: usize = 64 << 20;

/// Largest backlog of a client that follows events, in bytes. Beyond it the daemon drops the
/// client. It exceeds what `store::events` keeps for a reconnect, frames included.
const MAX_FOLLOWER_BYTES: usize = 128 << 10;

/// Most topics that a client can listen to.
const MAX_TOPICS: usize = 16;

/// Most unsent bytes of all connections together. Beyond it the daemon cuts off the slowest reader.
const MAX_BACKLOG_IN_ALL: usize = 256 << 20;

/// Most clients at the same time. If all places are taken, a new client replaces the connected
/// client with the weakest claim.
const MAX_CLIENTS: usize = 1024;

/// Clients accepted in one go. Their requests are handled before further clients are accepted.
const ACCEPTED_PER_TURN: usize = 64;

/// Most bytes before hello: enough for the hello and the requests behind it.
const MAX_BEFORE_HELLO: usize = 64 << 10;
const HELLO_WITHIN_MS: u64 = 5_000;

/// Largest request in bytes: some ten thousand apps in one file.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// Most bytes of incomplete requests of all connections together. Beyond it the daemon drops the
/// largest.
const MAX_UNREAD_IN_ALL: usize = 128 << 20;

/// Backlog in bytes up to which adding up all connections is not worth the work.
const SMALL: usize = 64 << 10;

/// Most bytes read from one connection before the others are read.
const READ_PER_TURN: usize = 1 << 20;

/// Longest delay of progress messages. The daemon sends them with later messages or with the
/// answer, so that starting a hundred apps does not wake the client a hundred times.
const PROGRESS_MS: u64 = 10;

/// State of a client's introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    None,
    /// The client uses our version of the protocol.
    Same,
    /// The client uses another version. It can send the few requests that are the same in all
    /// versions.
    Other,
}

impl Greeting {
    fn allows(self, request: &Request) -> bool {
        match self {
            Self::None => false,
            Self::Same => true,
            Self::Other => matches!(request, Request::Ping | Request::Update { .. }),
        }
    }
}

/// Claim of a client to its place, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ConnectionPriority {
    /// The client has not sent hello.
    Unknown,
    /// The client has received all its answers.
    Idle,
    /// The client follows events; it can reconnect.
    Follows,
    /// The client waits for an answer.
    Waits,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    sent: usize,
    /// Time by which the queue is sent if it holds progress messages only.
    unhurried_until_ms: Option<u64>,
    waits_for_room: bool,
    greeting: Greeting,
    /// Whether the client declared with hello that it changes nothing. It cannot take that back.
    read_only: bool,
    /// Time at which the connection is closed if no hello arrived.
    hello_by_ms: Option<u64>,
    /// Number of requests without a final answer.
    pending: u32,
    /// Whether the daemon reads no more input; the connection closes when everything is sent.
    closing: bool,
    /// Id of the client's `Subscribe` request.
    pub subscribed: Option<u64>,
    /// Id of the client's `Listen` request, and its topics.
    listens: Option<(u64, Vec<String>)>,
    /// User of the client process.
    pub uid: u32,
    /// Pid of the client process, for the record only.
    pub pid: i32,
    /// Person on whose behalf the client acts. The client names this person; it is for the record
    /// only.
    pub on_behalf_of: Option<Box<str>>,
}

impl Client {
    /// Queues a frame. A queue of progress messages may wait; any other frame is sent at
    /// once, with the queue.
    fn queue(&mut self, frame: &DaemonFrame, now_ms: u64) {
        let is_news = matches!(frame.response, Response::Progress(_));
        self.unhurried_until_ms = match self.unhurried_until_ms {
            Some(until) if is_news => Some(until),
            None if is_news && self.out.is_empty() => Some(now_ms + PROGRESS_MS),
            _ => None,
        };
        if self.backlog() > MAX_BACKLOG_BYTES {
            return self.cut_off();
        }
        self.out.extend_from_slice(&encode(frame));
    }

    /// Returns the number of bytes that the client has not read.
    fn backlog(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Returns the id of the client's request for this topic.
    fn topic_request(&self, topic: &str) -> Option<u64> {
        self.listens.as_ref().filter(|(_, topics)| topics.iter().any(|wanted| wanted == topic)).map(|(id, _)| *id)
    }

    /// Drops a client that does not read events. It sends the rest of the current frame, then
    /// `FellBehind` as the last frame.
    fn fell_behind(&mut self, id: u64) {
        let mut end = 0;
        while end < self.sent
            && let Some(head) = self.out.get(end..).and_then(|rest| rest.first_chunk::<4>())
        {
            end += 4 + u32::from_le_bytes(*head) as usize;
        }
        self.out.truncate(end);
        self.out.shrink_to_fit();
        self.out.extend_from_slice(&encode(&DaemonFrame { id, response: Response::FellBehind }));
        self.unhurried_until_ms = None;
        self.closing = true;
    }

    /// Cuts off a client that does not read, and discards its backlog.
    fn cut_off(&mut self) {
        self.closing = true;
        self.out = Vec::new();
        self.sent = 0;
        self.unhurried_until_ms = None;
    }

    /// Reads one chunk of input. Returns `None` if no input is available.
    fn fill(&mut self) -> io::Result<Option<usize>> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    self.decoder.push(&buffer[..len]);
                    return Ok(Some(len));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Decodes complete requests. `Err` means that the connection is unusable.
    fn take(&mut self, hello: &Response, requests: &mut Vec<(u64, Request)>) -> Result<(), ()> {
        loop {
            match self.decoder.take::<ClientFrame>() {
                Ok(None) => break,
                Ok(Some(ClientFrame { id, request: Request::Hello { protocol, read_only, on_behalf_of, .. } })) => {
                    self.greeting = if protocol == PROTOCOL { Greeting::Same } else { Greeting::Other };
                    self.read_only |= read_only;
                    self.on_behalf_of = on_behalf_of.map(|name| name.chars().take(MAX_ON_BEHALF_OF).collect());
                    self.hello_by_ms = None;
                    let mut response = hello.clone();
                    if let Response::Hello { read_only, .. } = &mut response {
                        *read_only = self.read_only;
                    }
                    self.queue(&DaemonFrame { id, response }, 0);
                }
                Ok(Some(frame)) if self.read_only && self.greeting.allows(&frame.request) && !frame.request.is_read_only() => {
                    self.queue(&DaemonFrame { id: frame.id, response: Response::Failed(Failure::ReadOnly) }, 0);
                }
                Ok(Some(frame)) if self.greeting.allows(&frame.request) => {
                    self.pending += 1;
                    requests.push((frame.id, frame.request));
                }
                // The client gets our version and nothing more.
                Ok(Some(_)) | Err(_) if self.greeting == Greeting::Other => {
                    self.closing = true;
                    return Ok(());
                }
                Ok(Some(_)) | Err(_) => return Err(()),
            }
        }
        let most = if self.greeting == Greeting::None { MAX_BEFORE_HELLO } else { MAX_REQUEST_BYTES };
        // The announced length is enough to reject a frame.
        if self.decoder.announced().is_some_and(|len| len > most) { Err(()) } else { Ok(()) }
    }

    /// Returns the client's claim to its place.
    fn claim(&self) -> ConnectionPriority {
        match self.greeting {
            Greeting::None => ConnectionPriority::Unknown,
            _ if self.subscribed.is_some() || self.listens.is_some() => ConnectionPriority::Follows,
            _ if self.pending > 0 => ConnectionPriority::Waits,
            _ => ConnectionPriority::Idle,
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out = Vec::new();
        self.sent = 0;
        self.unhurried_until_ms = None;
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    all: BTreeMap<u32, Client>,
    next: u32,
}

impl Clients {
    /// Accepts all waiting clients. A process of another user, except root, is disconnected without
    /// an answer.
    pub(crate) fn accept(&mut self, listener: &UnixListener, reactor: &Reactor, own_uid: u32) -> io::Result<()> {
        for _ in 0..ACCEPTED_PER_TURN {
            let Some(connection) = ostler_sys::net::socket::accept(listener)? else { return Ok(()) };
            let stream = UnixStream::from(connection);
            // The client is gone already, so it has no owner.
            let Ok(peer) = ostler_sys::net::socket::peer(&stream) else { continue };
            let uid = peer.uid;
            if uid != own_uid && uid != 0 {
                continue;
            }
            if self.all.len() >= MAX_CLIENTS {
                self.free_a_place();
            }
            self.next = if self.next >= PM2_CLIENT - 1 { 1 } else { self.next + 1 };
            let id = self.next;
            reactor.add(&stream, Source::Feature(super::Native::NAME, id.into()))?;
            let hello_by_ms = Some(ostler_sys::time::clock::boot_ms() + HELLO_WITHIN_MS);
            self.all.insert(
                id,
                Client {
                    stream,
                    decoder: Decoder::default(),
                    out: Vec::new(),
                    sent: 0,
                    unhurried_until_ms: None,
                    waits_for_room: false,
                    greeting: Greeting::None,
                    read_only: false,
                    hello_by_ms,
                    pending: 0,
                    closing: false,
                    subscribed: None,
                    listens: None,
                    uid,
                    pid: peer.pid,
                    on_behalf_of: None,
                },
            );
        }
        Ok(())
    }

    /// Closes the oldest connection of those with the weakest claim.
    fn free_a_place(&mut self) {
        let weakest = self.all.iter().min_by_key(|(id, client)| (client.claim(), **id)).map(|(id, _)| *id);
        if let Some(id) = weakest {
            self.all.remove(&id);
        }
    }

    /// Closes clients that have not sent hello in time.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        self.all.retain(|_, client| client.hello_by_ms.is_none_or(|by| by > now_ms));
    }

    /// Drops the largest incomplete requests until the rest is within bounds.
    fn bound_unread(&mut self) {
        let mut all: usize = self.all.values().map(|client| client.decoder.buffered()).sum();
        while all > MAX_UNREAD_IN_ALL
            && let Some((&id, client)) = self.all.iter().max_by_key(|(_, client)| client.decoder.buffered())
        {
            all -= client.decoder.buffered();
            self.all.remove(&id);
        }
    }

    /// Cuts off the slowest readers until the rest is within bounds.
    fn bound_backlog(&mut self) {
        let mut all: usize = self.all.values().map(Client::backlog).sum();
        while all > MAX_BACKLOG_IN_ALL
            && let Some(client) = self.all.values_mut().max_by_key(|client| client.backlog())
        {
            all -= client.backlog();
            client.cut_off();
        }
    }

    /// Reads the requests of a client. The connection is dropped at end of file and on malformed
    /// input.
    pub(crate) fn read(&mut self, id: u32, hello: &Response) -> Vec<(u64, Request)> {
        let Some(client) = self.all.get_mut(&id) else { return Vec::new() };
        if client.closing {
            return Vec::new();
        }
        let (mut requests, mut read) = (Vec::new(), 0);
        // The event loop reads the rest in its next turn.
        while read < READ_PER_TURN && !client.closing {
            match client.fill() {
                Ok(Some(len)) => read += len,
                Ok(None) => break,
                Err(_) => {
                    if requests.is_empty() {
                        // The client is gone and needs no answer; the daemon still carries out its
                        // requests.
                        self.all.remove(&id);
                    }
                    return requests;
                }
            }
            if client.take(hello, &mut requests).is_err() {
                self.all.remove(&id);
                return Vec::new();
            }
        }
        if client.decoder.buffered() > SMALL {
            self.bound_unread();
        }
        requests
    }

    /// Queues an answer. It is lost if the client is gone.
    pub(crate) fn answer(&mut self, client: u32, id: u64, response: Response) {
        let Some(client) = self.all.get_mut(&client) else { return };
        if !matches!(response, Response::Progress(_) | Response::Happened(_) | Response::Missed(_)) {
            client.pending = client.pending.saturating_sub(1);
        }
        client.queue(&DaemonFrame { id, response }, ostler_sys::time::clock::boot_ms());
        if client.backlog() > SMALL {
            self.bound_backlog();
        }
    }

    /// Time at which [`Clients::flush`] has progress messages to send, or a client's time for hello
    /// runs out.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.all.values().flat_map(|client| [client.unhurried_until_ms, client.hello_by_ms]).flatten().min()
    }

    /// Returns the client while it is connected.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Client> {
        self.all.get_mut(&id)
    }

    /// Sends events to all subscribers. A client that does not read gets `FellBehind` as its last
    /// frame and is dropped. That frame is smaller than the backlog, and the client can fetch the
    /// missed events when it reconnects.
    pub(crate) fn publish(&mut self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        for client in self.all.values_mut().filter(|client| !client.closing) {
            let Some(id) = client.subscribed else { continue };
            for event in events {
                client.queue(&DaemonFrame { id, response: Response::Happened(event.clone()) }, 0);
            }
            if client.backlog() > MAX_FOLLOWER_BYTES {
                client.fell_behind(id);
            }
        }
        if self.all.values().any(|client| client.backlog() > SMALL) {
            self.bound_backlog();
        }
    }

    /// Subscribes a client to the messages of apps on these topics.
    pub(crate) fn listen(&mut self, client: u32, id: u64, mut topics: Vec<String>) {
        topics.truncate(MAX_TOPICS);
        if let Some(client) = self.all.get_mut(&client) {
            client.listens = Some((id, topics));
        }
    }

    /// Returns true if a client listens to this topic.
    pub(crate) fn are_listening(&self, topic: &str) -> bool {
        self.all.values().any(|client| client.topic_request(topic).is_some())
    }

    /// Passes on a message of an app. A client whose backlog is too large does not get it.
    pub(crate) fn forward(&mut self, said: &AppMessage) {
        for client in self.all.values_mut().filter(|client| !client.closing && client.backlog() < MAX_FOLLOWER_BYTES / 2) {
            if let Some(id) = client.topic_request(&said.topic) {
                client.queue(&DaemonFrame { id, response: Response::AppMessage(said.clone()) }, 0);
            }
        }
    }

    /// Sends queued bytes, as far as the sockets accept them.
    pub(crate) fn flush(&mut self, reactor: &Reactor, now_ms: u64) {
        self.all.retain(|&id, client| {
            if client.unhurried_until_ms.is_some_and(|until| until > now_ms) {
                return true;
            }
            client.unhurried_until_ms = None;
            if client.out.is_empty() {
                return !client.closing;
            }
            if client.drain().is_err() || (client.closing && client.out.is_empty()) {
                return false;
            }
            let waits = !client.out.is_empty();
            if waits != client.waits_for_room {
                client.waits_for_room = waits;
                return reactor.want_write(&client.stream, Source::Feature(super::Native::NAME, id.into()), waits).is_ok();
            }
            true
        });
    }

    /// Sends all answers with blocking writes before the daemon exits.
    pub(crate) fn flush_finally(&mut self) {
        for client in self.all.values_mut() {
            // A stuck client must not delay the exit.
            let patience = Some(std::time::Duration::from_millis(500));
            if client.stream.set_nonblocking(false).is_ok() && client.stream.set_write_timeout(patience).is_ok() {
                let _ = client.drain();
            }
        }
        self.all.clear();
    }
}
