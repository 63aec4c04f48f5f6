//! `/api/logs`: past lines and new lines.

use std::rc::Rc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};
use hyper::{Response, StatusCode};

use super::apps;
use crate::access::Identity;
use crate::http::query;
use crate::http::reply::{Body, Writer, error, json, streamed};
use crate::http::shares::SharePermit;
use crate::logs::{LogLine, LogProcess, PIECE};
use crate::site::{ClientRequest, Site};

/// Default and maximum number of past lines.
const USUAL: u64 = 200;
const MOST: u64 = 5000;
/// Maximum number of lines that are examined if only lines with a text are wanted.
const MAX_SEARCHED: u64 = 100_000;
/// Maximum size of an answer with past lines, in bytes.
const MOST_BYTES: usize = 8 << 20;
/// Time limit for reading past lines.
const WITHIN: Duration = Duration::from_secs(30);
/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Maximum number of pieces that wait for a slow browser; then the reader waits, too, and the lines
/// stay in the files.
pub(super) const ROOM: usize = 4;

pub(super) async fn past(site: &Rc<Site>, request: &ClientRequest, identity: &Identity) -> Response<Body> {
    let query = request.head.uri.query();
    let contains = query::value(query, "contains").filter(|text| !text.is_empty());
    let most = if contains.is_some() { MAX_SEARCHED } else { MOST };
    let mut reader = match Reader::with_lines(site, request, identity, false, query::number(query, "lines", USUAL, most)).await {
        Ok(reader) => reader,
        Err(response) => return response,
    };
    let read = async {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while let Some(line) = reader.next().await {
            if contains.as_ref().is_some_and(|contains| !line.text.contains(contains.as_str())) {
                continue;
            }
            bytes += line.text.len();
            if bytes > MOST_BYTES {
                break;
            }
            lines.push(line);
        }
        lines
    };
    match tokio::time::timeout(WITHIN, read).await {
        Ok(lines) => json(&serde_json::json!({ "lines": lines })),
        Err(_) => error(StatusCode::GATEWAY_TIMEOUT, "the log files were not read in time"),
    }
}

pub(super) async fn live(site: &Rc<Site>, request: &ClientRequest, identity: &Identity) -> Response<Body> {
    let mut reader = match Reader::new(site, request, identity, true).await {
        Ok(reader) => reader,
        Err(response) => return response,
    };
    let (writer, response) = streamed("text/event-stream", ROOM);
    let mut ending = site.ending.clone();
    tokio::task::spawn_local(async move {
        let forward = async {
            loop {
                match tokio::time::timeout(HEARTBEAT, reader.next()).await {
                    Ok(Some(line)) => send_line(&mut reader, &writer, &line).await?,
                    Ok(None) => return Some(()),
                    Err(_) => writer.send(Bytes::from_static(b": still here\n\n")).await.ok()?,
                }
            }
        };
        tokio::select! {
            _ = forward => {}
            () = writer.closed() => {}
            () = ending.stop_requested() => {}
        }
    });
    response
}

/// Sends a line together with all others that have already arrived.
async fn send_line(reader: &mut Reader, writer: &Writer, line: &LogLine) -> Option<()> {
    let mut piece = String::new();
    append_piece(&mut piece, line);
    while piece.len() < PIECE && reader.has_line() {
        match reader.next().await {
            Some(line) => append_piece(&mut piece, &line),
            None => break,
        }
    }
    writer.send(piece.into()).await.ok()
}

fn append_piece(piece: &mut String, line: &LogLine) {
    piece.push_str("event: line\ndata: ");
    piece.push_str(&serde_json::to_string(line).unwrap_or_default());
    piece.push_str("\n\n");
}

pub(super) async fn download(site: &Rc<Site>, request: &ClientRequest, identity: &Identity) -> Response<Body> {
    let mut reader = match Reader::with_lines(site, request, identity, false, u64::MAX >> 1).await {
        Ok(reader) => reader,
        Err(response) => return response,
    };
    let (writer, mut response) = streamed("text/plain; charset=utf-8", ROOM);
    response.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"logs.txt\""));
    tokio::task::spawn_local(async move {
        let mut piece = String::new();
        let mut open = None;
        while let Some(line) = reader.lines.next_of(usize::MAX).await {
            open = append_line(&mut piece, open, line);
            if piece.len() >= PIECE && writer.send(std::mem::take(&mut piece).into()).await.is_err() {
                return;
            }
        }
        let _ = writer.send(piece.into()).await;
    });
    response
}

