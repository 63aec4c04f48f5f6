//! `errors`: exceptions of apps in groups, as the dashboard collects them. If the dashboard is off,
//! the current log files are searched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ostler_client::source_line::{SourceLine, source_line};
use ostler_core::errors::ReportReader;
use ostler_core::message;
use ostler_core::text::suggest::did_you_mean;
use ostler_web::errors::{ErrorBook, Group, GroupState, Resolved, read_book, read_resolved, resolve};
use ostler_web::settings::Settings;
use serde_json::{Value, json};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, DashboardError, Status, UsageError};
use crate::render::face::{ErrorContext, error_own, errors_own, innermost_own};
use crate::render::{self, error, errors};

/// Lines of each log file that are searched if the dashboard is off.
const LINES: u64 = 5000;
/// Shortest word that may be an id.
const SHORTEST_ID: usize = 4;

/// Runs `errors [name|id]`, `errors --resolve <id>`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    if let Some(id) = call.value("resolve") {
        return mark(cx, &home, id);
    }
    let is_on = Settings::read(&home).is_ok_and(|settings| settings.enabled);
    let book = if is_on { read_book(&home).map_err(DashboardError::from)?.unwrap_or_else(ErrorBook::empty) } else { in_logs(cx)? };
    let resolved = read_resolved(&home).map_err(DashboardError::from)?;
    let shown = match call.target() {
        None => book.newest(|_| true),
        Some(word) => match named(&book, word) {
            ErrorTarget::App(groups) => groups,
            ErrorTarget::Group(group) => return show_one(cx, call, group, &resolved),
            ErrorTarget::Nothing => Vec::new(),
        },
    };
    let unresolved = |group: &&Group| call.has("all") || group.state(&resolved) != GroupState::Resolved;
    let shown: Vec<(&Group, GroupState)> = shown.into_iter().filter(unresolved).map(|group| (group, group.state(&resolved))).collect();
    if call.has("json") {
        let list: Vec<Value> = shown.iter().map(|(group, state)| value(group, *state)).collect();
        render::json(&mut cx.out, &list);
        return Ok(Status::Ok);
    }
    if shown.is_empty() {
        cx.out.info(message!("no exceptions have been recorded"));
        if let Some(question) = call.target().and_then(|word| near(cx, &book, word)) {
            cx.out.hint(question);
        }
    } else {
        let view = cx.out.view();
        let text = if cx.program.is_pm2() { errors(&shown, &view) } else { errors_own(&shown, cx.program.name(), &view) };
        cx.out.line(text.trim_end_matches('\n'));
    }
    if !is_on {
        let name = cx.program.name();
        cx.out.info(message!(
            "these are from the current log files; `{program} web enable` collects exceptions, counts them by release and keeps them",
            program = name
        ));
    }
    Ok(Status::Ok)
}

/// Returns the question about an app or an id that is close to a word, unless it is the name of an
/// app.
fn near(cx: &mut Cx, book: &ErrorBook, word: &str) -> Option<String> {
    let rows = cx.running_client().ok().flatten().and_then(|client| client.table().ok()).unwrap_or_default();
    if rows.iter().any(|row| row.name == word) {
        return None;
    }
    let groups = book.newest(|_| true);
    let ids = groups.iter().map(|group| short(&group.id, word));
    let known: BTreeSet<String> =
        rows.iter().map(|row| &row.name).chain(groups.iter().map(|group| &group.app)).cloned().chain(ids).collect();
    did_you_mean(word, known.iter().map(String::as_str))
}

/// Returns as many letters of an id as the word has.
fn short(id: &str, word: &str) -> String {
    id.chars().take(word.chars().count().max(SHORTEST_ID)).collect()
}

