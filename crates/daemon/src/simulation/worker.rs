//! Played process as a worker of Node's cluster. It asks for a listening socket, and is handed
//! connections or accepts them itself.

use std::collections::{BTreeSet, VecDeque};
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use ostler_testkit::Rng;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recv, recvmsg, send};
use serde_json::{Value, json};

/// State of all workers of an episode.
#[derive(Default)]
pub(super) struct Workers {
    /// Folder of their sockets; `None` if no app has workers.
    pub folder: Option<String>,
    /// Apps whose workers accept connections themselves.
    pub sharing: BTreeSet<String>,
    /// Whether the workers behave well from now on.
    pub are_good: bool,
    /// Numbers that workers were started with.
    ids: BTreeSet<u32>,
    /// Connections that a worker has accepted.
    served: BTreeSet<u64>,
    /// First broken promise that a worker noticed.
    pub broken: Option<String>,
}

impl Workers {
    /// Starts a worker with this number.
    pub(super) fn start(&mut self, app: &str, id: u32) -> Option<Worker> {
        let folder = self.folder.clone()?;
        if !self.ids.insert(id) {
            self.breaks(format!("a second worker has the number {id}: one of {app}"));
        }
        Some(Worker::new(app, &folder))
    }

    pub(super) fn shares(&self, app: &str) -> bool {
        self.sharing.contains(app)
    }

    pub(super) fn serves(&self, connection: u64) -> bool {
        self.served.contains(&connection)
    }

    fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// Records that a worker has this connection. Its client has sent its number first.
    fn serve(&mut self, app: &str, connection: &OwnedFd) {
        let mut number = [0; 8];
        let Ok((_, 8)) = recv(connection, &mut number, RecvFlags::DONTWAIT | RecvFlags::PEEK) else { return };
        let number = u64::from_ne_bytes(number);
        if !self.served.insert(number) {
            self.breaks(format!("the connection {number} was given to a second worker of {app}"));
        }
    }
}

/// Returns the path of an app's socket.
pub(super) fn path_of(folder: &str, app: &str) -> String {
    format!("{folder}/{app}.sock")
}

/// One worker.
pub(super) struct Worker {
    app: String,
    path: String,
    stage: WorkerStage,
    /// Whether it asks for a socket, in addition to other work.
    wants: bool,
    unread: Vec<u8>,
    fds: VecDeque<OwnedFd>,
    connections: Vec<OwnedFd>,
    /// Connections of probes that it was handed.
    pub probe_connections: Vec<OwnedFd>,
    last_seq: u64,
    /// Whether it ends when it is idle.
    disconnects: bool,
}

enum WorkerStage {
    Idle,
    Requested,
    /// The worker listens with this key, and with the socket itself if that is shared.
    Listens(String, Option<OwnedFd>),
}

/// Action of a worker.
pub(super) enum WorkerAction {
    Nothing,
    Did(String),
    /// The worker has disconnected and ends.
    Exits,
}

impl Worker {
    fn new(app: &str, folder: &str) -> Self {
        Self {
            app: app.into(),
            path: path_of(folder, app),
            stage: WorkerStage::Idle,
            wants: true,
            unread: Vec::new(),
            fds: VecDeque::new(),
            connections: Vec::new(),
            probe_connections: Vec::new(),
            last_seq: 0,
            disconnects: false,
        }
    }

    /// Returns the key of its server.
    pub(super) fn key(&self) -> Option<&str> {
        match &self.stage {
            WorkerStage::Listens(key, _) => Some(key),
            WorkerStage::Idle | WorkerStage::Requested => None,
        }
    }

