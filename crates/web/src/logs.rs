//! Lines of apps' logs. They are read by `ostler logs --json`, a process for each reader: it knows rotated and renamed files, and ends with its reader.

use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// Bytes of a line that are passed on; it may have any number of them.
const LONGEST: usize = 64 << 10;
/// Bytes of a line that are read at all: one of 1 MiB, all of it escaped, has fewer.
const MOST_READ: u64 = 9 << 20;
/// Bytes of one piece: what has come by then is sent together.
pub(crate) const PIECE: usize = 64 << 10;

/// A line as `ostler logs --json` has it.
#[derive(Debug, Deserialize)]
struct Read {
    #[serde(default)]
    message: String,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    process_id: serde_json::Value,
    #[serde(default)]
    app_name: Option<String>,
    #[serde(default)]
    partial: bool,
}

/// A line as it is sent.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Line {
    /// RFC 3339; none = it is of the past, and nobody knows.
    pub(crate) at: Option<String>,
    pub(crate) app: Option<String>,
    pub(crate) instance: Option<u64>,
    pub(crate) stream: &'static str,
    pub(crate) text: String,
    /// It had more than that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cut: bool,
    /// The line continues in the next one of this stream.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) partial: bool,
}

impl Line {
    /// True if both are of one stream.
    pub(crate) fn is_of_same_stream(&self, other: &Self) -> bool {
        (self.stream, self.instance, &self.app) == (other.stream, other.instance, &other.app)
    }
}

/// A process that reads lines.
pub(crate) struct LogProcess {
    lines: BufReader<ChildStdout>,
    /// Ends with it.
    _child: Child,
}

impl LogProcess {
    /// `ostler logs --json` with these words.
    pub(crate) fn start(home: &std::path::Path, words: &[String]) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["logs", "--json"]).args(words);
        command.env("OSTLER_HOME", home).env("PM2_HOME", home).env(crate::settings::names::FOR_OTHERS, "1").env_remove("OSTLER_ROLE");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Self { lines: BufReader::with_capacity(PIECE, stdout), _child: child })
    }

    /// True if a whole line is here already.
    pub(crate) fn has_line(&self) -> bool {
        self.lines.buffer().contains(&b'\n')
    }

    /// The next line; none = there are no more. May be dropped while it waits for the first byte of a line, and then nothing is lost.
    pub(crate) async fn next(&mut self) -> Option<Line> {
        self.next_of(LONGEST).await
    }

    /// The next line, with at most so many bytes of its text.
    pub(crate) async fn next_of(&mut self, longest: usize) -> Option<Line> {
        loop {
            // Waits here alone: what follows was written at once by the process.
            if self.lines.fill_buf().await.ok()?.is_empty() {
                return None;
            }
            let mut bytes = Vec::new();
            (&mut self.lines).take(MOST_READ).read_until(b'\n', &mut bytes).await.ok()?;
            if bytes.last() != Some(&b'\n') {
                skip_line(&mut self.lines).await?;
                let text = "(a line of more than 9 MiB)".to_owned();
                return Some(Line { at: None, app: None, instance: None, stream: "out", text, cut: true, partial: false });
            }
            if let Some(line) = line(&bytes, longest) {
                return Some(line);
            }
        }
    }
}

/// Reads to the end of a line, keeping nothing.
async fn skip_line(lines: &mut BufReader<ChildStdout>) -> Option<()> {
    loop {
        let buffer = lines.fill_buf().await.ok()?;
        if buffer.is_empty() {
            return None;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(buffer.len(), |at| at + 1);
        lines.consume(count);
        if end.is_some() {
            return Some(());
        }
    }
}

fn line(bytes: &[u8], longest: usize) -> Option<Line> {
    let read: Read = serde_json::from_slice(bytes).ok()?;
    if read.kind == "process_event" {
        return None;
    }
    let mut text = read.message;
    let cut = text.len() > longest;
    if cut {
        let end = (0..=longest).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    let stream = if read.kind == "err" { "err" } else { "out" };
    Some(Line { at: read.timestamp, app: read.app_name, instance: read.process_id.as_u64(), stream, text, cut, partial: read.partial })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_cut() {
        let line = |bytes| super::line(bytes, LONGEST);
        let read =
            line(br#"{"message":"<b>\u001b[31mred","timestamp":"2026-11-24T00:00:00.000Z","type":"err","process_id":3,"app_name":"api"}"#);
        let line_of = read.unwrap();
        assert_eq!((line_of.stream, line_of.instance, line_of.text.as_str(), line_of.cut), ("err", Some(3), "<b>\u{1b}[31mred", false));
        let long = serde_json::json!({ "message": "ü".repeat(LONGEST), "type": "out" }).to_string();
        let line_of = line(long.as_bytes()).unwrap();
        assert!(line_of.cut && line_of.text.len() <= LONGEST);
        let partial = line(br#"{"message":"x","type":"out","partial":true}"#).unwrap();
        assert!(partial.partial && serde_json::to_value(&partial).unwrap()["partial"] == true);
        assert!(line(b"{\"type\":\"process_event\",\"status\":\"online\"}").is_none() && line(b"nonsense").is_none());
    }
}
