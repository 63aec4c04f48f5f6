//! The list, as `list` and every changing command show it.

use ostler_core::home::home_paths::HomePaths;
use ostler_proto::control::{HostReport, Request, Response};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, UsageError};
use crate::render::{SortOrder, blocks, host_line, json, list_table, module_table};
use crate::unresponsive::keeper_fault;

/// Prints the list in the form that the options request. Commands that change something print it at
/// the end.
pub(crate) fn show(cx: &mut Cx, call: &Call) -> Result<(), CliError> {
    shown(cx, call, None)
}

/// Works like [`show()`], but only for these instances.
pub(crate) fn show_only(cx: &mut Cx, call: &Call, ids: &[u32]) -> Result<(), CliError> {
    if ids.is_empty() {
        // No instance is selected, so the daemon is not asked.
        if call.has("json") {
            json(&mut cx.out, &Vec::<u32>::new());
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
        let name = kept.as_ref().and_then(|kept| kept["app"]["name"].as_str()).unwrap_or("an app");
        let why = kept.as_ref().and_then(|kept| kept["why"].as_str()).unwrap_or("for an unknown reason");
        cx.out.warn_err(format_args!(
            "{} is not in the list, because the daemon crashed on its record ({}): start it again, and remove \"{}\"",
            crate::text::shown(name),
            crate::text::shown(why),
            path.display()
        ));
    }
    Ok(())
}

/// Returns the order of the rows. PM2 differs: it does not sort by an unknown field; here such a
/// field is an error.
pub(super) fn order(call: &Call) -> Result<SortOrder, CliError> {
    let Some(text) = call.value("sort") else { return Ok(SortOrder::BY_NAME) };
    SortOrder::parse(text).ok_or_else(|| {
        let reason =
            format!("unknown field {text:?}; one of name, namespace, id, pid, cpu, memory, uptime, status, with :desc for descending");
        UsageError::BadValue { option: "--sort".into(), reason }.into()
    })
}

/// Returns the report about the machine, unless it is turned off.
pub(super) fn host(cx: &mut Cx) -> Result<Option<Box<HostReport>>, CliError> {
    match cx.client()?.request(&Request::Host, &mut |_| {})? {
        Response::Host(report) => Ok(report),
        _ => Err(ClientError::Unexpected.into()),
    }
}
