//! `errors`: exceptions of apps in groups, as the dashboard collects them. If the dashboard is off,
//! the current log files are searched.

use std::collections::BTreeMap;
use std::path::Path;

use ostler_core::errors::ReportReader;
use ostler_web::errors::{ErrorBook, Group, GroupState, Resolved, read_book, read_resolved, resolve};
use ostler_web::settings::Settings;
use serde_json::{Value, json};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, DashboardError, Status, UsageError};
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
        cx.out.info("no exceptions have been recorded");
    } else {
        let text = errors(&shown, &cx.out.view());
        cx.out.line(text.trim_end_matches('\n'));
    }
    if !is_on {
        let name = cx.program.name();
        cx.out.info(format_args!(
            "these are from the current log files; `{name} web enable` collects exceptions, counts them by release and keeps them"
        ));
    }
    Ok(Status::Ok)
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
        let text = error(group, state, resolved.mark_of(&group.id), &cx.out.view());
        cx.out.line(text.trim_end_matches('\n'));
    }
    Ok(Status::Ok)
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
            reason: format!("expected an id as `errors` shows it, found {id:?}"),
        }
        .into());
    }
    let Some(book) = read_book(home).map_err(DashboardError::from)? else {
        return Err(DashboardError::NothingCollected { program: cx.program.name() }.into());
    };
    let Some(group) = book.find(id) else {
        return Err(CliError::NotFound(format!("no error or several errors have ids that start with {id:?}")));
    };
    let uid = rustix::process::geteuid().as_raw();
    resolve(home, &group.id, &format!("uid {uid}")).map_err(DashboardError::from)?;
    cx.out.info(format_args!("{} is resolved; a recurrence alerts as a regression", group.id));
    Ok(Status::Ok)
}

/// Collects the exceptions in the current log files. Their times are unknown.
fn in_logs(cx: &mut Cx) -> Result<ErrorBook, CliError> {
    let mut book = ErrorBook::empty();
    let mut readers: BTreeMap<(String, u32), ReportReader> = BTreeMap::new();
    crate::logs::last_errors(cx, LINES, &mut |app, id, line| {
        let reader = readers.entry((app.to_owned(), id)).or_default();
        reader.push(&String::from_utf8_lossy(line));
        if reader.is_full() {
            reader.take(false).iter().for_each(|found| book.note(app, id, found));
        }
    })?;
    for ((app, id), mut reader) in readers {
        reader.take(true).iter().for_each(|found| book.note(&app, id, found));
    }
    Ok(book)
}
