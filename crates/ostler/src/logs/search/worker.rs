//! Role of the process that searches logs for the dashboard. The request is on its input. The
//! results are on its output, one JSON object per line. It is a separate process, so that the
//! dashboard never waits for a disk or an expression. It exits together with the process that
//! asked.
//!
//! `{"begin":true}`, then `{"hit":{…}}`, `{"progress":{"looked","of"}}`, and at last `{"end":{…}}`;
//! or `{"error":"one line"}`.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ostler_core::home::home_paths::HomePaths;
use ostler_core::message;
use ostler_core::text::causes::with_causes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Hit, Pattern, Receiver, Search, SearchResult, search};
use crate::cli::DaemonUse;
use crate::cx::Cx;
use crate::error::CliError;
use crate::home::Program;
use crate::logs::printer::iso;
use crate::logs::source::{LogFilter, LogKind, Streams};
use crate::render::Out;

/// Longest request, bytes.
const LONGEST: u64 = 256 << 10;
/// Longest time that hits wait to be sent together.
const BATCH_TIME: Duration = Duration::from_millis(20);

/// The request.
#[derive(Debug, Deserialize)]
struct SearchRequest {
    /// Ids, as words of the command line.
    targets: Vec<String>,
    /// `out` or `err`; none = both.
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    pattern: String,
    #[serde(default)]
    regex: bool,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default)]
    since_ms: Option<u64>,
    #[serde(default)]
    until_ms: Option<u64>,
    #[serde(default)]
    only_timed: bool,
    #[serde(default)]
    before: Option<String>,
    #[serde(default)]
    at: Option<String>,
    limit: usize,
    context: usize,
    within_ms: u64,
}

impl SearchRequest {
    fn search(&self, home: &Path) -> Result<Search, String> {
        let cursor = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|()| message!("the cursor is invalid")),
        };
        Ok(Search {
            home: Some(home.to_owned()),
            pattern: Pattern::new(&self.pattern, self.regex, self.ignore_case)
                .map_err(|error| message!("the pattern cannot be used: {error}", error))?,
            since_ms: self.since_ms,
            until_ms: self.until_ms,
            only_timed: self.only_timed,
            before: cursor(&self.before)?,
            at: cursor(&self.at)?,
            limit: self.limit,
            context: self.context,
            within: Some(Duration::from_millis(self.within_ms)),
            ends_at: HashMap::new(),
        })
    }
}

/// Answers the request on the input.
pub(crate) fn main() -> ExitCode {
    let Some(home) = std::env::args_os().nth(2).map(PathBuf::from) else { return ExitCode::FAILURE };
    // Processes that serve users take precedence over a search.
    let _ = rustix::process::nice(5);
    let mut text = String::new();
    let read = std::io::stdin().take(LONGEST).read_to_string(&mut text);
    let Ok(request) = read.map_err(drop).and_then(|_| serde_json::from_str::<SearchRequest>(&text).map_err(drop)) else {
        return ExitCode::FAILURE;
    };
    let mut cx = Cx::new(Program::Ostler, Out::new(Program::Ostler), DaemonUse::Reads);
    cx.set_home(home);
    let answered = answer(&mut cx, &request);
    if let Err(error) = &answered {
        put(&mut cx.out, &json!({ "error": error }));
    }
    cx.out.flush();
    if answered.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn answer(cx: &mut Cx, request: &SearchRequest) -> Result<(), String> {
    let worded = |error: CliError| with_causes(&error);
    let home = cx.home().map_err(worded)?.to_owned();
    let query = request.search(&home)?;
    let is = |word: &str| request.stream.as_deref().is_none_or(|stream| stream == word);
    let filter = LogFilter {
        targets: request.targets.clone(),
        streams: Streams { out: is("out"), error: is("err"), daemon: false },
        cwd: "/".into(),
        daemon_log: cx.paths().map_err(worded)?.log,
        daemon_name: cx.program.label(),
        own_folder: Some(HomePaths::logs(&home)),
        names: None,
        waits: false,
    };
    let list = cx.client().map_err(worded)?.list().map_err(|error| with_causes(&error))?;
    let sources = filter.sources(&list).map_err(worded)?;
    put(&mut cx.out, &json!({ "begin": true }));
    cx.out.flush();
    let mut writer = HitWriter { out: &mut cx.out, sent: Instant::now() };
    let SearchResult { searched, total, hits, untimed, more, is_late, trouble } =
        search(&sources, &query, &mut writer).map_err(|error| error.to_string())?;
    let more = more.map(|cursor| cursor.to_string());
    let result =
        json!({ "looked": searched, "of": total, "hits": hits, "untimed": untimed, "more": more, "late": is_late, "trouble": trouble });
    put(&mut cx.out, &json!({ "end": result }));
    Ok(())
}

fn put(out: &mut Out, value: &Value) {
    out.data(format!("{value}\n").as_bytes());
}

/// Writes hits as lines of the output.
struct HitWriter<'a> {
    out: &'a mut Out,
    sent: Instant,
}

impl Receiver for HitWriter<'_> {
    fn hit(&mut self, hit: &Hit<'_>) -> bool {
        put(self.out, &json!({ "hit": shown(hit) }));
        if self.sent.elapsed() >= BATCH_TIME {
            self.out.flush();
            self.sent = Instant::now();
        }
        !self.out.is_closed()
    }

    fn progress(&mut self, searched: u64, total: u64) -> bool {
        put(self.out, &json!({ "progress": { "looked": searched, "of": total } }));
        self.out.flush();
        self.sent = Instant::now();
        !self.out.is_closed()
    }
}

/// Returns a hit in its output form.
fn shown(hit: &Hit<'_>) -> Value {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let found = hit.found;
    json!({
        "at": found.time.at_ms().map(iso),
        "time_from": found.time.word(),
        "received_between": found.time.interval_ms().map(|(from, to)| [iso(from), iso(to)]),
        "app": hit.source.name,
        "instance": hit.source.id,
        "stream": if hit.source.kind == LogKind::Error { "err" } else { "out" },
        "text": text(&found.text),
        "cut": found.is_cut,
        "file": hit.file.file_name().map(|name| name.to_string_lossy()),
        "place": hit.cursor.to_string(),
        "before": found.before.iter().map(text).collect::<Vec<_>>(),
        "after": found.after.iter().map(text).collect::<Vec<_>>(),
    })
}
