//! Requests that a process has not answered, by what the kernel knows of its connections: who is asked to end before that loses them.
//!
//! Of each connection counts what was under way when it was seen first. What a client asks later on a kept connection is the server's affair: under load
//! that would never end.

use std::collections::BTreeMap;

/// Time for which a client that has only connected is waited for.
const SILENT_MS: u64 = 1000;
/// Time for which a connection is waited for that has had an answer, or a part of it: it may be one that never rests (a WebSocket, a stream of events).
const KEPT_MS: u64 = 5000;

/// A connection of the process, at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Number that no other connection has.
    pub id: u64,
    /// Bytes that its client has sent.
    pub asked: u64,
    /// Pieces of answers that were sent.
    pub answers: u32,
    /// Whether the last word is the client's.
    pub asks: bool,
    /// Whether a part of an answer has not arrived yet.
    pub unsent: bool,
}

/// Connections that were seen, and what is still owed on each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unanswered {
    known: BTreeMap<u64, Owed>,
}

/// What is owed on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// Nothing, or it is not of this process.
    Nothing,
    /// Its client has connected, and said nothing yet.
    Silent { until_ms: u64 },
    /// The answer to its first request.
    First,
    /// An answer, after so many pieces of others.
    Again { until_ms: u64, answers: u32 },
    /// The rest of an answer: it is over at a look that shows no more of it, or another request.
    Rest { until_ms: u64, asked: u64, answers: u32 },
}

impl Unanswered {
    /// Takes a look: all connections that are open, and whose they are (asked for new ones only). The number of requests that are waited for.
    pub fn seen(&mut self, connections: &[Connection], is_own: impl Fn(u64) -> bool, now_ms: u64) -> usize {
        let before = std::mem::take(&mut self.known);
        for connection in connections {
            let owed = match before.get(&connection.id) {
                Some(owed) => owed.after(connection, now_ms),
                None if is_own(connection.id) => Owed::at_first(connection, now_ms),
                None => Owed::Nothing,
            };
            self.known.insert(connection.id, owed);
        }
        self.known.values().filter(|owed| owed.is_due(now_ms)).count()
    }

    /// True if this connection was seen at the last look.
    pub fn knows(&self, id: u64) -> bool {
        self.known.contains_key(&id)
    }
}

impl Owed {
    fn at_first(seen: &Connection, now_ms: u64) -> Self {
        let until_ms = now_ms.saturating_add(KEPT_MS);
        match (seen.asked, seen.answers) {
            (0, 0) => Self::Silent { until_ms: now_ms.saturating_add(SILENT_MS) },
            (_, 0) => Self::First,
            (_, answers) if seen.asks => Self::Again { until_ms, answers },
            (asked, answers) => Self::Rest { until_ms, asked, answers },
        }
    }

    fn after(self, seen: &Connection, now_ms: u64) -> Self {
        let until_ms = now_ms.saturating_add(KEPT_MS);
        let rest = |until_ms| Self::Rest { until_ms, asked: seen.asked, answers: seen.answers };
        match self {
            Self::Silent { .. } if seen.answers > 0 => rest(until_ms),
            Self::Silent { .. } if seen.asked > 0 => Self::First,
            Self::First if seen.answers > 0 => rest(until_ms),
            Self::Again { until_ms, answers } if seen.answers > answers => rest(until_ms),
            Self::Rest { asked, .. } if seen.asked > asked => Self::Nothing,
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

/// Words for requests that are cut, which follow the name of the app.
pub fn still_under_way(requests: u32, drain_ms: u64) -> String {
    let were = if requests == 1 { "request was" } else { "requests were" };
    format!("{requests} {were} still in flight after drain_timeout ({drain_ms} ms)")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection by its numbers: bytes asked, pieces answered.
    fn at(asked: u64, answers: u32) -> Connection {
        Connection { id: 1, asked, answers, asks: false, unsent: false }
    }

    fn asks(asked: u64, answers: u32) -> Connection {
        Connection { asks: true, ..at(asked, answers) }
    }

    fn unsent(asked: u64, answers: u32) -> Connection {
        Connection { unsent: true, ..at(asked, answers) }
    }

    #[test]
    fn requests_are_waited_for_until_answered_or_timed_out() {
        for (looks, expected) in [
            // A request, its answer, and a look that shows no more of it.
            (&[(asks(9, 0), 0), (asks(9, 0), 25_000), (at(9, 1), 25_050), (at(9, 1), 25_100)][..], &[1, 1, 1, 0][..]),
            // One whose body is still coming.
            (&[(asks(9, 0), 0), (asks(900, 0), 50), (at(999, 1), 100), (at(999, 1), 150)], &[1, 1, 1, 0]),
            // An answer in pieces; the last of it has to arrive.
            (&[(asks(9, 0), 0), (at(9, 1), 50), (at(9, 7), 100), (unsent(9, 7), 150), (at(9, 7), 200)], &[1, 1, 1, 1, 0]),
            // The next request on the same connection is not waited for.
            (&[(asks(9, 0), 0), (asks(18, 1), 50), (asks(27, 2), 100)], &[1, 1, 0]),
            (&[(at(9, 3), 0), (at(9, 3), 50), (asks(18, 3), 100)], &[1, 0, 0]),
            (&[(asks(9, 3), 0), (asks(9, 3), 4999), (asks(9, 3), 5000)], &[1, 1, 0]),
            (&[(asks(9, 3), 0), (at(9, 4), 50), (at(9, 4), 100)], &[1, 1, 0]),
            // A stream of events, and a client that reads nothing.
            (&[(at(9, 30), 0), (at(9, 33), 2500), (at(9, 36), 4999), (at(9, 39), 5000)], &[1, 1, 1, 0]),
            (&[(unsent(9, 3), 0), (unsent(9, 3), 4999), (unsent(9, 3), 5000)], &[1, 1, 0]),
            // Who connected only is waited for a moment; with a request it counts as any.
            (&[(at(0, 0), 0), (at(0, 0), 999), (at(0, 0), 1000)], &[1, 1, 0]),
            (
                &[(at(0, 0), 0), (at(0, 0), 1000), (asks(9, 0), 1050), (asks(9, 0), 9000), (at(9, 1), 9050), (at(9, 1), 9100)],
                &[1, 0, 1, 1, 1, 0],
            ),
            (&[(at(0, 0), 0), (at(9, 1), 500), (at(9, 1), 550)], &[1, 1, 0]),
        ] {
            let mut unanswered = Unanswered::default();
            let seen: Vec<usize> = looks.iter().map(|(seen, now_ms)| unanswered.seen(&[*seen], |_| true, *now_ms)).collect();
            assert_eq!(seen, expected, "{looks:?}");
        }
    }

    #[test]
    fn only_open_connections_of_the_process_count() {
        let mut unanswered = Unanswered::default();
        let two = [asks(9, 0), Connection { id: 2, ..asks(9, 0) }];
        assert_eq!(unanswered.seen(&two, |id| id == 1, 0), 1);
        assert!(unanswered.knows(2));
        assert_eq!(unanswered.seen(&two[1..], |_| panic!("it is known whose it is"), 50), 0);
        assert!(!unanswered.knows(1), "it was closed");
    }
}
