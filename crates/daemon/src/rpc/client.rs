//! One connected client: bytes in, frames out; never blocks, never waits for a slow reader.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use ostler_proto::control::{ClientFrame, DaemonFrame, PROTOCOL, Request, Response};
use ostler_proto::frame::{Decoder, encode};

use crate::reactor::{Reactor, Source};

/// A subscriber that lets this much pile up is cut off; it can reconnect and ask for the list.
const MAX_BACKLOG_BYTES: usize = 64 << 20;

/// Clients at the same time; further ones are turned away.
const MAX_CLIENTS: usize = 1024;

/// News of a request's progress may wait so long for more of them, or for the answer: starting a hundred apps is not a hundred wake-ups of
/// the client.
const PROGRESS_MS: u64 = 10;

/// How far a client has introduced itself.
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

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    sent: usize,
    /// What is queued is news only, to be sent by then.
    unhurried_until_ms: Option<u64>,
    waits_for_room: bool,
    greeting: Greeting,
    /// No more input is read; the connection closes when everything is sent.
    closing: bool,
    /// Id of its `Subscribe` request.
    pub subscribed: Option<u64>,
    /// Who it is.
    pub uid: u32,
    /// Its pid, for the record only.
    pub pid: i32,
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
        if self.out.len() - self.sent > MAX_BACKLOG_BYTES {
            self.closing = true;
            self.out.clear();
            self.sent = 0;
            self.unhurried_until_ms = None;
            return;
        }
        self.out.extend_from_slice(&encode(frame));
    }

    /// Reads what is there. `Err` = the connection is of no further use.
    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(len) => self.decoder.push(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
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
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => continue,
                Err(error) => return Err(error),
            };
            if self.all.len() >= MAX_CLIENTS {
                return Err(io::Error::other("too many clients"));
            }
            let peer = ostler_sys::socket::peer(&stream)?;
            let uid = peer.uid;
            if uid != own_uid && uid != 0 {
                continue;
            }
            stream.set_nonblocking(true)?;
            self.next = self.next.wrapping_add(1);
            let id = self.next;
            reactor.add(&stream, Source::Client(id))?;
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
                    closing: false,
                    subscribed: None,
                    uid,
                    pid: peer.pid,
                },
            );
        }
    }

    /// Reads the requests of a client. The connection is dropped on its end and on anything malformed.
    pub(crate) fn read(&mut self, id: u32, hello: &Response) -> Vec<(u64, Request)> {
        let Some(client) = self.all.get_mut(&id) else { return Vec::new() };
        if client.closing {
            return Vec::new();
        }
        let ended = client.fill().unwrap_or(true);
        let mut requests = Vec::new();
        loop {
            match client.decoder.take::<ClientFrame>() {
                Ok(None) => break,
                Ok(Some(ClientFrame { id, request: Request::Hello { protocol, .. } })) => {
                    client.greeting = if protocol == PROTOCOL { Greeting::Same } else { Greeting::Other };
                    client.queue(&DaemonFrame { id, response: hello.clone() }, 0);
                }
                Ok(Some(frame)) if client.greeting.allows(&frame.request) => requests.push((frame.id, frame.request)),
                // It is told our version and no more.
                Ok(Some(_)) | Err(_) if client.greeting == Greeting::Other => {
                    client.closing = true;
                    return requests;
                }
                Ok(Some(_)) | Err(_) => {
                    self.all.remove(&id);
                    return Vec::new();
                }
            }
        }
        if ended && requests.is_empty() {
            // A client that went away needs no answers; what it asked for goes on.
            self.all.remove(&id);
        }
        requests
    }

    /// Queues an answer. A client that is gone misses it.
    pub(crate) fn answer(&mut self, client: u32, id: u64, response: Response) {
        if let Some(client) = self.all.get_mut(&client) {
            client.queue(&DaemonFrame { id, response }, ostler_sys::clock::boot_ms());
        }
    }

    /// When [`Clients::flush`] has news to send.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.all.values().filter_map(|client| client.unhurried_until_ms).min()
    }

    /// The client, while it is connected.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Client> {
        self.all.get_mut(&id)
    }

    /// Sends to everybody who subscribed.
    pub(crate) fn publish(&mut self, happening: &ostler_proto::control::Happening) {
        for client in self.all.values_mut() {
            if let Some(id) = client.subscribed {
                client.queue(&DaemonFrame { id, response: Response::Happened(happening.clone()) }, 0);
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
                return reactor.want_write(&client.stream, Source::Client(id), waits).is_ok();
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
