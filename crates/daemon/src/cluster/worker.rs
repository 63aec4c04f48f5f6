//! What a process is as a cluster worker.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use ostler_core::balance::Load;

/// A worker's part in the listening sockets of its app.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    /// `cluster.worker.id`; 0 = none yet.
    pub id: u32,
    /// Keys of the listening sockets that it holds itself.
    pub listening: Vec<String>,
    /// Keys of the listening sockets whose connections it is handed.
    pub served: Vec<String>,
    /// The listeners of these keys.
    pub served_by: Vec<u32>,
    /// What it was handed and has not answered, in this order.
    pub handed: VecDeque<Handed>,
}

/// A connection that is on its way to a worker. It is closed here when the worker said that it has it, and goes to another one when it
/// did not.
#[derive(Debug)]
pub(crate) struct Handed {
    /// Number of the message.
    pub seq: u64,
    /// Listener it came from.
    pub listener: u32,
    /// When (`mono_ms`).
    pub at_ms: u64,
    /// The connection.
    pub connection: Connection,
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Our copy.
    pub fd: OwnedFd,
    /// Workers that did not want it.
    pub refused_by: Vec<u32>,
    /// It is not offered again before this time.
    pub not_before_ms: u64,
    /// To whom it belongs, where clients belong to somebody.
    pub client: Option<Client>,
}

/// What binds a connection to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// It named this instance; else its address counts.
    Instance(u32, IpAddr),
    /// Where it comes from.
    Address(IpAddr),
}

impl From<OwnedFd> for Connection {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, refused_by: Vec::new(), not_before_ms: 0, client: None }
    }
}

impl Worker {
    /// As the journal knows it.
    pub(crate) fn restored(id: u32, listening: Vec<String>, served: Vec<String>) -> Self {
        Self { id, listening, served, ..Self::default() }
    }

    /// It holds no listening socket in either way.
    pub(crate) fn never_listened(&self) -> bool {
        self.listening.is_empty() && self.served.is_empty()
    }

    /// What it has not answered yet.
    pub(crate) fn load(&self) -> Load {
        Load { unanswered: self.handed.len(), since_ms: self.handed.front().map_or(0, |handed| handed.at_ms) }
    }

    /// Whether it holds that key in either way. Twice the same in one worker is an assertion in Node: it would die.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.listening.iter().chain(&self.served).any(|held| held == key)
    }

    /// Takes what was answered by its number.
    pub(crate) fn answered(&mut self, seq: u64) -> Option<Handed> {
        let at = self.handed.iter().position(|handed| handed.seq == seq)?;
        self.handed.remove(at)
    }
}
