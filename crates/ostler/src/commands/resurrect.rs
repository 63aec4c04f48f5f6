//! `resurrect`: start the saved apps.

use std::path::Path;

use ostler_core::home::home_paths::{DUMP, HomePaths};
use ostler_core::message;
use ostler_proto::control::{Failure, Progress, Request, Response};
use ostler_proto::pm2::{EntryError, of_entries};
use serde_json::Value;

use super::table;
use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::left_behind;
use crate::render::{ProgressMessage, ProgressPrinter, Wording};

/// PM2's last line if neither list can be read.
const NOTHING: &str = "No processes saved; DUMP file doesn't exist";

fn located(dump: &Path) -> String {
    format!("Restoring processes located in {}", dump.display())
}

/// Returns PM2's messages about a list that it cannot read, and about the backup list. With `end`,
/// the backup cannot be read either.
fn pm2_words(dump: &Path, backup: &Path, end: Option<&str>) -> Vec<ProgressMessage> {
    let unread = |path: &Path| {
        let what = if path.exists() { "parse" } else { "read" };
        ProgressMessage::Error(format!("Failed to {what} dump file in {}", path.display()))
    };
    let mut words = vec![ProgressMessage::Info(located(dump)), unread(dump), ProgressMessage::Info(located(backup))];
    if let Some(end) = end {
        words.extend([unread(backup), ProgressMessage::Error(end.into())]);
    }
    words
}

/// Request that restores the saved apps.
struct Requested {
    request: Request,
    /// Whether the request restores the backup list.
    is_backup: bool,
    /// Invalid entries, which the request leaves out.
    rejected: Vec<EntryError>,
}

/// Returns the request that restores this list. The daemon reads its own list itself; the request
/// carries any other list. Returns none if neither list can be read.
fn requested(dump: &Path, backup: &Path, running: &HomePaths) -> Option<Requested> {
    if (dump, backup) == (&running.dump, &running.dump_backup) {
        return Some(Requested { request: Request::Resurrect, is_backup: false, rejected: Vec::new() });
    }
    [dump, backup].into_iter().zip([false, true]).find_map(|(path, is_backup)| {
        let (entries, rejected) = valid(serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?);
        Some(Requested { request: Request::Restore { entries, sockets_of: None }, is_backup, rejected })
    })
}

/// Separates the valid entries of a list from the invalid ones: one bad entry must not keep the
/// other apps from starting. The daemon would refuse the whole request.
fn valid(list: Vec<Value>) -> (Vec<Value>, Vec<EntryError>) {
    let rejected = of_entries(list.clone()).rejected;
    let is_valid = |position: usize| rejected.iter().all(|entry| entry.position != position);
    let entries = list.into_iter().enumerate().filter(|(position, _)| is_valid(*position)).map(|(_, entry)| entry).collect();
    (entries, rejected)
}

/// Returns the result of a request, in which the entries that it left out count as failed.
fn counting<E: From<Failure>>(result: Result<usize, E>, rejected: &[EntryError]) -> Result<usize, E> {
    let failed = u32::try_from(rejected.len()).unwrap_or(u32::MAX);
    match result {
        Ok(started) if failed > 0 => {
            let total = u32::try_from(started).unwrap_or(u32::MAX).saturating_add(failed);
            Err(Failure::Some { failed, total }.into())
        }
        result => result,
    }
}

/// Starts the saved apps, with ostler's own output.
fn own(cx: &mut Cx, call: &Call, dump: &Path, backup: &Path, home: &Path, has_others: bool) -> Result<Status, CliError> {
    let Some(Requested { request, is_backup, rejected }) = requested(dump, backup, &crate::home::paths(home)) else {
        return if has_others { Ok(Status::Ok) } else { Err(Failure::NothingSaved.into()) };
    };
    cx.out.info(message!("restoring the apps of {path}", path = if is_backup { backup } else { dump }.display()));
    if is_backup {
        cx.out.warn(message!("{path} cannot be read, so its backup is used", path = dump.display()));
    }
    rejected.iter().for_each(|entry| cx.out.warn(entry));
    match counting(cx.perform(&request, Wording::Resurrect).map(|ids| ids.len()), &rejected) {
        Err(CliError::Daemon(Failure::NothingSaved)) if has_others => {}
        Ok(0) => cx.out.info(message!("all saved apps are in the list already")),
        result => drop(result?),
    }
    crate::modules::start_all(cx)?;
    table::after_change(cx, call)?;
    Ok(Status::Ok)
}

/// Starts the saved apps. Apps whose name is already in the list are left alone.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    // If a daemon was killed together with its apps, the next daemon starts them again.
    let has_others = cx.running_client()?.is_none() && left_behind::of(&home).is_some_and(|left| !left.other_boot);
    cx.client()?;
    let HomePaths { dump, dump_backup, .. } = cx.paths_with(DUMP)?;
    if !cx.program.is_pm2() {
        return own(cx, call, &dump, &dump_backup, &home, has_others);
    }
    cx.out.info("Resurrecting");
    let is_pm2 = cx.program.is_pm2();
    let (out, client) = cx.parts()?;
    let mut is_reported = false;
    let mut printer = ProgressPrinter::new(out, Wording::Resurrect);
    let mut left_out = Vec::new();
    let request = match requested(&dump, &dump_backup, &crate::home::paths(&home)) {
        Some(Requested { request, is_backup, rejected }) => {
            is_reported = is_backup;
            if is_backup {
                printer.print_all(&pm2_words(&dump, &dump_backup, None));
            }
            left_out = rejected;
            Ok(request)
        }
        None => Err(ClientError::Refused(Failure::NothingSaved)),
    };
    let result = request.and_then(|request| {
        client.request(&request, &mut |progress| {
            match progress {
                _ if is_reported => {}
                // The warning about the main list implies that the backup is restored.
                Progress::Warning(_) if is_pm2 => printer.print_all(&pm2_words(&dump, &dump_backup, None)),
                Progress::Warning(_) => {}
                _ => printer.info(located(&dump)),
            }
            is_reported = true;
            printer.print(progress);
        })
    });
    let count = |response: Response| if let Response::Done { ids } = response { ids.len() } else { 0 };
    let result = counting(result.map(count), &left_out);
    match &result {
        _ if is_reported => {}
        Err(ClientError::Refused(Failure::Other(_) | Failure::NothingSaved)) if is_pm2 => {
            ProgressPrinter::new(&mut cx.out, Wording::Resurrect).print_all(&pm2_words(&dump, &dump_backup, Some(NOTHING)));
        }
        Err(ClientError::Refused(Failure::Other(_))) => {}
        _ => cx.out.info(located(&dump)),
    }
    left_out.iter().for_each(|entry| cx.out.warn(entry));
    match result {
        // PM2 continues without a failure, and scripts at boot rely on it.
        Err(ClientError::Refused(Failure::NothingSaved)) if is_pm2 || has_others => {}
        Err(ClientError::Refused(Failure::Other(why))) if is_pm2 => cx.out.error(why),
        // One app that cannot start must not fail the unit that runs this command at boot.
        Err(ClientError::Refused(failure @ Failure::Some { .. })) if is_pm2 => cx.out.error(failure),
        result => drop(result?),
    }
    crate::modules::start_all(cx)?;
    table::after_change(cx, call)?;
    Ok(Status::Ok)
}
