//! The Node preload: where its file is, and what it is told.
//!
//! It is part of this binary and is written where the app's user can read it: into the home, or for apps of other users (only root starts
//! those) into a folder of root's below `/run`. Without a place, or where its user
//! cannot read it, the app runs without it and is stopped by signal alone.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ostler_core::serving::Sticky;
use ostler_sys::Credentials;
use serde_json::{Map, json};

use crate::log::DaemonLog;
use crate::settings::Settings;
use crate::shared_folder::{SHARED_FOLDER, shared_folder};
use crate::slots::Slot;
use ostler_sys::replace::{Durability, Writers, replace};

const CODE: &str = include_str!("../../preload/preload.cjs");

const FILE_PREFIX: &str = "node-preload-";

/// What the preload is told.
pub(super) const SETTINGS_VAR: &str = "OSTLER_PRELOAD";

/// Files that were written by this daemon.
#[derive(Debug, Default)]
pub(crate) struct Preload {
    home: Option<PathBuf>,
    shared: Option<PathBuf>,
    /// Users of whom was told that they cannot read it.
    told: BTreeSet<u32>,
}

impl Preload {
    /// The file for a process of this slot; none = it runs without. `user`: whom it runs as, where that is said.
    pub(super) fn path_for(
        &mut self,
        slot: &Slot,
        user: Option<&Credentials>,
        settings: &Settings,
        log: &mut DaemonLog,
    ) -> Option<PathBuf> {
        let spec = slot.spec();
        // Under its first permission model (version 20) Node refuses to read the file, and the app would not start.
        let is_locked = spec.interpreter_args.iter().any(|arg| arg == "--experimental-permission");
        if spec.no_preload || !spec.runs_in_node() || is_locked {
            return None;
        }
        let other = user.filter(|user| user.uid != rustix::process::geteuid().as_raw());
        let place = if other.is_some() { &mut self.shared } else { &mut self.home };
        if place.as_ref().is_none_or(|path| !path.exists()) {
            *place = if other.is_some() { write_shared() } else { write(&settings.home) };
        }
        let path = place.clone();
        let Some(user) = other else { return path };
        // A file that Node cannot read would end the app before its first line.
        let readable = path.filter(|path| ostler_sys::access::can_read(path, user).unwrap_or(false));
        if readable.is_none() && self.told.insert(user.uid) {
            log.error(format_args!(
                "App [{}:{}] runs without the Node preload (a reload cuts what is open at drain_timeout): user {} cannot read it in {SHARED_FOLDER}",
                spec.name, slot.pm_id, user.uid
            ));
        }
        readable
    }
}

/// Whether a process was started with a preload of ours: its daemon may have died before it could note that.
pub(crate) fn runs_with(pid: i32) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    words.any(|word| word == b"--require") && words.next().is_some_and(|path| memchr::memmem::find(path, FILE_PREFIX.as_bytes()).is_some())
}

/// Two versions of the daemon do not write to the same file.
fn name() -> String {
    format!("{FILE_PREFIX}{}.cjs", env!("CARGO_PKG_VERSION"))
}

fn write(folder: &Path) -> Option<PathBuf> {
    let path = folder.join(name());
    let is_there = std::fs::read(&path).is_ok_and(|code| code == CODE.as_bytes());
    (is_there || replace(&path, CODE.as_bytes(), Durability::Process, Writers::One).is_ok()).then_some(path)
}

fn write_shared() -> Option<PathBuf> {
    let path = write(shared_folder()?)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).ok()?;
    Some(path)
}

/// The settings of one process.
pub(super) fn settings(slot: &Slot, piped: bool) -> String {
    let mut settings = Map::new();
    if piped {
        settings.insert("sync".into(), true.into());
    }
    if let Some(Sticky::Cookie(name)) = &slot.spec().sticky {
        settings.insert("cookie".into(), json!({"name": name, "worker": slot.index}));
    }
    if let Some(ms) = slot.spec().health().and_then(|health| health.heartbeat_ms) {
        // Two may be late.
        settings.insert("beat_ms".into(), (ms / 3).into());
    }
    serde_json::Value::Object(settings).to_string()
}
