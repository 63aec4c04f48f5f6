//! The dashboard as an app: its description, start and stop.

use std::path::Path;

use ostler_config::{Context, Overlay, load_stdin, normalize};
use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::message;
use ostler_proto::control::{Action, Existing, Request, TableRow};
use ostler_web::settings::Settings;
use ostler_web::{APP, ROLE};
use serde_json::json;

use crate::cx::Cx;
use crate::error::{CliError, DashboardError};
use crate::render::Wording;

/// First delay before a restart. The delay grows: an outage of the dashboard is also an outage of
/// its alerts.
const BACKOFF_MS: u64 = 100;

/// Starts the dashboard if it is enabled and not in the list, because a new daemon has only apps. A
/// failure is reported, and does not stop anything else.
pub(crate) fn start_if_enabled(cx: &mut Cx) -> Result<(), CliError> {
    let home = cx.home()?.to_owned();
    let settings = match Settings::read(&home) {
        Ok(settings) if settings.enabled => settings,
        Ok(_) => return Ok(()),
        Err(error) => {
            cx.out.warn_err(message!("cannot start the dashboard: {error}", error = ostler_core::text::causes::with_causes(&error)));
            return Ok(());
        }
    };
    // A dashboard that an earlier version stopped restarting is started again.
    if cx.client()?.table()?.iter().any(|row| is_it(row) && row.status != "errored") {
        return Ok(());
    }
    if let Err(error) = start(cx, &settings) {
        cx.out.error(message!("cannot start the dashboard: {error}", error = ostler_core::text::causes::with_causes(&error)));
    }
    Ok(())
}

/// Starts the dashboard with these settings; a running dashboard is restarted with them. Waits
/// until it listens.
///
/// # Errors
/// Returns the daemon's error, e.g. that the address is taken.
pub(crate) fn start(cx: &mut Cx, settings: &Settings) -> Result<(), CliError> {
    let home = cx.home()?.to_owned();
    let spec = described(cx, &home, settings)?;
    let request = Request::Start {
        apps: vec![spec],
        base_env: EnvMap::default(),
        existing: Existing::Restart,
        command: "web".into(),
        confirm: None,
        named_only: false,
        as_pm2: true,
    };
    cx.perform(&request, Wording::Names).map(drop)
}

/// Deletes the dashboard from the list, if it is there.
///
/// # Errors
/// Returns the daemon's error.
pub(crate) fn stop(cx: &mut Cx) -> Result<(), CliError> {
    act(cx, Action::Delete)
}

/// Restarts the dashboard with the new program after an update. Connections wait during the
/// restart, because the daemon holds the sockets.
///
/// # Errors
/// Returns the daemon's error.
pub(crate) fn renew(cx: &mut Cx) -> Result<(), CliError> {
    if row(cx)?.is_none() {
        return Ok(());
    }
    // Its description must come from the new program, too.
    match Settings::read(cx.home()?) {
        Ok(settings) if settings.enabled => start(cx, &settings),
        _ => act(cx, Action::Restart),
    }
}

/// Returns the dashboard's row; none if no daemon runs, or if the dashboard is not in the list.
///
/// # Errors
/// Returns any error except "not running".
pub(crate) fn row(cx: &mut Cx) -> Result<Option<TableRow>, CliError> {
    let Some(client) = cx.running_client()? else { return Ok(None) };
    Ok(client.table()?.into_iter().find(is_it))
}

fn act(cx: &mut Cx, action: Action) -> Result<(), CliError> {
    let Some(row) = row(cx)? else { return Ok(()) };
    cx.perform(&Request::act(action, vec![row.id.to_string()], "web"), Wording::Names).map(drop)
}

/// Returns true for the dashboard. An app of the user with the same name does not count.
fn is_it(row: &TableRow) -> bool {
    row.name == APP && row.module
}

fn described(cx: &Cx, home: &Path, settings: &Settings) -> Result<AppSpec, CliError> {
    let failed = |problem: &dyn std::fmt::Display| CliError::from(DashboardError::App(problem.to_string()));
    let exe = std::env::current_exe().map_err(|error| failed(&error))?;
    let (Some(exe), Some(home)) = (exe.to_str(), home.to_str()) else { return Err(failed(&message!("a path is not valid UTF-8"))) };
    let context = Context::new(home.into(), cx.env(), ostler_sys::machine::cpus::available()).map_err(|error| failed(&error))?;
    let app = json!({ "apps": [{
        "name": APP,
        "script": exe,
        "args": [ROLE, home],
        "interpreter": "none",
        "cwd": home,
        "listen": settings.sockets(),
        "ready": "notify",
        "merge_logs": true,
        "pmx_module": true,
        "automation": false,
        // With a backoff, no number of failures stops the restarts.
        "exp_backoff_restart_delay": BACKOFF_MS,
    }] });
    let first = |problems: ostler_config::Problems| match problems.0.iter().find(|problem| problem.is_error()) {
        Some(problem) => failed(&problem.message),
        None => failed(&message!("its app definition is invalid")),
    };
    let loaded = load_stdin(app.to_string().as_bytes(), &context).map_err(first)?;
    let app = loaded.apps.first().ok_or_else(|| failed(&message!("its app definition is empty")))?;
    normalize(app, &context, &Overlay::default()).map(|app| app.spec).map_err(first)
}
