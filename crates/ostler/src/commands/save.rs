//! `save`: write the list for `resurrect`.

use std::collections::BTreeSet;
use std::path::Path;

use ostler_core::home::home_paths::DUMP;
use ostler_core::message;
use ostler_proto::control::{Failure, Request, Response, SavedFiles, TableRow};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::json;

/// Saves the list. An empty list is saved only with `--force` (or `FORCE` in the environment, as in
/// PM2).
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let force = call.has("force") || std::env::var_os("FORCE").is_some_and(|value| !value.is_empty());
    cx.client()?;
    let home = cx.home()?.to_owned();
    cx.refuse_beside_pm2(&home, &message!("save the list"))?;
    let paths = cx.paths_with(DUMP)?;
    let text = |path: &Path| path.display().to_string();
    let files = cx.program.is_pm2().then(|| SavedFiles { list: text(&paths.dump), backup: text(&paths.dump_backup) });
    if cx.program.is_pm2() {
        cx.out.info("Saving current process list...");
    }
    match cx.client()?.request(&Request::Save { force, files: files.clone() }, &mut |_| {}) {
        Ok(Response::Paths(paths)) if call.has("json") => json(&mut cx.out, &paths),
        Ok(Response::Paths(paths)) if cx.program.is_pm2() => {
            cx.out.info(format_args!("Successfully saved in {}", paths.first().map_or("", String::as_str)));
        }
        Ok(Response::Paths(paths)) => {
            let apps = count(cx.client()?.table().unwrap_or_default());
            cx.out.info(message!("saved {apps} to {path}", apps, path = paths.first().map_or("", String::as_str)));
        }
        Ok(_) => return Err(ClientError::Unexpected.into()),
        Err(ClientError::Refused(Failure::NothingToSave)) if !cx.program.is_pm2() => {
            cx.out.warn(message!("no app is in the list; nothing was saved"));
            cx.out.hint(message!("`{program} save --force` saves the empty list", program = cx.program.name()));
        }
        Err(ClientError::Refused(Failure::NothingToSave)) => {
            let (label, name) = (cx.program.label(), cx.program.name());
            cx.out.warn(format_args!("{label} is not managing any process, skipping save..."));
            cx.out.warn(format_args!("To force saving use: {name} save --force"));
            // As in PM2: from now on a list exists; it is empty if none existed before.
            if !paths.dump.exists() {
                cx.client()?.request(&Request::Save { force: true, files }, &mut |_| {})?;
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Status::Ok)
}

/// Counts the apps, and the instances if an app has several.
fn count(mut rows: Vec<TableRow>) -> String {
    rows.retain(|row| !row.module);
    let apps: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row.namespace.as_str(), row.name.as_str())).collect();
    match (apps.len(), rows.len()) {
        (1, 1) => message!("1 app"),
        (1, instances) => message!("1 app ({instances} instances)", instances),
        (apps, instances) if apps == instances => message!("{apps} apps", apps),
        (apps, instances) => message!("{apps} apps ({instances} instances)", apps, instances),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::data;

    #[test]
    fn saved_apps_are_counted() {
        for (names, text) in [
            (&["api"][..], "1 app"),
            (&["api", "api"], "1 app (2 instances)"),
            (&["api", "web"], "2 apps"),
            (&["api", "api", "web"], "2 apps (3 instances)"),
        ] {
            let rows = (0..).zip(names).map(|(id, name)| TableRow { module: false, ..data::row(id, name) }).collect();
            assert_eq!(count(rows), text);
        }
    }
}
