//! PM2's saved list, completed before PM2 is stopped: without the moved apps in it, a later
//! `pm2 resurrect` could not start them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ostler_core::marked;
use ostler_sys::fs::replace::{Durability, Writers, replace};
use serde_json::Value;

use crate::error::CliError;
use crate::migrate::{Pm2, Record};

/// Adds the moved apps to the saved list if it lacks one of them. The former list becomes the
/// backup. Returns the path of the list if it was written.
pub(super) fn keep(record: &Record, pm2: &mut Pm2) -> Result<Option<PathBuf>, CliError> {
    let paths = crate::home::shell_paths(&record.from);
    let failed = |what, path: &PathBuf| {
        let path = path.display().to_string();
        move |source| CliError::File { what, path, source }
    };
    let text = std::fs::read_to_string(&paths.dump).unwrap_or_default();
    let saved: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    let moved: Vec<(&str, &[u32])> = record.apps.iter().map(|app| (app.name.as_str(), app.pm_ids.as_slice())).collect();
    if !lacks_any(&saved, &moved) {
        return Ok(None);
    }
    let list = completed(saved, pm2.list()?, &moved);
    if !text.is_empty() {
        std::fs::copy(&paths.dump, &paths.dump_backup).map_err(failed(marked!("write"), &paths.dump_backup))?;
    }
    let text = serde_json::to_vec_pretty(&list).unwrap_or_default();
    replace(&paths.dump, &text, Durability::Power, Writers::Many).map_err(|error| failed(marked!("write"), &paths.dump)(error.source))?;
    Ok(Some(paths.dump))
}

fn name(entry: &Value) -> &str {
    entry["name"].as_str().unwrap_or_default()
}

fn lacks_any(saved: &[Value], moved: &[(&str, &[u32])]) -> bool {
    moved.iter().any(|(app, _)| !saved.iter().any(|entry| name(entry) == *app))
}

/// Returns PM2's present list as it was before the move: the moved instances run. Entries of the
/// saved list with other names stay.
fn completed(saved: Vec<Value>, present: Vec<Value>, moved: &[(&str, &[u32])]) -> Vec<Value> {
    let ran = |entry: &Value| moved.iter().any(|(app, ids)| name(entry) == *app && ids.iter().any(|id| entry["pm_id"] == *id));
    let mut list: Vec<Value> = present.into_iter().filter(|entry| entry["pmx_module"] != true).collect();
    for entry in &mut list {
        let status = ran(entry).then_some("online");
        if let Some(map) = entry.as_object_mut() {
            ["pid", "pm_id", "instances"].iter().for_each(|key| _ = map.shift_remove(*key));
            status.map(|status| map.insert("status".into(), status.into()));
        }
    }
    let names: BTreeSet<String> = list.iter().map(|entry| name(entry).to_owned()).collect();
    list.extend(saved.into_iter().filter(|entry| !names.contains(name(entry))));
    list
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn moved_apps_are_saved_as_running() {
        let present = vec![
            json!({"name": "api", "pm_id": 0, "pid": 0, "status": "stopped", "env": {"A": "1"}}),
            json!({"name": "api", "pm_id": 1, "pid": 0, "status": "stopped"}),
            json!({"name": "down", "pm_id": 2, "status": "stopped"}),
            json!({"name": "module", "pm_id": 3, "status": "stopped", "pmx_module": true}),
        ];
        let saved = vec![json!({"name": "api", "status": "online"}), json!({"name": "other", "status": "online"})];
        let moved: [(&str, &[u32]); 2] = [("api", &[0]), ("down", &[])];
        assert!(lacks_any(&saved, &moved) && !lacks_any(&saved, &moved[..1]) && lacks_any(&[], &moved));
        assert_eq!(
            completed(saved, present, &moved),
            [
                json!({"name": "api", "status": "online", "env": {"A": "1"}}),
                json!({"name": "api", "status": "stopped"}),
                json!({"name": "down", "status": "stopped"}),
                json!({"name": "other", "status": "online"}),
            ]
        );
    }
}