/// Meaning of a word on the command line.
enum ErrorTarget<'a> {
    App(Vec<&'a Group>),
    Group(&'a Group),
    Nothing,
}

fn named<'a>(book: &'a ErrorBook, word: &str) -> ErrorTarget<'a> {
    let groups = book.newest(|group| group.app == word);
    if !groups.is_empty() {
        return ErrorTarget::App(groups);
    }
    match book.find(word).filter(|_| word.len() >= SHORTEST_ID) {
        Some(group) => ErrorTarget::Group(group),
        None => ErrorTarget::Nothing,
    }
}

fn show_one(cx: &mut Cx, call: &Call, group: &Group, resolved: &Resolved) -> Result<Status, CliError> {
    let state = group.state(resolved);
    if call.has("json") {
        render::json(&mut cx.out, &value(group, state));
    } else {
        let (view, resolved) = (cx.out.view(), resolved.mark_of(&group.id));
        let text = if cx.program.is_pm2() {
            error(group, state, resolved, &view)
        } else {
            let (program, source) = (cx.program.name(), source_of(cx, group));
            error_own(group, &ErrorContext { program, state, resolved, source, view: &view })
        };
        cx.out.line(text.trim_end_matches('\n'));
    }
    Ok(Status::Ok)
}

/// Returns the source line of an exception, if its app is still in the list. Never starts a daemon.
fn source_of(cx: &mut Cx, group: &Group) -> Option<SourceLine> {
    let frame = innermost_own(group)?;
    let details = cx.running_client().ok()??.inspect(&[group.sample.instance.to_string()]).ok()?;
    let detail = details.first().filter(|detail| detail.spec.name == group.app)?;
    source_line(&detail.spec, &frame.file, frame.line?)
}

fn value(group: &Group, state: GroupState) -> Value {
    let mut value = serde_json::to_value(group).unwrap_or_default();
    value["state"] = json!(state);
    value
}

fn mark(cx: &mut Cx, home: &Path, id: &str) -> Result<Status, CliError> {
    if id.len() < SHORTEST_ID {
        return Err(UsageError::BadValue {
            option: "--resolve".into(),
            reason: message!("expected an id as `errors` shows it, found {text}", text = format!("{id:?}")),
        }
        .into());
    }
    let Some(book) = read_book(home).map_err(DashboardError::from)? else {
        return Err(DashboardError::NothingCollected { program: cx.program.name() }.into());
    };
    let Some(group) = book.find(id) else {
        let text = message!("no error or several errors have ids that start with {text}; nothing was changed", text = format!("{id:?}"));
        let known: Vec<String> = book.newest(|_| true).iter().map(|group| short(&group.id, id)).collect();
        return Err(CliError::unknown(text, id, known.iter().map(String::as_str), &message!("`ostler errors` shows the ids")));
    };
    let uid = rustix::process::geteuid().as_raw();
    resolve(home, &group.id, &format!("uid {uid}")).map_err(DashboardError::from)?;
    cx.out.info(message!("{id} is resolved; a recurrence alerts as a regression", id = group.id));
    Ok(Status::Ok)
}

/// Collects the exceptions in the current log files. Their times are unknown, so exceptions that a
/// stop signal explains are left out: each stop by ostler leaves one.
fn in_logs(cx: &mut Cx) -> Result<ErrorBook, CliError> {
    let mut book = ErrorBook::empty();
    let mut readers: BTreeMap<(String, u32), ReportReader> = BTreeMap::new();
    crate::logs::last_errors(cx, LINES, &mut |app, id, line| {
        let reader = readers.entry((app.to_owned(), id)).or_default();
        reader.push(&String::from_utf8_lossy(line));
        if reader.is_full() {
            reader.take(false).iter().filter(|found| !found.exception.is_of_a_stop()).for_each(|found| book.note(app, id, found));
        }
    })?;
    for ((app, id), mut reader) in readers {
        reader.take(true).iter().filter(|found| !found.exception.is_of_a_stop()).for_each(|found| book.note(&app, id, found));
    }
    Ok(book)
}
