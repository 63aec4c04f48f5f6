//! Log lines of apps. Each reader has its own `ostler logs --json` process, which handles rotated
//! and renamed files and exits with its reader.

use std::path::Path;
use std::process::Stdio;

use ostler_core::environment::HOME;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// Maximum number of bytes of a line that are passed on; a line may have any length.
const LONGEST: usize = 64 << 10;
/// Maximum number of bytes of a line that are read. A line of 1 MiB has fewer, even if all of it is
/// escaped.
const MOST_READ: u64 = 9 << 20;
/// Maximum size of a chunk in bytes; lines up to that size are sent together.
pub(crate) const PIECE: usize = 64 << 10;

/// Line in the format of `ostler logs --json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LogRecord {
    pub(crate) message: String,
    timestamp: Option<String>,
    time_from: Option<String>,
    received_between: Option<[String; 2]>,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) process_id: serde_json::Value,
    pub(crate) app_name: Option<String>,
    partial: bool,
}

/// Returns a command that runs this program for the home. Its output is read, and it is killed if
/// the reader is dropped.
pub(crate) fn own_program(home: &Path) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(HOME.name, home).env("PM2_HOME", home).env_remove("OSTLER_ROLE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Line in the format in which it is sent.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct LogLine {
    /// RFC 3339; none = a line of the past without a time.
    pub(crate) at: Option<String>,
    /// How the time of a line of the past is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_from: Option<String>,
    /// Interval in which a line of the past was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) received_between: Option<[String; 2]>,
    pub(crate) app: Option<String>,
    pub(crate) instance: Option<u64>,
    pub(crate) stream: &'static str,
    pub(crate) text: String,
    /// True if the line was cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cut: bool,
    /// True if the line continues in the next one of this stream.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) partial: bool,
}

impl LogLine {
    /// Returns false if the line may have arrived before this time, in ms since 1970. Lines that
    /// arrive while the process reads have no interval.
    pub(crate) fn is_since(&self, ms: u64) -> bool {
        let from = self.received_between.as_ref().and_then(|[from, _]| from.parse::<jiff::Timestamp>().ok());
        from.is_none_or(|from| u64::try_from(from.as_millisecond()).is_ok_and(|from| from >= ms))
    }

    /// Returns true if both lines are of one stream.
    pub(crate) fn is_of_same_stream(&self, other: &Self) -> bool {
        (self.stream, self.instance, &self.app) == (other.stream, other.instance, &other.app)
    }
}

/// Process that reads lines.
pub(crate) struct LogProcess {
    lines: BufReader<ChildStdout>,
    /// The process is killed when this is dropped.
    _child: Child,
}

impl LogProcess {
    /// Starts `ostler logs --json` with these arguments.
    pub(crate) fn start(home: &Path, words: &[String]) -> std::io::Result<Self> {
        let mut command = own_program(home)?;
        let mut child = command.args(["logs", "--json"]).args(words).env(crate::settings::names::FOR_OTHERS, "1").spawn()?;
        let stdout = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Self { lines: BufReader::with_capacity(PIECE, stdout), _child: child })
    }

    /// Returns true if a whole line is already in the buffer.
    pub(crate) fn has_line(&self) -> bool {
        self.lines.buffer().contains(&b'\n')
    }

    /// Returns the next line; none = there are no more. The future may be dropped while it waits
    /// for the first byte of a line, without losing data.
    pub(crate) async fn next(&mut self) -> Option<LogLine> {
        self.next_of(LONGEST).await
    }

    /// Returns the next line, with at most `longest` bytes of its text.
    pub(crate) async fn next_of(&mut self, longest: usize) -> Option<LogLine> {
        loop {
            // Waits only here: the process writes the rest of a line at once.
            if self.lines.fill_buf().await.ok()?.is_empty() {
                return None;
            }
            let mut bytes = Vec::new();
            (&mut self.lines).take(MOST_READ).read_until(b'\n', &mut bytes).await.ok()?;
            if bytes.last() != Some(&b'\n') {
                skip_line(&mut self.lines).await?;
                let text = "(a line of more than 9 MiB)".to_owned();
                return Some(LogLine { text, stream: "out", cut: true, ..LogLine::default() });
            }
            if let Some(line) = line(&bytes, longest) {
                return Some(line);
            }
        }
    }
}

/// Reads to the end of a line and discards it.
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

fn line(bytes: &[u8], longest: usize) -> Option<LogLine> {
    let read: LogRecord = serde_json::from_slice(bytes).ok()?;
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
    let LogRecord { timestamp: at, time_from, received_between, app_name: app, partial, .. } = read;
    Some(LogLine { at, time_from, received_between, app, instance: read.process_id.as_u64(), stream, text, cut, partial })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed_and_truncated() {
        let line = |bytes| super::line(bytes, LONGEST);
        let read =
            line(br#"{"message":"<b>\u001b[31mred","timestamp":"2026-11-24T00:00:00.000Z","type":"err","process_id":3,"app_name":"api"}"#);
        let line_of = read.unwrap();
        assert_eq!((line_of.stream, line_of.instance, line_of.text.as_str(), line_of.cut), ("err", Some(3), "<b>\u{1b}[31mred", false));
        let past =
            br#"{"message":"x","timestamp":"2026-11-24T00:00:00.000Z","time_from":"estimated","received_between":["a","b"],"type":"out"}"#;
        let past = line(past).unwrap();
        assert_eq!((past.time_from.as_deref(), past.received_between), (Some("estimated"), Some(["a".into(), "b".into()])));
        let between = |from: &str| LogLine { received_between: Some([from.into(), "later".into()]), ..LogLine::default() };
        let times = ["2026-11-24T00:00:00.999Z", "2026-11-24T00:00:01.000Z", "2026-11-24T00:00:02Z"];
        assert_eq!(times.map(|from| between(from).is_since(1_795_478_401_000)), [false, true, true]);
        assert!(LogLine::default().is_since(u64::MAX));
        let long = serde_json::json!({ "message": "ü".repeat(LONGEST), "type": "out" }).to_string();
        let line_of = line(long.as_bytes()).unwrap();
        assert!(line_of.cut && line_of.text.len() <= LONGEST);
        let partial = line(br#"{"message":"x","type":"out","partial":true}"#).unwrap();
        assert!(partial.partial && serde_json::to_value(&partial).unwrap()["partial"] == true);
        assert!(line(b"{\"type\":\"process_event\",\"status\":\"online\"}").is_none() && line(b"nonsense").is_none());
    }
}
