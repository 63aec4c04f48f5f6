//! `/api/logs/search`: search in all files of an app, including rotated and compressed ones. A
//! separate process (`log-search`) searches and exits with the browser; its output is passed on
//! immediately.

use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;

use hyper::body::Bytes;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout};

use super::logs::{ROOM, targets, too_many_readers};
use crate::access::Identity;
use crate::http::query;
use crate::http::reply::{Body, error, streamed};
use crate::http::shares::SharePermit;
use crate::logs::{PIECE, own_program};
use crate::site::{ClientRequest, Site};

/// Default and maximum number of hits, and the maximum for a download.
const USUAL: u64 = 100;
const MOST: u64 = 1000;
const MOST_AS_FILE: u64 = 100_000;
/// Default and maximum number of lines before and after a hit.
const CONTEXT: u64 = 2;
const MOST_CONTEXT: u64 = 100;
/// Time limit of a search; the user can continue it.
const WITHIN_MS: u64 = 60_000;
/// Maximum size of a record: a hit with its surrounding lines.
const LONGEST: u64 = 4 << 20;

/// Query in the format that the process reads.
#[derive(Debug, Default, PartialEq, Serialize)]
struct SearchQuery {
    targets: Vec<String>,
    stream: Option<String>,
    pattern: String,
    regex: bool,
    ignore_case: bool,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    only_timed: bool,
    before: Option<String>,
    at: Option<String>,
    limit: u64,
    context: u64,
    within_ms: u64,
}

impl SearchQuery {
    /// Parses a query string.
    fn of(query_text: Option<&str>, as_file: bool) -> Result<Self, &'static str> {
        let text = |key: &str| query::value(query_text, key).filter(|text| !text.is_empty());
        let is = |key: &str| text(key).is_some_and(|text| text == "1" || text == "true");
        let time = |key: &str, fault: &'static str| text(key).map(|text| text.parse::<u64>().map_err(|_| fault)).transpose();
        let stream = text("stream");
        if stream.as_deref().is_some_and(|stream| stream != "out" && stream != "err") {
            return Err("stream: expected out or err");
        }
        if query_text.is_some_and(|query_text| query_text.split('&').any(|pair| pair.starts_with("q=")))
            && query::value(query_text, "q").is_none()
        {
            return Err("q: not text, or more than 4096 bytes");
        }
        let limit =
            query::number(query_text, "limit", if as_file { MOST_AS_FILE } else { USUAL }, if as_file { MOST_AS_FILE } else { MOST })
                .max(1);
        Ok(Self {
            targets: Vec::new(),
            stream,
            pattern: text("q").unwrap_or_default(),
            regex: is("regex"),
            ignore_case: is("ignore_case"),
            since_ms: time("from", "from: expected ms since 1970")?,
            until_ms: time("to", "to: expected ms since 1970")?,
            only_timed: is("timed"),
            before: text("before"),
            at: text("at"),
            limit,
            context: if as_file { 0 } else { query::number(query_text, "context", CONTEXT, MOST_CONTEXT) },
            within_ms: WITHIN_MS,
        })
    }
}

pub(super) async fn answer(site: &Rc<Site>, request: &ClientRequest, identity: &Identity) -> Response<Body> {
    let words = request.head.uri.query();
    let as_file = query::value(words, "format").is_some_and(|format| format == "text");
    let query = match SearchQuery::of(words, as_file) {
        Ok(query) => query,
        Err(fault) => return error(StatusCode::BAD_REQUEST, fault),
    };
    let app = query::value(words, "app").filter(|app| !app.is_empty());
    let targets = match targets(site, identity, app.as_deref()).await {
        Ok(targets) if targets.is_empty() => vec!["all".to_owned()],
        Ok(targets) => targets,
        Err(response) => return response,
    };
    let Some(seat) = site.shares.reader(identity) else { return too_many_readers() };
    let query = SearchQuery { targets, ..query };
    let Ok(mut searching) = Searching::start(site, &query, seat).await else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "cannot search the logs: no process could be started");
    };
    // An error in the query is reported before the response starts.
    match searching.next().await.map(|record| SearchRecord::of(&record)) {
        Some(SearchRecord::Other) => {}
        Some(SearchRecord::Error(text)) => return error(StatusCode::BAD_REQUEST, &text),
        _ => return error(StatusCode::SERVICE_UNAVAILABLE, "cannot search the logs: the process exited"),
    }
    let (writer, mut response) = streamed(if as_file { "text/plain; charset=utf-8" } else { "application/x-ndjson" }, ROOM);
    if as_file {
        response.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"found.txt\""));
    }
    let mut ending = site.ending.clone();
    tokio::task::spawn_local(async move {
        let forward = async {
            let mut piece = Vec::new();
            while let Some(record) = searching.next().await {
                if as_file {
                    piece.extend_from_slice(as_text(&record).as_bytes());
                } else {
                    piece.extend_from_slice(&record);
                }
                // Records that have already arrived are sent together.
                if !piece.is_empty() && (piece.len() >= PIECE || !searching.has_record()) {
                    writer.send(Bytes::from(std::mem::take(&mut piece))).await.ok()?;
                }
            }
            writer.send(piece.into()).await.ok()
        };
        tokio::select! {
            _ = forward => {}
            () = writer.closed() => {}
            () = ending.stop_requested() => {}
        }
    });
    response
}

