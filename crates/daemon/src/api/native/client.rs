//! One connected client: bytes in, frames out; never blocks, never waits for a slow reader.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use ostler_proto::control::{ClientFrame, DaemonFrame, Failure, MAX_ON_BEHALF_OF, PROTOCOL, Request, Response, Said};
use ostler_proto::event::Event;
use ostler_proto::frame::{Decoder, encode};

use crate::engine::PM2_CLIENT;
use crate::platform::reactor::{Reactor, Source};

/// Most bytes that pile up for a subscriber; then it is cut off; it can reconnect and ask for the list.
const MAX_BACKLOG_BYTES: usize = 64 << 20;

/// Most bytes that pile up for a follower; then it is dropped: more than what is kept for it to come back to (`store::events`), with its frames.
const MAX_FOLLOWER_BYTES: usize = 128 << 10;

/// Most topics that a client listens to.
const MAX_TOPICS: usize = 16;

/// Most bytes of answers that wait in all connections together: beyond that the slowest reader is cut off.
const MAX_BACKLOG_IN_ALL: usize = 256 << 20;

/// Most clients at the same time. Whoever comes when all places are taken gets that of the one that needs it least.
const MAX_CLIENTS: usize = 1024;

/// Clients taken at once; what they ask has its turn before the next ones.
const ACCEPTED_PER_TURN: usize = 64;

/// Most bytes before hello: enough for it, whatever comes with it.
const MAX_BEFORE_HELLO: usize = 64 << 10;
const HELLO_WITHIN_MS: u64 = 5_000;

/// Largest request: some ten thousand apps in one file.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// Most bytes of requests that are not there as a whole, of all connections together: beyond that the largest is given up.
const MAX_UNREAD_IN_ALL: usize = 128 << 20;

/// Size of one connection below which it is not worth adding all up.
const SMALL: usize = 64 << 10;

/// Most bytes read of one connection before others have their turn.
const READ_PER_TURN: usize = 1 << 20;

/// Longest wait of news about a request's progress for more of them, or for the answer: starting a hundred apps is not a hundred wake-ups of
/// the client.
const PROGRESS_MS: u64 = 10;

/// State of a client's introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    None,
    /// It speaks as we do.
    Same,
    /// It speaks another version: the few requests that are the same in all of them.
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

/// Claim of a client to its place, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// It has not sent hello.
    Unknown,
    /// It has had all its answers.
    Idle,
    /// It follows events; it can come back.
    Follows,
    /// It waits for an answer.
    Waits,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    sent: usize,
    /// Time by which the queue is sent, which has news only.
    unhurried_until_ms: Option<u64>,
    waits_for_room: bool,
    greeting: Greeting,
    /// Whether it declared with hello that it changes nothing. Not taken back.
    read_only: bool,
    /// Time at which it is closed without a hello.
    hello_by_ms: Option<u64>,
    /// Number of requests without a final answer.
    pending: u32,
    /// Whether no more input is read; the connection closes when everything is sent.
    closing: bool,
    /// Id of its `Subscribe` request.
    pub subscribed: Option<u64>,
    /// Id of its `Listen` request, and the topics.
    listens: Option<(u64, Vec<String>)>,
    /// Its user.
    pub uid: u32,
    /// Its pid, for the record only.
    pub pid: i32,
    /// Person for whom it asks, as it says, for the record only.
    pub on_behalf_of: Option<Box<str>>,
}

impl Client {
    /// Queues a frame. News may wait if nothing else is queued, and nothing waits longer for them.
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

