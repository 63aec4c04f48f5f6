//! The list, as `list` and every changing command show it.

use ostler_core::home::home_paths::HomePaths;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_proto::control::{HostReport, Request, Response, TableRow};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, UsageError};
use crate::render::face::{AppGroup, app_list, overview_line};
use crate::render::{SortOrder, blocks, host_line, json, list_table, module_table};
use crate::unresponsive::keeper_fault;

/// Prints the list in the form that the options request.
pub(crate) fn show(cx: &mut Cx, call: &Call) -> Result<(), CliError> {
    shown(cx, call, None)
}

/// Prints the list after a change, as PM2 does. ostler's own output has a line for each changed app
/// already, so it prints the list only in a form that the user requests.
pub(crate) fn after_change(cx: &mut Cx, call: &Call) -> Result<(), CliError> {
    if cx.program.is_pm2() || call.has("json") || call.has("mini-list") { show(cx, call) } else { report_keeper(cx) }
}

/// Works like [`show()`], but only for these instances.
pub(crate) fn show_only(cx: &mut Cx, call: &Call, ids: &[u32]) -> Result<(), CliError> {
    if ids.is_empty() {
        // No instance is selected, so the daemon is not asked.
        if call.has("json") {
            json(&mut cx.out, &Vec::<u32>::new());
        } else if !cx.program.is_pm2() {
            cx.out.line(message!("no apps"));
        } else {
            cx.out.line(list_table(&[], &cx.out.view()).trim_end_matches('\n'));
        }
        return Ok(());
    }
    shown(cx, call, Some(ids))
}

fn shown(cx: &mut Cx, call: &Call, only: Option<&[u32]>) -> Result<(), CliError> {
    let is_meant = |id: u32| only.is_none_or(|ids| ids.contains(&id));
    if cx.out.is_silent() && !call.has("json") {
        return Ok(());
    }
    let order = order(call)?;
    if call.has("json") {
        let mut rows = cx.client()?.list()?;
        rows.retain(|row| is_meant(row.id));
        json(&mut cx.out, &rows);
    } else if call.has("mini-list") {
        let mut rows = cx.client()?.list()?;
        rows.retain(|row| is_meant(row.id));
        cx.out.line(blocks(&rows).trim_end_matches('\n'));
        cx.out.line("");
    } else {
        let mut rows = cx.client()?.table()?;
        rows.retain(|row| is_meant(row.id));
        order.sort(&mut rows);
        let (modules, apps): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.module);
        if !cx.program.is_pm2() {
            own(cx, call, order, (apps, modules))?;
            return report_keeper(cx);
        }
        let table = list_table(&apps, &cx.out.view()) + &module_table(&modules, &cx.out.view());
        cx.out.line(table.trim_end_matches('\n'));
        if only.is_none() {
            report_set_aside(cx)?;
            // The user wants the list; it is complete without the machine's metrics.
            if let Ok(Some(report)) = host(cx) {
                cx.out.line(host_line(&report, &cx.out.view()));
            }
        }
    }
    report_keeper(cx)
}

/// Prints the list in ostler's own look: apps, modules, and a line that counts them.
fn own(cx: &mut Cx, call: &Call, order: SortOrder, (apps, modules): (Vec<TableRow>, Vec<TableRow>)) -> Result<(), CliError> {
    let view = cx.out.view();
    let is_each = call.has("all");
    let dashboard = dashboard_url(cx);
    let shown = |row: &TableRow| dashboard.is_none() || !is_dashboard(row) || row.status != "online";
    let groups = AppGroup::all(apps, is_each, order);
    let modules = AppGroup::all(modules.into_iter().filter(shown).collect(), is_each, order);
    let mut text = String::new();
    if groups.is_empty() {
        text += &message!("no apps yet: `{program} start app.js` starts one", program = cx.program.name());
        text.push('\n');
    } else {
        text += &app_list(&groups, "NAME", is_each, &view);
        text += &overview_line(&groups, dashboard.as_deref(), &view);
    }
    if !modules.is_empty() {
        text += &format!("\n{}", app_list(&modules, "MODULE", is_each, &view));
    }
    cx.out.line(text.trim_end_matches('\n'));
    report_set_aside(cx)
}

/// Returns the address of the dashboard, if it is enabled.
#[cfg(feature = "web")]
fn dashboard_url(cx: &mut Cx) -> Option<String> {
    ostler_web::settings::Settings::read(cx.home().ok()?).ok().filter(|settings| settings.enabled)?.url()
}

#[cfg(not(feature = "web"))]
const fn dashboard_url(_: &mut Cx) -> Option<String> {
    None
}

#[cfg(feature = "web")]
fn is_dashboard(row: &TableRow) -> bool {
    row.name == ostler_web::APP
}

#[cfg(not(feature = "web"))]
const fn is_dashboard(_: &TableRow) -> bool {
    false
}

/// Warns about a keeper that does not respond: the list then shows its last report.
fn report_keeper(cx: &mut Cx) -> Result<(), CliError> {
    if let Some(fault) = cx.client()?.peer().and_then(|peer| keeper_fault(peer.keeper_pid)) {
        cx.out.warn_err(fault.found);
    }
    Ok(())
}

/// Warns about records that the daemon had to set aside to continue, until the user removes them.
fn report_set_aside(cx: &mut Cx) -> Result<(), CliError> {
    let folder = HomePaths::set_aside(cx.home()?);
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let kept = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        let name = kept.as_ref().and_then(|kept| kept["app"]["name"].as_str()).unwrap_or(translated(marked!("an app")));
        let why = kept.as_ref().and_then(|kept| kept["why"].as_str()).unwrap_or(translated(marked!("for an unknown reason")));
        cx.out.warn_err(message!(
            "{app} is not in the list, because the daemon crashed on its record ({reason}): start it again, and remove \"{path}\"",
            app = crate::text::shown(name),
            reason = crate::text::shown(why),
            path = path.display()
        ));
    }
    Ok(())
}

/// Returns the order of the rows. PM2 differs: it does not sort by an unknown field; here such a
/// field is an error.
pub(super) fn order(call: &Call) -> Result<SortOrder, CliError> {
    let Some(text) = call.value("sort") else { return Ok(SortOrder::BY_NAME) };
    SortOrder::parse(text).ok_or_else(|| {
        let reason = message!(
            "unknown field {text}; one of name, namespace, id, pid, cpu, memory, uptime, status, with :desc for descending",
            text = format!("{text:?}")
        );
        UsageError::unknown_among("--sort", reason, text.split(':').next().unwrap_or(text), SortOrder::FIELDS).into()
    })
}

/// Returns the report about the machine, unless it is turned off.
pub(super) fn host(cx: &mut Cx) -> Result<Option<Box<HostReport>>, CliError> {
    match cx.client()?.request(&Request::Host, &mut |_| {})? {
        Response::Host(report) => Ok(report),
        _ => Err(ClientError::Unexpected.into()),
    }
}