/// Appends a line to a text, after the previous unfinished line, if any. Returns the line if it is
/// unfinished itself.
fn append_line(text: &mut String, open: Option<LogLine>, line: LogLine) -> Option<LogLine> {
    if !open.as_ref().is_some_and(|open| open.is_of_same_stream(&line)) {
        if open.is_some() {
            text.push('\n');
        }
        let instance = line.instance.map(|id| id.to_string()).unwrap_or_default();
        text.push_str(&format!("{instance}|{}|{} ", line.app.as_deref().unwrap_or_default(), line.stream));
    }
    text.push_str(&line.text);
    if line.partial {
        return Some(LogLine { text: String::new(), ..line });
    }
    text.push('\n');
    None
}

/// Process that reads lines; it counts against the limit for browsers.
struct Reader {
    lines: LogProcess,
    _seat: SharePermit,
}

impl Reader {
    async fn new(site: &Rc<Site>, request: &ClientRequest, identity: &Identity, follows: bool) -> Result<Self, Response<Body>> {
        let count = query::number(request.head.uri.query(), "lines", USUAL, MOST);
        Self::with_lines(site, request, identity, follows, count).await
    }

    async fn with_lines(
        site: &Rc<Site>,
        request: &ClientRequest,
        identity: &Identity,
        follows: bool,
        count: u64,
    ) -> Result<Self, Response<Body>> {
        let app = query::value(request.head.uri.query(), "app").filter(|app| !app.is_empty());
        let targets = targets(site, identity, app.as_deref()).await?;
        let seat = site.shares.reader(identity).ok_or_else(too_many_readers)?;
        let mut words = vec!["--lines".to_owned(), count.to_string()];
        words.extend(targets);
        words.extend((!follows).then(|| "--nostream".to_owned()));
        let failed = |_| error(StatusCode::SERVICE_UNAVAILABLE, "cannot read the logs: no process could be started");
        let lines = LogProcess::start(&site.home, &words).map_err(failed)?;
        Ok(Self { lines, _seat: seat })
    }

    fn has_line(&self) -> bool {
        self.lines.has_line()
    }

    async fn next(&mut self) -> Option<LogLine> {
        self.lines.next().await
    }
}

/// Returns the reply for too many readers, in total or of this identity.
pub(super) fn too_many_readers() -> Response<Body> {
    error(StatusCode::SERVICE_UNAVAILABLE, "too many log readers (16, or 8 of yours); close one")
}

/// Returns the arguments that select the logs: ids, because a name may select other apps, too.
/// Empty if the user sees everything and names no app.
pub(super) async fn targets(site: &Site, identity: &Identity, app: Option<&str>) -> Result<Vec<String>, Response<Body>> {
    let Some(name) = app else {
        if identity.sees_all() {
            return Ok(Vec::new());
        }
        let snapshot = site.daemon.refresh_table().await;
        let ids: Vec<String> = snapshot.rows.iter().filter(|row| identity.sees(&row.namespace)).map(|row| row.id.to_string()).collect();
        return if ids.is_empty() { Err(error(StatusCode::NOT_FOUND, "app not found")) } else { Ok(ids) };
    };
    match apps::find(site, identity, name).await {
        Some((app, _)) => Ok(app.instances.iter().map(|instance| instance.id.to_string()).collect()),
        None => Err(apps::not_found(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_lines_are_joined_in_downloads() {
        let piece = |app: &str, text: &str, partial| LogLine {
            app: Some(app.into()),
            instance: Some(1),
            stream: "out",
            text: text.into(),
            partial,
            ..LogLine::default()
        };
        let download = |lines: Vec<LogLine>| {
            let mut text = String::new();
            lines.into_iter().fold(None, |open, line| append_line(&mut text, open, line));
            text
        };
        let pieces = vec![piece("a", "1", true), piece("a", "2", true), piece("a", "3", false), piece("a", "4", false)];
        assert_eq!(download(pieces), "1|a|out 123\n1|a|out 4\n");
        assert_eq!(download(vec![piece("a", "1", true), piece("b", "2", false)]), "1|a|out 1\n1|b|out 2\n");
    }
}
