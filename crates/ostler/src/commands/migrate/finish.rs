//! Rollback to PM2, and the shutdown of PM2.

use std::process::Command;
use std::time::{Duration, Instant};

use ostler_core::message;
use ostler_proto::control::{Action, Request};
use serde_json::Value;

use super::{EXIT_TIMEOUT, POLL_INTERVAL, numbers, saved_list};
use crate::cx::{Cx, same_file};
use crate::error::{CliError, MigrateError, Status};
use crate::migrate::{self, Pm2, Record};

/// Returns the moved apps to PM2, the last one first.
pub(super) fn move_back(cx: &mut Cx, limit: Duration) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    let Some(mut record) = Record::read(&home)? else { return Err(nothing_moved()) };
    let is_in_place = same_file(&home, &record.from);
    let mut pm2 = match Pm2::connect(&record.from) {
        Ok(Some(pm2)) => pm2,
        Ok(None) | Err(CliError::Migrate(MigrateError::Ostler(_))) if is_in_place => return Err(MigrateError::TookOver(record.from).into()),
        Ok(None) => return Err(MigrateError::Stopped { from: record.from, home }.into()),
        Err(error) => return Err(error),
    };
    while let Some(moved) = record.apps.last().cloned() {
        cx.out.info(message!("{app}: back to PM2", app = crate::text::shown(&moved.name)));
        cx.out.flush();
        delete(cx, &moved.name)?;
        start_in(&mut pm2, &moved.pm_ids, limit)?;
        record.apps.pop();
        record.write(&home)?;
    }
    for unit in std::mem::take(&mut record.units) {
        migrate::carry_out(Command::new("systemctl").args(["enable", &unit]))?;
        cx.out.info(message!("{unit} starts PM2 at boot again; to remove ostler's unit: ostler unstartup", unit));
    }
    record.write(&home)?;
    if cx.running_client()?.is_some() {
        cx.client()?.request(&Request::Save { force: true, files: None }, &mut |_| {})?;
    }
    Ok(Status::Ok)
}

fn nothing_moved() -> CliError {
    let hint = message!("after `migrate --finish`: `ostler delete all`, then PM2's `pm2 resurrect`");
    CliError::Unknown { text: message!("no apps were moved from PM2"), hint }
}

/// Stops a PM2 that has only stopped apps left.
pub(super) fn finish(cx: &mut Cx) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    let Some(record) = Record::read(&home)? else { return Err(nothing_moved()) };
    if let Some(mut pm2) = Pm2::connect(&record.from)? {
        // With `--in-place`, the list is ostler's, too, and contains the apps.
        let saved = if same_file(&home, &record.from) { None } else { saved_list::keep(&record, &mut pm2)? };
        stop_pm2(cx, pm2)?;
        if let Some(path) = saved {
            cx.out.info(message!("PM2's list was saved in {path}: PM2's `pm2 resurrect` can start its apps again", path = path.display()));
        }
    }
    Record::default().write(&home)?;
    Ok(Status::Ok)
}

pub(super) fn stop_pm2(cx: &mut Cx, mut pm2: Pm2) -> Result<(), CliError> {
    let list = pm2.list()?;
    let modules: Vec<u32> = list.iter().filter(|entry| entry["pmx_module"] == true).filter_map(id_of).collect();
    for module in modules {
        pm2.stop(module)?;
    }
    let found = migrate::read(pm2.list()?);
    let left: Vec<&str> = found.apps.iter().filter(|app| !app.running_ids().is_empty()).map(|app| app.name.as_str()).collect();
    if !left.is_empty() {
        return Err(MigrateError::HasApps(crate::text::shown(&left.join(", "))).into());
    }
    let process = pm2.end()?;
    let until = Instant::now() + EXIT_TIMEOUT;
    while process.runs() {
        if Instant::now() > until {
            return Err(MigrateError::DoesNotEnd(process.pid).into());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    cx.out.info(message!("PM2 was stopped"));
    Ok(())
}

fn id_of(entry: &Value) -> Option<u32> {
    entry["pm_id"].as_u64().and_then(|id| u32::try_from(id).ok())
}

/// Deletes an app in ostler, if it exists.
pub(super) fn delete(cx: &mut Cx, name: &str) -> Result<(), CliError> {
    let table = cx.client()?.table()?;
    let ids: Vec<String> = table.iter().filter(|row| row.name == name).map(|row| row.id.to_string()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    cx.client()?.request(&Request::act(Action::Delete, ids, "migrate"), &mut |_| {}).map(drop)?;
    Ok(())
}

/// Starts instances in PM2 again, until PM2 reports that they run.
pub(super) fn start_in(pm2: &mut Pm2, ids: &[u32], limit: Duration) -> Result<(), CliError> {
    for id in ids {
        pm2.start(*id)?;
    }
    let until = Instant::now() + limit;
    loop {
        let list = pm2.list()?;
        let is_online = |id: &u32| list.iter().any(|entry| id_of(entry) == Some(*id) && entry["status"] == "online");
        if ids.iter().all(is_online) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(MigrateError::NotOnline(numbers(ids)).into());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
