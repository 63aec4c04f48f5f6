//! Record that killed daemons while they read it. It is moved to a separate file for diagnosis.

use std::path::Path;

use ostler_core::home::home_paths::HomePaths;
use ostler_core::lifecycle::PolicyName;
use ostler_keeper::Inventory;
use ostler_proto::event::{EventCause, EventKind};
use serde_json::json;

use super::Snapshot;
use super::events::EventDraft;
use crate::platform::keeper_connection::{is_of_instance, split_key};
use crate::platform::log::DaemonLog;
use ostler_sys::fs::replace::{Durability, Writers, replace};

/// Record that was moved aside.
#[derive(Debug)]
pub(crate) struct AsideRecord {
    /// Internal number of the instance.
    pub id: u32,
    /// Event about it.
    pub draft: EventDraft,
}

/// Takes the record of an instance out of the snapshot, keeps it in a file and reports that. Its
/// process continues without supervision. Returns `None` if the snapshot has no such record.
pub(crate) fn take(snapshot: &mut Snapshot, id: u32, inventory: &Inventory, home: &Path, log: &mut DaemonLog) -> Option<AsideRecord> {
    let record = snapshot.slots.remove(&id)?;
    let app = snapshot.specs.get(&record.app_number);
    let name = app.map_or("unknown", |app| app.name.as_str());
    let pids: Vec<i32> = inventory
        .children
        .iter()
        .filter(|child| child.ended.is_none() && is_of_instance(child.key) && split_key(child.key).0 == id)
        .map(|child| child.pid)
        .collect();
    let at = ostler_sys::now().wall_ms;
    let kept = json!({
        "why": inventory.last_failure,
        "at_ms": at,
        "version": env!("CARGO_PKG_VERSION"),
        "processes": pids,
        "app": app,
        "instance": record,
    });
    let folder = HomePaths::set_aside(home);
    let path = folder.join(format!("{}-{id}-{at}.json", file_name(name)));
    let written = make(&folder).and_then(|()| {
        let bytes = serde_json::to_vec_pretty(&kept).map_err(std::io::Error::other)?;
        replace(&path, &bytes, Durability::Power, Writers::One).map_err(std::io::Error::other)
    });
    log.error(format_args!(
        "instance {id} of {name} is set aside, because {} daemons in a row crashed on its record ({}); its processes {pids:?} run without \
         supervision; the other apps are not affected; start it again after these processes have exited",
        inventory.failures, inventory.last_failure
    ));
    let (app, pm_id) = (Some(name.to_owned()), Some(record.pm_id));
    let file = written.is_ok().then(|| path.to_string_lossy().into_owned());
    match written {
        Ok(()) => log.error(format_args!("the record of {name} is kept in \"{}\"", path.display())),
        Err(error) => log.error(format_args!("the record of {name} cannot be kept in \"{}\": {error}", path.display())),
    }
    let cause = EventCause::policy(PolicyName::Recovery, inventory.last_failure.clone());
    Some(AsideRecord { id, draft: EventDraft { app, id: pm_id, kind: EventKind::SetAside { file }, cause, status: None } })
}

fn make(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Returns the name of an app as part of a file name.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).take(60).collect()
}