/// Relevant content of a record.
enum SearchRecord {
    Error(String),
    Other,
}

impl SearchRecord {
    fn of(bytes: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Fault {
            error: String,
        }
        serde_json::from_slice::<Fault>(bytes).map_or(Self::Other, |fault| Self::Error(fault.error))
    }
}

/// Returns a hit as a line of a text file; empty for other records.
fn as_text(record: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(record) else { return String::new() };
    let hit = &value["hit"];
    let text = |key: &str| hit[key].as_str().unwrap_or_default();
    if !hit.is_object() {
        return String::new();
    }
    let mark = if text("time_from") == "estimated" { "~" } else { "" };
    let at = hit["at"].as_str().map_or_else(String::new, |at| format!("{mark}{at} "));
    format!("{}|{}|{} {at}{}\n", hit["instance"], text("app"), text("stream"), text("text"))
}

/// Process that searches; it counts against the limit for browsers.
struct Searching {
    _seat: SharePermit,
    records: BufReader<ChildStdout>,
    /// The process is killed when this is dropped.
    _child: Child,
}

impl Searching {
    async fn start(site: &Rc<Site>, query: &SearchQuery, seat: SharePermit) -> std::io::Result<Self> {
        let (records, child) = start(&site.home, query).await?;
        Ok(Self { _seat: seat, records, _child: child })
    }

    fn has_record(&self) -> bool {
        self.records.buffer().contains(&b'\n')
    }

    /// Returns the next record with its line end; none = there are no more.
    async fn next(&mut self) -> Option<Vec<u8>> {
        let mut record = Vec::new();
        (&mut self.records).take(LONGEST).read_until(b'\n', &mut record).await.ok()?;
        (record.last() == Some(&b'\n')).then_some(record)
    }
}

async fn start(home: &Path, query: &SearchQuery) -> std::io::Result<(BufReader<ChildStdout>, Child)> {
    let mut child = own_program(home)?.arg(crate::settings::names::SEARCH_ROLE).arg(home).stdin(Stdio::piped()).spawn()?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    if let Some(mut input) = input {
        input.write_all(&serde_json::to_vec(query)?).await?;
    }
    Ok((BufReader::with_capacity(PIECE, output.ok_or(std::io::ErrorKind::BrokenPipe)?), child))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parses_with_defaults_and_limits() {
        let query = |query: &str| SearchQuery::of(Some(query), false);
        let usual = SearchQuery { limit: USUAL, context: CONTEXT, within_ms: WITHIN_MS, ..SearchQuery::default() };
        assert_eq!(query("").unwrap(), usual);
        let all = query("q=a%26b&regex=1&ignore_case=true&from=5&to=9&stream=err&before=1-2&limit=5000&context=1000").unwrap();
        assert_eq!((all.pattern.as_str(), all.regex, all.ignore_case, all.since_ms, all.until_ms), ("a&b", true, true, Some(5), Some(9)));
        assert_eq!((all.stream.as_deref(), all.before.as_deref(), all.limit, all.context), (Some("err"), Some("1-2"), MOST, MOST_CONTEXT));
        for wrong in ["from=yesterday", "to=-1", "stream=both", "q=%ff", &format!("q={}", "x".repeat(5000))] {
            assert!(query(wrong).is_err(), "{wrong}");
        }
        assert_eq!(SearchQuery::of(Some("q=a"), true).unwrap().limit, MOST_AS_FILE);
    }

    #[test]
    fn hits_are_formatted_as_text() {
        let hit = br#"{"hit":{"at":"2026-11-24T00:00:00.000Z","app":"api","instance":3,"stream":"err","text":"a|b"}}"#;
        assert_eq!(as_text(hit), "3|api|err 2026-11-24T00:00:00.000Z a|b\n");
        let estimated = String::from_utf8_lossy(hit).replace(r#""app""#, r#""time_from":"estimated","app""#);
        assert_eq!(as_text(estimated.as_bytes()), "3|api|err ~2026-11-24T00:00:00.000Z a|b\n");
        assert_eq!(as_text(br#"{"progress":{"looked":1}}"#) + &as_text(b"nonsense"), "");
    }
}
