//! File format of the outbox: state and messages in appended records. Each record is either
//! complete or absent.
//!
//! ```text
//! ostler-alerts 1
//! 5f2a91c3 {"state":{…},"messages":[{…}]}
//! 01d3f7aa {"done":{"id":"00ab-1"}}
//! ```
//! A record holds the state after a step and the messages that the step created. No message is
//! therefore created twice or lost, whenever the process dies.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::engine::{AlertChange, EngineState};
use crate::message::Message;

/// First line of the file.
pub const HEAD: &str = "ostler-alerts 1\n";
/// Maximum number of waiting messages per channel. Beyond it, the oldest messages are dropped and
/// counted.
pub const MOST_WAITING: usize = 100;
/// Maximum number of changes that are kept.
pub const MOST_HISTORY: usize = 500;

/// Record of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalRecord {
    /// The state after a step.
    Step {
        /// The whole state.
        state: Box<EngineState>,
        /// Messages to send.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        messages: Vec<Message>,
        /// Alerts that began or ended.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changes: Vec<AlertChange>,
    },
    /// A message is finished.
    Done {
        /// Its id.
        id: String,
        /// The error if the message was dropped; none = it was delivered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
        /// When, in ms since 1970.
        at: u64,
    },
    /// A message that was already finished when the file was rewritten.
    Sent(FinishedMessage),
}

/// Finished message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinishedMessage {
    /// Its id.
    pub id: String,
    /// The channel.
    pub channel: String,
    /// When, in ms since 1970.
    pub at: u64,
    /// Its first line.
    pub title: String,
    /// Why it was not delivered; none = it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Contents of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboxContents {
    /// The last state; none = no step was recorded.
    pub state: Option<EngineState>,
    /// Unfinished messages, the oldest first.
    pub waiting: VecDeque<Message>,
    /// Alerts that began or ended, the newest last.
    pub changes: VecDeque<AlertChange>,
    /// Finished messages, the newest last.
    pub sent: VecDeque<FinishedMessage>,
    /// Messages that were dropped because too many waited.
    pub dropped: u64,
}

/// Damage to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalDamage {
    /// The file has another version or another format; nothing was read.
    Unknown,
    /// The rest of the file is damaged.
    Torn {
        /// Number of intact bytes.
        good: usize,
    },
}

impl OutboxContents {
    /// Reads a file.
    pub fn read(bytes: &[u8]) -> (Self, Option<JournalDamage>) {
        let mut book = Self::default();
        if bytes.is_empty() {
            return (book, None);
        }
        let Some(mut rest) = bytes.strip_prefix(HEAD.as_bytes()) else {
            // The file contains only a part of the first line: the write was interrupted there.
            let fault = if HEAD.as_bytes().starts_with(bytes) { JournalDamage::Torn { good: 0 } } else { JournalDamage::Unknown };
            return (book, Some(fault));
        };
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let Some(record) = end.and_then(|end| decode(&rest[..end])) else {
                return (book, Some(JournalDamage::Torn { good: bytes.len() - rest.len() }));
            };
            book.apply(record);
            rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
        }
        (book, None)
    }

    /// Applies a record that is on disk.
    pub fn apply(&mut self, record: JournalRecord) {
        match record {
            JournalRecord::Step { state, messages, changes } => {
                self.state = Some(*state);
                self.waiting.extend(messages);
                self.changes.extend(changes);
            }
            JournalRecord::Sent(sent) => self.sent.push_back(sent),
            JournalRecord::Done { id, fault, at } => {
                let Some(index) = self.waiting.iter().position(|message| message.id == id) else { return };
                let Some(message) = self.waiting.remove(index) else { return };
                self.sent.push_back(FinishedMessage { id, channel: message.channel.clone(), at, title: message.title(), fault });
            }
        }
        self.trim();
    }

    fn trim(&mut self) {
        let excess = self.changes.len().saturating_sub(MOST_HISTORY);
        self.changes.drain(..excess);
        let excess = self.sent.len().saturating_sub(MOST_HISTORY);
        self.sent.drain(..excess);
        while let Some(index) = self.crowded() {
            self.waiting.remove(index);
            self.dropped += 1;
        }
    }

    /// Returns the index of the oldest message of a channel with too many waiting messages.
    fn crowded(&self) -> Option<usize> {
        if self.waiting.len() <= MOST_WAITING {
            return None;
        }
        let of = |channel: &str| self.waiting.iter().filter(|message| message.channel == channel).count();
        self.waiting.iter().position(|message| of(&message.channel) > MOST_WAITING)
    }

    /// Returns the contents as a new file.
    pub fn write(&self) -> Vec<u8> {
        let mut out = HEAD.as_bytes().to_vec();
        let state = self.state.clone().unwrap_or_default();
        let changes = self.changes.iter().cloned().collect();
        let messages = self.waiting.iter().cloned().collect();
        out.extend(encode(&JournalRecord::Step { state: Box::new(state), messages, changes }));
        for sent in &self.sent {
            out.extend(encode(&JournalRecord::Sent(sent.clone())));
        }
        out
    }
}

