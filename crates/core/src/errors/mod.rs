//! Exceptions of apps: read from what they print or report, and put into groups.
//!
//! # Theory of operation
//! [`Reader`] takes the lines of one output as they come and finds the reports of errors in them ([`crate::logs::error_lines`] knows their forms: Node, Java, Python,
//! PHP, Ruby, Go, Rust, Perl). [`Exception::reported`] takes what a Node app sends over its channel. Both give an [`Exception`]: type, message, frames. Its
//! [`Exception::fingerprint`] is that of its group: type and the frames of the app itself, without line numbers, so that it stays the same over releases; without
//! such frames type and message, without numbers, ids and quoted values. Everything is bounded, whatever comes.

mod frames;
mod reader;
mod title;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::logs::error_lines::Form;
use crate::text::fnv::fnv_64;

pub use reader::{Found, Reader};
pub use title::pattern;

/// Longest type.
const KIND: usize = 200;
/// Longest message.
const MESSAGE: usize = 1000;
/// Most frames that are kept.
const FRAMES: usize = 30;
/// Longest text of a frame.
const FRAME: usize = 300;
/// Most frames that make a group.
const GROUPING: usize = 12;
/// Most bytes of a stack that are read.
const STACK: usize = 32 << 10;

/// Types by which languages and frameworks report that a signal, or the shutdown that it begins, interrupts what they do.
const OF_A_STOP: &[&str] = &[
    "AbortError",
    "CancellationException",
    "CancelledError",
    "GracefulExit",
    "Interrupt",
    "InterruptedException",
    "KeyboardInterrupt",
    "OperationCanceledException",
    "SignalException",
    "SystemExit",
    "TaskCanceledException",
];
/// The signals by which programs are stopped, as the first word of a report: Go's dump after SIGQUIT, Ruby's `SIGTERM`.
const STOP_SIGNALS: &[&str] = &["SIGABRT", "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"];

/// One exception.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// Its type: `TypeError`, `java.io.IOException`, `panic`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its message, one line.
    pub message: String,
    /// Its frames, the innermost first.
    pub frames: Vec<Frame>,
}

/// One frame of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The function; empty = it has no name.
    pub function: String,
    /// The file; empty = unknown.
    pub file: String,
    /// The line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Whether it is the app's own: not of the language, its packages or its libraries.
    pub own: bool,
}

impl Exception {
    /// The exception in the data of a `process:exception` message: `name`, `message`, `stack`. None = it says nothing.
    pub fn reported(data: &Value) -> Option<Self> {
        let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, message, stack) = (text("name"), text("message"), cut(text("stack"), STACK));
        if name.is_empty() && message.is_empty() && stack.is_empty() {
            return None;
        }
        let lines: Vec<&str> = stack.lines().collect();
        let head = lines.iter().take_while(|line| !frames::is_at(line)).copied().next().unwrap_or_default();
        let (kind, said) = title::of(Form::At, &[head.to_owned()]);
        let kind = if name.is_empty() { kind } else { name.to_owned() };
        let message = if message.is_empty() { said } else { message.to_owned() };
        Some(Self::new(&kind, &message, frames::of(Form::At, &lines)))
    }

    /// The exception with its parts cut to their bounds.
    fn new(kind: &str, message: &str, frames: Vec<Frame>) -> Self {
        let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let kind = if kind.is_empty() { "Error" } else { kind };
        Self { kind: cut(kind, KIND).to_owned(), message: cut(line.trim(), MESSAGE).to_owned(), frames }
    }

    /// The exception of a report in these lines.
    fn printed(form: Form, head: &[String], lines: &[&str]) -> Self {
        let (kind, message) = title::of(form, head);
        Self::new(&kind, &message, frames::of(form, lines))
    }

    /// True if a stop signal alone explains it. Where the signal was ours, it is no fault of the app.
    pub fn is_of_a_stop(&self) -> bool {
        let last = |name: &str| name.rsplit(['.', ':', '$']).next().unwrap_or_default().to_owned();
        let first = self.message.split([':', ' ']).next().unwrap_or_default();
        // Ruby prints the class in the place of a message if there is none.
        let is_bare = self.kind == "Error" && OF_A_STOP.contains(&self.message.as_str());
        is_bare
            || OF_A_STOP.contains(&last(&self.kind).as_str())
            || STOP_SIGNALS.contains(&self.kind.as_str())
            || STOP_SIGNALS.contains(&first)
            || self.message == "context canceled"
    }

    /// Fingerprint of its group.
    pub fn fingerprint(&self) -> u64 {
        fnv_64(format!("{}\0{:x}", self.kind, self.origin()).into_bytes())
    }

    /// Fingerprint of where it comes from, without its type: of the frames of the app itself, else of the message without what differs each time. One that is
    /// printed and reported has the same, also where the two name its class differently.
    pub fn origin(&self) -> u64 {
        let mut key = String::new();
        let mut last = String::new();
        let mut count = 0;
        for frame in self.frames.iter().filter(|frame| frame.own) {
            let place = format!("{}@{}\n", frame.function, pattern(&frame.file));
            // However deep a recursion went.
            if place != last && count < GROUPING {
                key.push_str(&place);
                count += 1;
            }
            last = place;
        }
        if key.is_empty() {
            key = pattern(&self.message);
        }
        fnv_64(key.into_bytes())
    }

    /// The place where it was thrown: the innermost frame of the app itself, else the innermost of all.
    pub fn culprit(&self) -> Option<&Frame> {
        self.frames.iter().find(|frame| frame.own).or_else(|| self.frames.first())
    }
}

/// The first bytes of a text, whole characters.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests;
