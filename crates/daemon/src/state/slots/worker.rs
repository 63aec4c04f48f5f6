//! State of a process as a cluster worker.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use ostler_core::serving::balance::Load;
use ostler_proto::node::cluster::WorkerAnswer;

/// Age difference after which an unanswered message counts as lost.
const LOST_MS: u64 = 5000;

/// Most unanswered descriptors that are remembered.
const MAX_ON_THEIR_WAY: usize = 1024;

/// Listening sockets and connections that a worker was given. The journal has the keys of its
/// sockets.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    /// Listeners whose keys the worker has.
    pub served_by: Vec<u32>,
    /// Connections that the worker was handed and has not answered, in this order.
    pub handed: VecDeque<HandedConnection>,
    /// Descriptors that the worker has not acknowledged, in this order.
    pub in_flight: VecDeque<SentDescriptor>,
    /// Connections that the worker answered and the daemon must still handle, and whether the
    /// worker serves them.
    pub answered: Vec<(HandedConnection, bool)>,
}

ostler_core::static_default!(Worker);

/// Descriptor that was sent to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SentDescriptor {
    /// A connection.
    Connection,
    /// A listening socket.
    Listener,
}

/// Connection that is on its way to a worker. When the worker accepts it, the daemon closes its
/// copy. Otherwise another worker gets it.
#[derive(Debug)]
pub(crate) struct HandedConnection {
    /// Number of the message.
    pub seq: u64,
    /// Listener that accepted the connection.
    pub listener: u32,
    /// Time of the transfer (`mono_ms`).
    pub at_ms: u64,
    /// The connection.
    pub connection: Connection,
}

/// Accepted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The daemon's copy.
    pub fd: OwnedFd,
    /// Workers that refused it.
    pub refused_by: Vec<u32>,
    /// Time before which it is not offered again.
    pub not_before_ms: u64,
    /// Client, if clients are bound to workers.
    pub client: Option<Client>,
}

/// Binding of a connection to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// The client named this instance.
    Instance(u32),
    /// The client named this instance and the incarnation of its process.
    Process(u32, u32),
    /// The client has no cookie yet. The worker that gets the connection sets one.
    New,
    /// Address of the client.
    Address(IpAddr),
}

impl From<OwnedFd> for Connection {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, refused_by: Vec::new(), not_before_ms: 0, client: None }
    }
}

impl Worker {
    /// Returns the worker's number of unanswered connections.
    pub(crate) fn load(&self) -> Load {
        Load { unanswered: self.handed.len(), since_ms: self.handed.front().map_or(0, |handed| handed.at_ms) }
    }

    /// Handles a message that may be an answer. Returns false if it concerns something else, or an
    /// earlier daemon.
    pub(crate) fn take(&mut self, answer: WorkerAnswer) -> bool {
        let was_on_its_way = !self.in_flight.is_empty();
        let (handed, accepted) = match answer {
            WorkerAnswer::Received => (self.acknowledged(true), false),
            WorkerAnswer::NotReceived => (self.acknowledged(false), false),
            WorkerAnswer::Connection { seq, accepted } => (self.take_handed(seq), accepted),
        };
        let is_about_one = handed.is_some();
        self.answered.extend(handed.map(|handed| (handed, accepted)));
        is_about_one || was_on_its_way && !matches!(answer, WorkerAnswer::Connection { .. })
    }

    /// Takes the answered connection by its number.
    fn take_handed(&mut self, seq: u64) -> Option<HandedConnection> {
        let at = self.handed.iter().position(|handed| handed.seq == seq)?;
        let answered = self.handed.remove(at)?;
        // Answers arrive in order. The answer to a much older message was lost together with an
        // earlier daemon. Even if it was not lost, our copy of the connection is useless.
        while self.handed.front().is_some_and(|first| first.seq < seq && first.at_ms + LOST_MS < answered.at_ms) {
            self.handed.pop_front();
        }
        Some(answered)
    }

    /// Records a descriptor that was sent to the worker.
    pub(crate) fn sent(&mut self, what: SentDescriptor) {
        // Only a worker that never answers, and asks repeatedly, reaches the limit.
        if self.in_flight.len() < MAX_ON_THEIR_WAY {
            self.in_flight.push_back(what);
        }
    }

    /// Handles the confirmation of the next descriptor: it arrived, or its message arrived without
    /// it. Returns the connection if it did not arrive.
    fn acknowledged(&mut self, received: bool) -> Option<HandedConnection> {
        match self.in_flight.pop_front() {
            // Everything before it was answered earlier.
            Some(SentDescriptor::Connection) if !received => self.handed.pop_front(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(handed: &[(u64, u64)]) -> Worker {
        let mut worker = Worker::default();
        for &(seq, at_ms) in handed {
            let fd = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
            worker.handed.push_back(HandedConnection { seq, listener: 0, at_ms, connection: fd.into() });
            worker.in_flight.push_back(SentDescriptor::Connection);
        }
        worker
    }

    fn left(worker: &Worker) -> Vec<u64> {
        worker.handed.iter().map(|handed| handed.seq).collect()
    }

    #[test]
    fn handed_connection_is_found_by_its_sequence_number() {
        let mut worker = worker(&[(1, 0), (2, 0), (3, 0)]);
        assert_eq!(worker.load(), Load { unanswered: 3, since_ms: 0 });
        assert_eq!(worker.take_handed(2).map(|handed| handed.seq), Some(2));
        assert!(worker.take_handed(2).is_none() && worker.take_handed(77).is_none());
        assert_eq!(left(&worker), [1, 3]);
    }

    #[test]
    fn lost_connections_leave_the_window() {
        let mut worker = worker(&[(1, 0), (2, 10), (3, LOST_MS + 5), (4, LOST_MS + 5)]);
        worker.take_handed(3);
        assert_eq!(left(&worker), [2, 4]);
    }

    #[test]
    fn rejected_handle_returns_the_right_connection() {
        let mut worker = worker(&[(1, 0), (2, 0)]);
        worker.in_flight.push_front(SentDescriptor::Listener);
        // The listening socket did not arrive, but that is not a connection.
        assert!(worker.acknowledged(false).is_none());
        assert!(worker.acknowledged(true).is_none());
        worker.take_handed(1);
        assert_eq!(worker.acknowledged(false).map(|handed| handed.seq), Some(2));
        // A message of an earlier daemon.
        assert!(worker.acknowledged(false).is_none());
    }
}