    /// Bytes that it has not read.
    fn backlog(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Id under which it hears this topic.
    fn hears(&self, topic: &str) -> Option<u64> {
        self.listens.as_ref().filter(|(_, topics)| topics.iter().any(|wanted| wanted == topic)).map(|(id, _)| *id)
    }

    /// Drops it: it does not read events. That is the last frame it gets, after the one that it has begun to get.
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

    /// Cuts it off: it does not read, so nothing more is kept for it.
    fn cut_off(&mut self) {
        self.closing = true;
        self.out = Vec::new();
        self.sent = 0;
        self.unhurried_until_ms = None;
    }

    /// Reads one piece of what is there; `None` = nothing more now.
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

    /// Takes the requests that are whole. `Err` = the connection is of no further use.
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
                // It gets our version and no more.
                Ok(Some(_)) | Err(_) if self.greeting == Greeting::Other => {
                    self.closing = true;
                    return Ok(());
                }
                Ok(Some(_)) | Err(_) => return Err(()),
            }
        }
        let most = if self.greeting == Greeting::None { MAX_BEFORE_HELLO } else { MAX_REQUEST_BYTES };
        // What is announced is believed before it is there.
        if self.decoder.announced().is_some_and(|len| len > most) { Err(()) } else { Ok(()) }
    }

    /// Its claim to its place.
    fn claim(&self) -> Claim {
        match self.greeting {
            Greeting::None => Claim::Unknown,
            _ if self.subscribed.is_some() || self.listens.is_some() => Claim::Follows,
            _ if self.pending > 0 => Claim::Waits,
            _ => Claim::Idle,
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
    /// Takes everybody who waits at the door. Another user's process (root excepted) is turned away without a word.
    pub(crate) fn accept(&mut self, listener: &UnixListener, reactor: &Reactor, own_uid: u32) -> io::Result<()> {
        for _ in 0..ACCEPTED_PER_TURN {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => continue,
                Err(error) => return Err(error),
            };
            // One that is gone already has no owner.
            let Ok(peer) = ostler_sys::net::socket::peer(&stream) else { continue };
            let uid = peer.uid;
            if uid != own_uid && uid != 0 {
                continue;
            }
            if self.all.len() >= MAX_CLIENTS {
                self.free_a_place();
            }
            stream.set_nonblocking(true)?;
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

    /// Gives up the largest unfinished requests until the rest is within bounds.
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

    /// Reads the requests of a client. The connection is dropped on its end and on anything malformed.
    pub(crate) fn read(&mut self, id: u32, hello: &Response) -> Vec<(u64, Request)> {
        let Some(client) = self.all.get_mut(&id) else { return Vec::new() };
        if client.closing {
            return Vec::new();
        }
        let (mut requests, mut read) = (Vec::new(), 0);
        // The rest comes with the next turn.
        while read < READ_PER_TURN && !client.closing {
            match client.fill() {
                Ok(Some(len)) => read += len,
                Ok(None) => break,
                Err(_) => {
                    if requests.is_empty() {
                        // A client that went away needs no answers; what it asked for goes on.
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

    /// Queues an answer. A client that is gone misses it.
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

    /// Time at which [`Clients::flush`] has news to send.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.all.values().flat_map(|client| [client.unhurried_until_ms, client.hello_by_ms]).flatten().min()
    }

    /// The client, while it is connected.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Client> {
        self.all.get_mut(&id)
    }

    /// Sends to everybody who subscribed. Who does not read gets that as a last frame and is dropped: that costs less than what waits for it, and what it misses
    /// is there when it comes back.
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

    /// Has a client hear what apps say on these topics.
    pub(crate) fn listen(&mut self, client: u32, id: u64, mut topics: Vec<String>) {
        topics.truncate(MAX_TOPICS);
        if let Some(client) = self.all.get_mut(&client) {
            client.listens = Some((id, topics));
        }
    }

    /// True if somebody wants to hear this topic.
    pub(crate) fn are_listening(&self, topic: &str) -> bool {
        self.all.values().any(|client| client.hears(topic).is_some())
    }

    /// Passes on what an app said. Whoever has too much to read already does not get it.
    pub(crate) fn tell(&mut self, said: &Said) {
        for client in self.all.values_mut().filter(|client| !client.closing && client.backlog() < MAX_FOLLOWER_BYTES / 2) {
            if let Some(id) = client.hears(&said.topic) {
                client.queue(&DaemonFrame { id, response: Response::Said(said.clone()) }, 0);
            }
        }
    }

    /// Sends what is queued, as far as the sockets take it.
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

    /// Before the daemon ends: gives every answer a last chance, with blocking writes.
    pub(crate) fn flush_finally(&mut self) {
        for client in self.all.values_mut() {
            // A stuck client must not hold up the end.
            let patience = Some(std::time::Duration::from_millis(500));
            if client.stream.set_nonblocking(false).is_ok() && client.stream.set_write_timeout(patience).is_ok() {
                let _ = client.drain();
            }
        }
        self.all.clear();
    }
}