/// Encodes a record as a line.
pub fn encode(record: &JournalRecord) -> Vec<u8> {
    let body = serde_json::to_vec(record).unwrap_or_default();
    let mut line = format!("{:08x} ", crc32fast::hash(&body)).into_bytes();
    line.extend(body);
    line.push(b'\n');
    line
}

fn decode(line: &[u8]) -> Option<JournalRecord> {
    let (sum, body) = (line.get(..8)?, line.get(9..)?);
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (line[8] == b' ' && sum == crc32fast::hash(body)).then(|| serde_json::from_slice(body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records() -> Vec<JournalRecord> {
        let message = |n: u64| Message::test("ops", "box", format!("1-{n}"), n);
        let step = |n: u64| JournalRecord::Step {
            state: Box::new(EngineState::new(n)),
            messages: vec![message(n), message(n + 100)],
            changes: vec![],
        };
        let done = |n: u64, fault: Option<&str>| JournalRecord::Done { id: format!("1-{n}"), fault: fault.map(str::to_owned), at: n };
        vec![step(1), done(1, None), step(2), done(101, Some("it answered 400")), step(3)]
    }

    fn file(records: &[JournalRecord]) -> Vec<u8> {
        records.iter().fold(HEAD.as_bytes().to_vec(), |mut file, record| {
            file.extend(encode(record));
            file
        })
    }

    #[test]
    fn journal_round_trips_and_reports_unknown_version() {
        let (book, fault) = OutboxContents::read(&file(&records()));
        assert_eq!((fault, book.waiting.len(), book.sent.len()), (None, 4, 2));
        assert_eq!(book.sent[1].fault.as_deref(), Some("it answered 400"));
        assert_eq!(OutboxContents::read(&book.write()), (book, None));
        assert_eq!(OutboxContents::read(b""), (OutboxContents::default(), None));
        assert_eq!(OutboxContents::read(b"ostler-alerts 2\n...").1, Some(JournalDamage::Unknown));
        assert_eq!(OutboxContents::read(b"ostler-al").1, Some(JournalDamage::Torn { good: 0 }));
    }

    #[test]
    fn stuck_channel_drops_only_its_own_oldest_messages() {
        let mut book = OutboxContents::default();
        for n in 0..300_u64 {
            let channel = if n < 10 { "mail" } else { "ops" };
            let messages = vec![Message::test(channel, "box", format!("1-{n}"), n)];
            book.apply(JournalRecord::Step { state: Box::default(), messages, changes: vec![] });
        }
        assert_eq!((book.waiting.len(), book.dropped), (110, 190));
        assert_eq!(book.waiting.back().unwrap().id, "1-299");
    }

    proptest! {
        /// If the file is cut or damaged anywhere, exactly the whole records before that point are
        /// read.
        #[test]
        fn damaged_journal_yields_exactly_the_whole_records(cut in 0_usize..4000, flip in any::<u8>()) {
            let whole = file(&records());
            let at = cut % whole.len();
            let (book, fault) = OutboxContents::read(&whole[..at]);
            let mut damaged = whole.clone();
            damaged[at] ^= flip | 1;
            let (other, _) = OutboxContents::read(&damaged);
            let all = records();
            let prefixes: Vec<OutboxContents> = (0..=all.len()).map(|count| OutboxContents::read(&file(&all[..count])).0).collect();
            prop_assert!(prefixes.contains(&book) && prefixes.contains(&other), "something was read that nobody wrote");
            if let Some(JournalDamage::Torn { good }) = fault {
                prop_assert_eq!(OutboxContents::read(&whole[..good]), (book, None));
            }
        }

        #[test]
        fn read_never_panics_on_arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut file = HEAD.as_bytes().to_vec();
            file.extend(&bytes);
            let _ = (OutboxContents::read(&bytes), OutboxContents::read(&file));
        }
    }
}
