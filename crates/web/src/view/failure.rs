//! Last failure of an app that is down or restarts often. Pure.

use ostler_client::source_line::SourceLine;
use ostler_client::words::exit_text;
use ostler_core::errors::{Exception, ReportReader};
use ostler_core::lifecycle::{ExitCause, ExitRecord, ProcessEnding};
use ostler_proto::control::Detail;
use serde::Serialize;

use super::list::App;

/// Reasons for attention with which the last failure is shown.
const SHOWN: [&str; 4] = ["errored", "crashed", "restarting", "keeps_restarting"];
/// Maximum number of the app's last lines.
const LINES: usize = 12;

/// Last failure of an app.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Failure {
    pub(crate) instance: u32,
    /// Time of the exit, ms.
    pub(crate) at: u64,
    /// The exit, in words that follow "it".
    text: String,
    /// Number of equal exits in a row, as far as they are kept.
    count: usize,
    /// Median run time of these.
    ran_ms: u64,
    /// The exception in its last output.
    pub(crate) error: Option<FailureError>,
    /// The source line that its last output names.
    source: Option<Source>,
    /// The last lines of its output.
    lines: Vec<String>,
}

/// Exception of a failure.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct FailureError {
    /// The id of its group, if the exception was collected.
    pub(crate) id: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    message: String,
    /// `file:line` of the place that threw it; empty = unknown.
    place: String,
    #[serde(skip)]
    pub(crate) exception: Exception,
}

#[derive(Debug, PartialEq, Serialize)]
struct Source {
    number: u32,
    text: String,
}

/// Returns the instance whose failure is shown: the newest failure of an app that is down because
/// of it, or that restarts often.
pub(crate) fn failed<'a>(app: &App, details: &'a [Detail]) -> Option<&'a Detail> {
    let is_meant = app.attention.iter().any(|word| SHOWN.contains(word));
    let at = |detail: &&Detail| detail.instance.last_failure().map(|exit| exit.ended.mono_ms);
    details.iter().filter(|detail| is_meant && at(detail).is_some()).max_by_key(at)
}

/// Describes the last failure of an instance. `masked` removes secrets.
pub(super) fn failure(detail: &Detail, source: Option<SourceLine>, masked: impl Fn(&str) -> String) -> Option<Failure> {
    let exits = &detail.instance.exits;
    let last = detail.instance.last_failure()?;
    let end = exits.iter().rposition(|exit| exit == last)? + 1;
    let equal: Vec<&ExitRecord> = exits[..end].iter().rev().take_while(|exit| is_same(exit, last)).collect();
    let mut times: Vec<u64> = equal.iter().map(|exit| exit.ended.mono_ms.saturating_sub(exit.started.mono_ms)).collect();
    times.sort_unstable();
    let lines: Vec<String> = last.last_lines.iter().map(|line| masked(line)).collect();
    Some(Failure {
        instance: detail.id,
        at: last.ended.wall_ms,
        text: how(last),
        count: equal.len(),
        ran_ms: times.get(times.len() / 2).copied().unwrap_or(0),
        error: error(&lines),
        source: source.map(|line| Source { number: line.number, text: masked(line.text.trim_end()) }),
        lines: lines[lines.len().saturating_sub(LINES)..].to_vec(),
    })
}

fn is_same(one: &ExitRecord, other: &ExitRecord) -> bool {
    one.ending == other.ending && std::mem::discriminant(&one.cause) == std::mem::discriminant(&other.cause)
}

fn how(exit: &ExitRecord) -> String {
    match (&exit.cause, exit.ending) {
        (ExitCause::CouldNotStart { step }, ProcessEnding::SpawnFailed { errno }) => {
            format!("could not be started: {step}: {}", std::io::Error::from_raw_os_error(errno))
        }
        (ExitCause::NotStarted { why }, _) => format!("was not started: {}", ostler_client::words::shown(why)),
        (ExitCause::OutOfMemory, _) => "was killed by the kernel: out of memory".into(),
        (ExitCause::NotReady, _) => "was stopped, because it was not ready in time".into(),
        _ => exit_text(exit.ending),
    }
}

/// Returns the last exception in these lines.
fn error(lines: &[String]) -> Option<FailureError> {
    let mut reader = ReportReader::default();
    lines.iter().for_each(|line| reader.push(line));
    let exception = reader.take(true).pop()?.exception;
    let place = exception.culprit().map(|frame| match frame.line {
        Some(line) => format!("{}:{line}", frame.file),
        None => frame.file.clone(),
    });
    Some(FailureError {
        id: None,
        kind: exception.kind.clone(),
        message: exception.message.clone(),
        place: place.unwrap_or_default(),
        exception,
    })
}

#[cfg(test)]
mod tests {
    use ostler_core::app::AppSpec;
    use ostler_core::lifecycle::{InstanceState, Origin};
    use ostler_core::time::Now;

    use super::*;
    use crate::view::tests_detail as detail;

    fn exit(at_ms: u64, ran_ms: u64, code: i32, cause: ExitCause, lines: &[&str]) -> ExitRecord {
        let last_lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let (started, ended) = (Now::at(at_ms - ran_ms), Now::at(at_ms));
        ExitRecord { inc: 1, pid: 7, started, ended, ending: ProcessEnding::Code(code), cause, last_lines }
    }

    const TRACE: &[&str] = &[
        "/srv/app.js:3",
        "  connect('s3cret')",
        "TypeError: no host s3cret",
        "    at connect (/srv/app.js:3:9)",
        "    at node:internal/main:1:2",
    ];

    #[test]
    fn last_failure_has_error_source_and_repeats() {
        let exits = vec![
            exit(1_000, 1, 0, ExitCause::Itself, &[]),
            exit(2_000, 400, 1, ExitCause::Itself, &["other"]),
            exit(3_000, 600, 1, ExitCause::Itself, &["other"]),
            exit(4_000, 500, 1, ExitCause::Itself, TRACE),
        ];
        let detail = detail(4, AppSpec::default(), InstanceState::Errored, exits);
        let source = Some(SourceLine { number: 3, text: "  connect('s3cret')  ".into() });
        let found = failure(&detail, source, |text| text.replace("s3cret", "***")).unwrap();
        assert_eq!((found.instance, found.count, found.ran_ms, found.text.as_str()), (4, 3, 500, "exited with code 1"));
        let error = found.error.as_ref().unwrap();
        assert_eq!((error.kind.as_str(), error.message.as_str(), error.place.as_str()), ("TypeError", "no host ***", "/srv/app.js:3"));
        assert_eq!(found.source, Some(Source { number: 3, text: "  connect('***')".into() }));
        assert!(!serde_json::to_string(&found).unwrap().contains("s3cret"));
    }

    #[test]
    fn requested_stop_is_no_failure() {
        let exits = vec![exit(1_000, 1, 1, ExitCause::Itself, TRACE), exit(2_000, 1, 1, ExitCause::Requested(Origin::Shutdown), &[])];
        assert_eq!(failure(&detail(4, AppSpec::default(), InstanceState::Stopped, exits), None, str::to_owned), None);
    }
}
