//! Requests that a process has not answered, from the kernel's data about its connections. A stop
//! before the answer would lose them.
//!
//! On each connection, only the request that was pending at the first check counts. Later requests
//! on a keep-alive connection are left to the server, because under load they would never end.

use std::collections::BTreeMap;

/// Time for which the drain waits for a client that has only connected.
const SILENT_MS: u64 = 1000;
/// Time for which the drain waits for a connection with a complete or partial answer: it may never
/// be idle (a WebSocket, a stream of events).
const KEPT_MS: u64 = 5000;

/// A connection of the process at one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Unique number of the connection.
    pub id: u64,
    /// Bytes that its client has sent.
    pub received: u64,
    /// Number of answer segments that were sent.
    pub answers: u32,
    /// Whether the client sent the last data.
    pub client_sent_last: bool,
    /// Whether a part of an answer has not reached the client yet.
    pub unsent: bool,
}

/// Connections that were found, and the answer that is still owed on each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unanswered {
    connections: BTreeMap<u64, PendingResponse>,
}

/// Answer that is owed on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PendingResponse {
    /// No answer, or the connection belongs to another process.
    Nothing,
    /// Its client has connected but has sent no data yet.
    Silent { until_ms: u64 },
    /// The answer to its first request.
    First,
    /// An answer, after this many segments of earlier answers.
    Again { until_ms: u64, answers: u32 },
    /// The rest of an answer. It is complete when a check shows no further data, or another
    /// request.
    Rest { until_ms: u64, asked: u64, answers: u32 },
}

impl Unanswered {
    /// Takes the open connections at one check; `is_own` tests only new connections. Returns the
    /// number of requests to wait for.
    pub fn update(&mut self, connections: &[Connection], is_own: impl Fn(u64) -> bool, now_ms: u64) -> usize {
        let before = std::mem::take(&mut self.connections);
        for connection in connections {
            let pending = match before.get(&connection.id) {
                Some(owed) => owed.after(connection, now_ms),
                None if is_own(connection.id) => PendingResponse::at_first(connection, now_ms),
                None => PendingResponse::Nothing,
            };
            self.connections.insert(connection.id, pending);
        }
        self.connections.values().filter(|owed| owed.is_due(now_ms)).count()
    }

    /// Returns true if this connection was found at the last check.
    pub fn contains(&self, id: u64) -> bool {
        self.connections.contains_key(&id)
    }
}

impl PendingResponse {
    fn at_first(seen: &Connection, now_ms: u64) -> Self {
        let until_ms = now_ms.saturating_add(KEPT_MS);
        match (seen.received, seen.answers) {
            (0, 0) => Self::Silent { until_ms: now_ms.saturating_add(SILENT_MS) },
            (_, 0) => Self::First,
            (_, answers) if seen.client_sent_last => Self::Again { until_ms, answers },
            (asked, answers) => Self::Rest { until_ms, asked, answers },
        }
    }

    fn after(self, seen: &Connection, now_ms: u64) -> Self {
        let until_ms = now_ms.saturating_add(KEPT_MS);
        let rest = |until_ms| Self::Rest { until_ms, asked: seen.received, answers: seen.answers };
        match self {
            Self::Silent { .. } if seen.answers > 0 => rest(until_ms),
            Self::Silent { .. } if seen.received > 0 => Self::First,
            Self::First if seen.answers > 0 => rest(until_ms),
            Self::Again { until_ms, answers } if seen.answers > answers => rest(until_ms),
            Self::Rest { asked, .. } if seen.received > asked => Self::Nothing,
            Self::Rest { answers, .. } if seen.answers == answers && !seen.unsent => Self::Nothing,
            Self::Rest { until_ms, .. } => rest(until_ms),
            same => same,
        }
    }

    fn is_due(self, now_ms: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::First => true,
            Self::Silent { until_ms } | Self::Again { until_ms, .. } | Self::Rest { until_ms, .. } => now_ms < until_ms,
        }
    }
}

