//! Exceptions of apps: read from their output or their reports, and grouped.
//!
//! # Theory of operation
//! [`ReportReader`] takes the lines of one output as they arrive and finds the error reports in
//! them. [`crate::logs::error_lines`] knows their forms: Node, Java, Python, PHP, Ruby, Go, Rust,
//! Perl. [`Exception::reported`] takes the messages that a Node app sends over its channel. Both
//! return an [`Exception`]: type, message, frames.
//!
//! Its [`Exception::fingerprint`] identifies its group: the type and the app's own frames, without
//! line numbers, so that it stays the same over releases. If there are no such frames, it uses the
//! type and the message, without numbers, ids and quoted values. Everything is bounded for any
//! input.

mod frames;
mod reader;
mod title;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::logs::error_lines::ReportFormat;
use crate::text::fnv::fnv_64;

pub use reader::{FoundReport, ReportReader};
pub use title::pattern;

/// Longest type.
const KIND: usize = 200;
/// Longest message.
const MESSAGE: usize = 1000;
/// Largest number of frames that are kept.
const FRAMES: usize = 30;
/// Longest text of a frame.
const FRAME: usize = 300;
/// Longest route.
const ROUTE: usize = 200;
/// Largest number of frames that identify a group.
const GROUPING: usize = 12;
/// Largest part of a stack that is read, in bytes.
const STACK: usize = 32 << 10;

/// Types by which languages and frameworks report an interruption by a signal, or by the shutdown
/// that it starts.
const OF_A_STOP: &[&str] = &[
    "AbortError",
    "CancellationException",
    "Cancelled",
    "CancelledError",
    "ClosedByInterruptException",
    "GracefulExit",
    "Interrupt",
    "Interrupted",
    "InterruptedException",
    "JobCancellationException",
    "KeyboardInterrupt",
    "OperationCanceledException",
    "Shutdown",
    "SignalException",
    "SystemExit",
    "TaskCanceledException",
    "TermException",
    "WorkerShutdown",
    "WorkerTerminate",
];
/// Messages of other types with the same meaning.
const MESSAGES_OF_A_STOP: &[&str] = &["Shutdown in progress", "context canceled"];
/// Signals that stop programs, as the first word of a report: Go's dump after SIGQUIT, Ruby's
/// `SIGTERM`.
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
    /// Request that failed with it, if the app reported that: `GET /orders/:id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
}

/// One frame of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Function; empty = unnamed.
    pub function: String,
    /// File; empty = unknown.
    pub file: String,
    /// Line number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Whether the frame belongs to the app, not to the language, its packages or its libraries.
    pub own: bool,
}

impl Exception {
    /// Returns the exception in the data of a `process:exception` message: `name`, `message`,
    /// `stack`. None = all of them are empty.
    pub fn reported(data: &Value) -> Option<Self> {
        let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, message, stack) = (text("name"), text("message"), cut(text("stack"), STACK));
        if name.is_empty() && message.is_empty() && stack.is_empty() {
            return None;
        }
        let lines: Vec<&str> = stack.lines().collect();
        let head = lines.iter().take_while(|line| !frames::is_at(line)).copied().next().unwrap_or_default();
        let (kind, said) = title::of(ReportFormat::At, &[head.to_owned()]);
        let kind = if name.is_empty() { kind } else { name.to_owned() };
        let message = if message.is_empty() { said } else { message.to_owned() };
        let exception = Self::new(&kind, &message, frames::of(ReportFormat::At, &lines));
        Some(Self { route: route(data), ..exception })
    }

    /// Returns the exception with its parts cut to their bounds.
    fn new(kind: &str, message: &str, frames: Vec<Frame>) -> Self {
        let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let kind = if kind.is_empty() { "Error" } else { kind };
        Self { kind: cut(kind, KIND).to_owned(), message: cut(line.trim(), MESSAGE).to_owned(), frames, route: None }
    }

    /// Returns the exception of a report in these lines. `shown`: its frames in short. For a syntax
    /// error, the only one is the place above the report.
    fn printed(form: ReportFormat, head: &[String], lines: &[&str], shown: &[String]) -> Self {
        let (kind, message) = title::of(form, head);
        let mut frames = frames::of(form, lines);
        let place = shown.first().filter(|_| matches!(form, ReportFormat::At) && !frames.iter().any(|frame| frame.own));
        if let Some(place) = place.map(|line| frames::at(line)).filter(|place| place.own && place.function.is_empty()) {
            // A report of the same exception through IPC lacks the place. As the app's own frame, it
            // would make another group.
            frames.insert(0, Frame { own: false, ..place });
            frames.truncate(FRAMES);
        }
        Self::new(&kind, &message, frames)
    }

    /// Returns true if a stop signal alone explains it. If the daemon sent the signal, the
    /// exception is no fault of the app.
    pub fn is_of_a_stop(&self) -> bool {
        let last = |name: &str| name.rsplit(['.', ':', '$']).next().unwrap_or_default().to_owned();
        let first = self.message.split([':', ' ']).next().unwrap_or_default();
        // Without a message, Ruby prints the class instead.
        let is_bare = self.kind == "Error" && OF_A_STOP.contains(&self.message.as_str());
        is_bare
            || OF_A_STOP.contains(&last(&self.kind).as_str())
            || STOP_SIGNALS.contains(&self.kind.as_str())
            || STOP_SIGNALS.contains(&first)
            || MESSAGES_OF_A_STOP.contains(&self.message.as_str())
    }

    /// Returns the fingerprint of its group.
    pub fn fingerprint(&self) -> u64 {
        fnv_64(format!("{}\0{:x}", self.kind, self.origin()).into_bytes())
    }

    /// Returns the fingerprint of its origin, without its type. It covers the app's own frames, or
    /// else the message without its variable parts. An exception that is both printed and reported
    /// has the same origin, even if the class names differ.
    pub fn origin(&self) -> u64 {
        let mut key = String::new();
        let mut last = String::new();
        let mut count = 0;
        for frame in self.frames.iter().filter(|frame| frame.own) {
            let place = format!("{}@{}\n", frame.function, pattern(&frame.file));
            // A deep recursion counts once.
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

    /// Returns the frame that threw it: the innermost frame of the app itself, or else the
    /// innermost of all.
    pub fn culprit(&self) -> Option<&Frame> {
        self.frames.iter().find(|frame| frame.own).or_else(|| self.frames.first())
    }
}

/// Returns the request in the data of a message: `metadata.http` with `method`, and `route`, `path`
/// or `url`.
fn route(data: &Value) -> Option<String> {
    let http = data.get("metadata")?.get("http")?;
    let text = |key: &str| http.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let path = text("route").or_else(|| text("path")).or_else(|| text("url"))?;
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let route = format!("{} {path}", text("method").unwrap_or("?"));
    Some(cut(&route, ROUTE).chars().filter(|c| !c.is_control()).collect())
}

/// Returns the first bytes of a text, cut at a whole character.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests;
