//! `migrate`: moves the apps of a running PM2 to ostler, one after the other, and back.
//!
//! # Theory of operation
//!
//! The command asks PM2's daemon for its list over PM2's own socket. If no PM2 runs, it reads PM2's
//! saved list. ostler starts each app as PM2 describes it.
//!
//! - An app without ports starts in ostler beside the old one. Once it is healthy, the old one is
//!   stopped in PM2.
//! - An app with ports is stopped in PM2 first. If it does not become healthy in ostler, PM2 starts
//!   it again.
//!
//! Nothing is ever deleted in PM2. Before an app is stopped in PM2, `migration.json` records it, so
//! a rollback is possible at each moment.

mod finish;
mod migration;
mod saved_list;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_proto::control::Request;
use ostler_sys::process::tree::ProcTable;
use serde_json::{Value, json};

use self::migration::Migration;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, MigrateError, Status, UsageError};
use crate::migrate::{self, App, MoveMethod, Pm2, Pm2Contents};

/// Time within which an app has to be healthy in ostler, without `--timeout`.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for PM2's processes to exit after PM2 reports that they have stopped.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs `migrate [folder]`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    cx.takes_over_pm2 = true;
    let from = match call.target() {
        Some(folder) => {
            std::path::absolute(folder).map_err(|source| CliError::File { what: marked!("find"), path: folder.to_owned(), source })?
        }
        None => crate::home::pm2_home().ok_or(MigrateError::NoHome)?,
    };
    let from = std::fs::canonicalize(&from).unwrap_or(from);
    let limit = match call.value("timeout") {
        Some(text) => {
            let bad = |error: &dyn std::fmt::Display| UsageError::BadValue { option: "--timeout".into(), reason: error.to_string() };
            Duration::from_millis(ostler_core::text::units::millis(text).map_err(|error| bad(&error))?)
        }
        None => HEALTHY_TIMEOUT,
    };
    if call.has("in-place") {
        cx.use_home(from.clone())?;
        // PM2's modules run until PM2 is shut down.
        cx.on_launch = None;
    }
    if call.has("back") {
        return finish::move_back(cx, limit);
    }
    if call.has("finish") {
        return finish::finish(cx);
    }
    let is_same = std::fs::canonicalize(cx.home()?).is_ok_and(|home| home == from);
    if is_same && !call.has("in-place") && !call.has("dry-run") {
        return Err(MigrateError::SameHome(from).into());
    }
    let mut pm2 = Pm2::connect(&from)?;
    let list = match &mut pm2 {
        Some(pm2) => pm2.list()?,
        None => saved(&from)?,
    };
    let found = migrate::read(list);
    let about = match &mut pm2 {
        Some(pm2) => message!("PM2 {version} (pid {pid})", version = pm2.version()?, pid = pm2.process.pid),
        None => message!("PM2 is not running; its saved list"),
    };
    let plan = plan(&found, pm2.as_ref());
    if call.has("dry-run") {
        show(cx, call, &from, &about, &found, &plan);
        return Ok(Status::Ok);
    }
    let apps = match found.apps.len() {
        1 => message!("1 app"),
        count => message!("{count} apps", count),
    };
    cx.out.info(message!("{about} in {folder}: {apps}", about, folder = from.display(), apps));
    let mut migration = Migration::new(from, limit, pm2);
    let moved = migration.apps(cx, &plan);
    if call.has("json") {
        cx.out.data(format!("{}\n", migration.report(&found.modules)).as_bytes());
    }
    moved?;
    migration.take_settings(cx)?;
    if !found.apps.is_empty() {
        cx.client()?.request(&Request::Save { force: false, files: None }, &mut |_| {})?;
    }
    migration.take_boot(cx)?;
    report_modules(cx, &found, call.has("in-place"));
    match migration.pm2() {
        Some(pm2) if call.has("in-place") => finish::stop_pm2(cx, pm2)?,
        Some(_) => cx.out.info(message!(
            "PM2 still runs, without these apps: `ostler migrate --finish` stops it, `ostler migrate --back` moves the apps back"
        )),
        None => {}
    }
    if call.has("in-place") {
        crate::modules::start_all(cx)?;
    }
    Ok(Status::Ok)
}