/// Returns the message about requests that are cut off, in words that follow the name of the app.
pub fn cut_warning(requests: u32, drain_ms: u64) -> String {
    let were = if requests == 1 { "request was" } else { "requests were" };
    format!("{requests} {were} still in flight after drain_timeout ({drain_ms} ms)")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a connection with these numbers: bytes of requests, segments of answers.
    fn at(asked: u64, answers: u32) -> Connection {
        Connection { id: 1, received: asked, answers, client_sent_last: false, unsent: false }
    }

    fn asks(asked: u64, answers: u32) -> Connection {
        Connection { client_sent_last: true, ..at(asked, answers) }
    }

    fn unsent(asked: u64, answers: u32) -> Connection {
        Connection { unsent: true, ..at(asked, answers) }
    }

    #[test]
    fn requests_are_waited_for_until_answered_or_timed_out() {
        for (looks, expected) in [
            // A request, its answer, and a check without further data.
            (&[(asks(9, 0), 0), (asks(9, 0), 25_000), (at(9, 1), 25_050), (at(9, 1), 25_100)][..], &[1, 1, 1, 0][..]),
            // A request whose body is still arriving.
            (&[(asks(9, 0), 0), (asks(900, 0), 50), (at(999, 1), 100), (at(999, 1), 150)], &[1, 1, 1, 0]),
            // An answer in several segments; the last one has to arrive.
            (&[(asks(9, 0), 0), (at(9, 1), 50), (at(9, 7), 100), (unsent(9, 7), 150), (at(9, 7), 200)], &[1, 1, 1, 1, 0]),
            // The drain does not wait for the next request on the same connection.
            (&[(asks(9, 0), 0), (asks(18, 1), 50), (asks(27, 2), 100)], &[1, 1, 0]),
            (&[(at(9, 3), 0), (at(9, 3), 50), (asks(18, 3), 100)], &[1, 0, 0]),
            (&[(asks(9, 3), 0), (asks(9, 3), 4999), (asks(9, 3), 5000)], &[1, 1, 0]),
            (&[(asks(9, 3), 0), (at(9, 4), 50), (at(9, 4), 100)], &[1, 1, 0]),
            // A stream of events, and a client that reads nothing.
            (&[(at(9, 30), 0), (at(9, 33), 2500), (at(9, 36), 4999), (at(9, 39), 5000)], &[1, 1, 1, 0]),
            (&[(unsent(9, 3), 0), (unsent(9, 3), 4999), (unsent(9, 3), 5000)], &[1, 1, 0]),
            // The drain waits briefly for a client that has only connected; with a request, the
            // client counts like any other.
            (&[(at(0, 0), 0), (at(0, 0), 999), (at(0, 0), 1000)], &[1, 1, 0]),
            (
                &[(at(0, 0), 0), (at(0, 0), 1000), (asks(9, 0), 1050), (asks(9, 0), 9000), (at(9, 1), 9050), (at(9, 1), 9100)],
                &[1, 0, 1, 1, 1, 0],
            ),
            (&[(at(0, 0), 0), (at(9, 1), 500), (at(9, 1), 550)], &[1, 1, 0]),
        ] {
            let mut unanswered = Unanswered::default();
            let seen: Vec<usize> = looks.iter().map(|(seen, now_ms)| unanswered.update(&[*seen], |_| true, *now_ms)).collect();
            assert_eq!(seen, expected, "{looks:?}");
        }
    }

    #[test]
    fn only_open_connections_of_the_process_count() {
        let mut unanswered = Unanswered::default();
        let two = [asks(9, 0), Connection { id: 2, ..asks(9, 0) }];
        assert_eq!(unanswered.update(&two, |id| id == 1, 0), 1);
        assert!(unanswered.contains(2));
        assert_eq!(unanswered.update(&two[1..], |_| panic!("it is known whose it is"), 50), 0);
        assert!(!unanswered.contains(1), "it was closed");
    }
}
