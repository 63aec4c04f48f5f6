//! User of an episode: connections to the native socket, and the requested state of each app.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_proto::control::{ClientFrame, DaemonFrame, PROTOCOL, Request, Response};
use ostler_proto::frame::{Decoder, encode};

use super::apps::UserCommand;

/// Wanted state of an app, as far as its user can know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Intent {
    /// A request had no answer, or several were open at once.
    #[default]
    Unknown,
    Up,
    Down,
    Gone,
}

/// Connection with one request.
struct Client {
    stream: UnixStream,
    decoder: Decoder,
    app: String,
    command: UserCommand,
    newest_pid: i32,
}

/// Answer to a request.
pub(super) struct Answer {
    pub app: String,
    pub command: UserCommand,
    pub outcome: Outcome,
    /// Whether no other request for the app was open at that time.
    pub is_certain: bool,
    /// Newest process when the request was sent.
    pub newest_pid: i32,
}

/// Result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed,
    /// The connection ended without an answer.
    Lost,
}

#[derive(Debug, Default)]
struct KnownIntent {
    intent: Intent,
    open_requests: usize,
    /// Whether several requests were open at once since the state was known.
    is_muddled: bool,
}

/// User with all requests.
#[derive(Default)]
pub(super) struct User {
    clients: Vec<Client>,
    intents: BTreeMap<String, KnownIntent>,
}

impl User {
    /// Sends a request. Returns false if no daemon listens.
    pub(super) fn send_request(&mut self, socket: &Path, spec: &AppSpec, command: UserCommand, newest_pid: i32) -> bool {
        let Ok(mut stream) = UnixStream::connect(socket) else { return false };
        stream.set_nonblocking(true).unwrap();
        let hello = Request::Hello { protocol: PROTOCOL, version: "0".into(), read_only: false, on_behalf_of: None };
        for (id, request) in [(0, hello), (1, command.request(spec))] {
            if stream.write_all(&encode(&ClientFrame { id, request })).is_err() {
                return false;
            }
        }
        let known = self.intents.entry(spec.name.clone()).or_default();
        known.is_muddled |= known.open_requests > 0;
        known.open_requests += 1;
        // The state is unknown until the request is answered.
        known.intent = Intent::Unknown;
        self.clients.push(Client { stream, decoder: Decoder::default(), app: spec.name.clone(), command, newest_pid });
        true
    }

    pub(super) fn waits(&self) -> bool {
        !self.clients.is_empty()
    }

    pub(super) fn waits_for(&self, app: &str) -> bool {
        self.clients.iter().any(|client| client.app == app)
    }

    pub(super) fn describe(&self) -> String {
        let each: Vec<String> = self.clients.iter().map(|client| format!("{:?} {}", client.command, client.app)).collect();
        each.join(", ")
    }

    /// Reads the answers of finished requests.
    pub(super) fn read(&mut self) -> Vec<Answer> {
        let mut ended = Vec::new();
        self.clients.retain_mut(|client| match client.read() {
            Some(outcome) => {
                ended.push((client.app.clone(), client.command, outcome, client.newest_pid));
                false
            }
            None => true,
        });
        ended.into_iter().map(|(app, command, outcome, newest_pid)| self.note(app, command, outcome, newest_pid)).collect()
    }

    fn note(&mut self, app: String, command: UserCommand, outcome: Outcome, newest_pid: i32) -> Answer {
        let known = self.intents.entry(app.clone()).or_default();
        known.open_requests -= 1;
        let is_certain = !known.is_muddled && known.open_requests == 0;
        known.intent = match (outcome, command) {
            (Outcome::Done, UserCommand::Start | UserCommand::Restart | UserCommand::RestartWatch) if is_certain => Intent::Up,
            (Outcome::Done, UserCommand::Stop | UserCommand::StopWatch) if is_certain => Intent::Down,
            (Outcome::Done, UserCommand::Delete) if is_certain => Intent::Gone,
            _ => Intent::Unknown,
        };
        if known.open_requests == 0 {
            known.is_muddled = false;
        }
        Answer { app, command, outcome, is_certain, newest_pid }
    }

    pub(super) fn intents(&self) -> impl Iterator<Item = (&str, Intent)> {
        self.intents.iter().map(|(app, known)| (app.as_str(), known.intent))
    }
}

impl Client {
    fn read(&mut self) -> Option<Outcome> {
        let mut buffer = [0; 16 << 10];
        let ended = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(len) => self.decoder.push(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
        };
        while let Ok(Some(DaemonFrame { id, response })) = self.decoder.take() {
            match response {
                Response::Done { .. } if id == 1 => return Some(Outcome::Done),
                Response::Failed(_) => return Some(Outcome::Failed),
                _ => {}
            }
        }
        ended.then_some(Outcome::Lost)
    }
}