/// One app, how it is moved, and the places at which it listens.
struct MoveStep<'a> {
    app: &'a App,
    method: MoveMethod,
    addresses: BTreeSet<String>,
}

fn plan<'a>(found: &'a Pm2Contents, pm2: Option<&Pm2>) -> Vec<MoveStep<'a>> {
    let processes = ProcTable::scan();
    let shares = pm2.is_some_and(|pm2| ostler_sys::fd::socket_copies::may_take_from(pm2.process));
    let step = |app: &'a App| {
        let addresses = listens(&processes, app.pids());
        // If no PM2 runs, the old app cannot be in the way.
        let method =
            if pm2.is_none() && !app.running_ids().is_empty() { MoveMethod::Beside } else { app.method(!addresses.is_empty(), shares) };
        MoveStep { app, method, addresses }
    };
    found.apps.iter().map(step).collect()
}

/// Returns the places at which these processes and their descendants listen.
fn listens(processes: &ProcTable, pids: impl Iterator<Item = i32>) -> BTreeSet<String> {
    let all: Vec<i32> =
        pids.flat_map(|pid| processes.descendants(pid).into_iter().map(|entry| entry.pid).chain([pid]).collect::<Vec<_>>()).collect();
    ostler_sys::net::listening::places_of(&all)
}

/// Reads the saved list of a PM2 that does not run.
fn saved(from: &Path) -> Result<Vec<Value>, CliError> {
    let path = crate::home::shell_paths(from).dump;
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let folder = from.display();
            return Err(CliError::NotFound(message!(
                "PM2 does not run in \"{folder}\", and has no saved list there; to name its folder: ostler migrate <folder>",
                folder
            )));
        }
        Err(source) => return Err(CliError::File { what: marked!("read"), path: path.display().to_string(), source }),
    };
    match serde_json::from_str(&text) {
        Ok(Value::Array(list)) => Ok(list),
        _ => Err(MigrateError::SavedList(path).into()),
    }
}

fn show(cx: &mut Cx, call: &Call, from: &Path, about: &str, found: &Pm2Contents, plan: &[MoveStep<'_>]) {
    if call.has("json") {
        let apps: Vec<Value> = plan
            .iter()
            .map(|step| json!({ "name": step.app.name, "instances": step.app.instances.len(), "way": step.method.word(), "listens": step.addresses, "notes": step.app.notes }))
            .collect();
        let text = json!({ "from": from, "apps": apps, "modules": found.modules });
        return cx.out.data(format!("{text}\n").as_bytes());
    }
    cx.out.info(message!("{about} in {folder}; nothing was changed", about, folder = from.display()));
    for step in plan {
        let listens = if step.addresses.is_empty() {
            String::new()
        } else {
            message!(", listens at {addresses}", addresses = joined(&step.addresses))
        };
        let mode = if step.app.is_cluster { "cluster" } else { "fork" };
        let count = match step.app.instances.len() {
            1 => message!("1 instance"),
            count => message!("{count} instances", count),
        };
        cx.out.line(format_args!("  {}: {count}, {mode}{listens}: {}", crate::text::shown(&step.app.name), step.method.words()));
        step.app.notes.iter().for_each(|note| cx.out.line(format_args!("    {note}")));
    }
    report_modules(cx, found, call.has("in-place"));
}

fn report_modules(cx: &mut Cx, found: &Pm2Contents, is_in_place: bool) {
    for module in &found.modules {
        let shown = crate::text::shown(module);
        match crate::modules::built_in(module) {
            Some(built_in) => cx.out.info(message!("module {shown}: {description}", shown, description = translated(built_in.does))),
            None if is_in_place => cx.out.info(message!("module {shown}: started here after PM2 was stopped", shown)),
            None => cx.out.info(message!("module {shown}: not moved; `ostler install {shown}` installs it here", shown)),
        }
    }
    if found.rejected > 0 {
        cx.out.warn_err(match found.rejected {
            1 => message!("invalid and skipped: 1 entry of its list"),
            count => message!("invalid and skipped: {count} entries of its list", count),
        });
    }
}

fn joined(addresses: &BTreeSet<String>) -> String {
    addresses.iter().map(|place| crate::text::shown(place)).collect::<Vec<_>>().join(", ")
}

fn numbers(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