    /// Handles one received message, or does something by itself.
    pub(super) fn act(&mut self, channel: &OwnedFd, all: &mut Workers, rng: &mut Rng) -> WorkerAction {
        self.read(channel);
        if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            return WorkerAction::Did(self.handle_message(&line, channel, all, rng));
        }
        if self.disconnects {
            return WorkerAction::Exits;
        }
        self.by_itself(channel, all, rng)
    }

    fn by_itself(&mut self, channel: &OwnedFd, all: &mut Workers, rng: &mut Rng) -> WorkerAction {
        if all.are_good {
            self.wants = true;
        } else if rng.percent(10) {
            self.wants = !self.wants;
        }
        match &self.stage {
            WorkerStage::Idle if self.wants => {
                let query = json!({"act": "queryServer", "address": self.path, "port": -1, "addressType": -1, "index": 0});
                self.stage = WorkerStage::Requested;
                WorkerAction::Did(self.send(channel, query))
            }
            WorkerStage::Listens(key, _) if !self.wants => {
                let close = json!({"act": "close", "key": key});
                self.stage = WorkerStage::Idle;
                WorkerAction::Did(self.send(channel, close))
            }
            WorkerStage::Listens(_, Some(socket)) => match rustix::net::accept(socket) {
                Ok(connection) => {
                    self.serve(connection, all);
                    WorkerAction::Did(format!("a worker of {} accepts", self.app))
                }
                Err(_) => WorkerAction::Nothing,
            },
            WorkerStage::Idle | WorkerStage::Requested | WorkerStage::Listens(..) => WorkerAction::Nothing,
        }
    }

    fn send(&mut self, channel: &OwnedFd, mut message: Value) -> String {
        self.last_seq += 1;
        message["cmd"] = "NODE_CLUSTER".into();
        message["seq"] = self.last_seq.into();
        self.send_line(channel, &message)
    }

    fn send_line(&self, channel: &OwnedFd, message: &Value) -> String {
        let sent = send(channel, format!("{message}\n").as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        format!("a worker of {} says {message}: {sent:?}", self.app)
    }

    fn read(&mut self, channel: &OwnedFd) {
        let mut buffer = [0; 4096];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let Ok(received) = recvmsg(channel, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags) else { return };
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = part {
                    self.fds.extend(fds);
                }
            }
            if received.bytes == 0 {
                return;
            }
            self.unread.extend_from_slice(&buffer[..received.bytes]);
        }
    }

    /// Handles one message.
    fn handle_message(&mut self, line: &[u8], channel: &OwnedFd, all: &mut Workers, rng: &mut Rng) -> String {
        let Ok(message) = serde_json::from_slice::<Value>(line) else { return format!("{} heard nonsense", self.app) };
        let (message, fd) = match message["cmd"].as_str() {
            Some("NODE_HANDLE") => {
                self.send_line(channel, &json!({"cmd": "NODE_HANDLE_ACK"}));
                (message["msg"].clone(), self.fds.pop_front())
            }
            _ => (message, None),
        };
        match message["act"].as_str() {
            Some("newconn") => return self.take(&message, fd, channel, all, rng),
            Some("disconnect") => self.disconnects = true,
            _ if message["key"].is_string() && matches!(self.stage, WorkerStage::Requested) => {
                let is_refused = message["errno"].as_i64().is_some_and(|errno| errno != 0);
                let key = message["key"].as_str().unwrap_or_default().to_owned();
                self.stage = if is_refused { WorkerStage::Idle } else { WorkerStage::Listens(key, fd) };
                if is_refused {
                    all.breaks(format!("a worker of {} does not get its port: {message}", self.app));
                } else {
                    self.send(channel, json!({"act": "listening", "addressType": -1, "address": self.path, "port": -1}));
                }
            }
            _ => {}
        }
        format!("a worker of {} heard {message}", self.app)
    }

    fn serve(&mut self, connection: OwnedFd, all: &mut Workers) {
        if ostler_sys::net::dial::peer(&connection).is_some() {
            return self.probe_connections.push(connection);
        }
        all.serve(&self.app, &connection);
        self.connections.push(connection);
    }

    /// Handles a connection that it was handed.
    fn take(&mut self, message: &Value, fd: Option<OwnedFd>, channel: &OwnedFd, all: &mut Workers, rng: &mut Rng) -> String {
        let is_its_own = self.key().is_some_and(|key| message["key"] == key);
        let accepted = is_its_own && fd.is_some() && !self.disconnects && (all.are_good || rng.percent(70));
        let answer = json!({"cmd": "NODE_CLUSTER", "ack": message["seq"], "accepted": accepted});
        if let Some(connection) = fd.filter(|_| accepted) {
            self.serve(connection, all);
        }
        self.send_line(channel, &answer)
    }
}

/// Clients of all apps.
#[derive(Default)]
pub(super) struct Clients {
    open: VecDeque<UnixStream>,
    last: u64,
}

impl Clients {
    /// Most clients that stay connected.
    const MOST: usize = 50;

    /// Connects one more client, which sends its number. Returns `None` if no process listens.
    pub(super) fn connect(&mut self, path: &str) -> Option<u64> {
        let mut stream = UnixStream::connect(path).ok()?;
        self.last += 1;
        stream.write_all(&self.last.to_ne_bytes()).ok()?;
        self.open.push_back(stream);
        if self.open.len() > Self::MOST {
            self.open.pop_front();
        }
        Some(self.last)
    }
}
