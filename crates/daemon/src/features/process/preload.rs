//! Node preload: its file, and its settings.
//!
//! The preload is part of this binary. The daemon writes it into the home. For apps of other users
//! (which only root starts), it writes it into a folder of root below `/run`. The app's user must
//! be able to read it. If there is no such folder, or the user cannot read the file, the app runs
//! without the preload and is stopped by signals only.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ostler_core::lifecycle::SpawnFailure;
use ostler_core::serving::Sticky;
use ostler_sys::Credentials;
use ostler_sys::fs::replace::{Durability, Writers, replace};
use serde_json::{Map, json};

use crate::engine::{Ctx, SpawnExtras};
use crate::platform::log::DaemonLog;
use crate::platform::settings::Settings;
use crate::platform::shared_folder::{SHARED_FOLDER, shared_folder};
use crate::state::slots::Slot;

#[path = "../../../preload/code.rs"]
mod code;

use code::CODE;
/// Code that the preload loads from its own folder while figures are collected.
const COLLECTOR: &str = include_str!("../../../preload/collector.cjs");

/// Code that the preload loads from its own folder when the dashboard reads a page of one worker.
const WAY: &str = include_str!("../../../preload/way.cjs");

const FILE_PREFIX: &str = "node-preload-";
const COLLECTOR_PREFIX: &str = "node-collector-";
const WAY_PREFIX: &str = "node-way-";

/// Variable with the settings of the preload.
const SETTINGS_VAR: &str = "OSTLER_PRELOAD";

/// Files of the preload that were written by this daemon.
#[derive(Debug, Default)]
pub(crate) struct Preload {
    home: Option<PathBuf>,
    shared: Option<PathBuf>,
    /// Users whose missing read permission was reported.
    reported: BTreeSet<u32>,
}

impl Preload {
    pub(crate) fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, inc: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return Ok(()) };
        let user = beside.account.as_ref().map(|account| &account.credentials);
        let path = self.path_for(slot, user, &ctx.io.settings, &mut ctx.io.log).and_then(|path| path.into_os_string().into_string().ok());
        slot.durable.preloaded = path.is_some();
        if let Some(path) = path {
            beside.readable.extend(files_beside(Path::new(&path)));
            let settings = settings(slot, inc, beside.debug_port);
            beside.vars.push((SETTINGS_VAR, settings));
            beside.node_args.extend(["--require".into(), path]);
        }
        Ok(())
    }

    pub(crate) fn on_recognised(&mut self, ctx: &mut Ctx, id: u32, pid: i32) {
        if let Some(slot) = ctx.state.slots.get_mut(id) {
            slot.durable.preloaded = runs_with(pid);
        }
    }
}

impl Preload {
    pub(crate) const NAME: &str = "preload";

    /// Returns the path of the preload for a process of this slot; `None` = it runs without.
    /// `user`: the user of the process, if set.
    fn path_for(&mut self, slot: &Slot, user: Option<&Credentials>, settings: &Settings, log: &mut DaemonLog) -> Option<PathBuf> {
        let spec = slot.spec();
        // Under the first permission model (Node 20) Node refuses to read the file, and the app
        // would not start.
        let is_locked = spec.interpreter_args.iter().any(|arg| arg == "--experimental-permission");
        if spec.no_preload || !spec.ends_in_node() || is_locked {
            return None;
        }
        let other = user.filter(|user| user.uid != rustix::process::geteuid().as_raw());
        let place = if other.is_some() { &mut self.shared } else { &mut self.home };
        if place.as_ref().is_none_or(|path| !path.exists()) {
            *place = if other.is_some() { write_shared() } else { write(&settings.home, None) };
        }
        let path = place.clone();
        let Some(user) = other else { return path };
        // If Node cannot read the file, the app exits before its first line.
        let readable = path.filter(|path| ostler_sys::fs::access::can_read(path, user).unwrap_or(false));
        if readable.is_none() && self.reported.insert(user.uid) {
            log.error(format_args!(
                "App [{}:{}] runs without the Node preload (a reload closes connections that are still open at drain_timeout): user {} \
                 cannot read it in {SHARED_FOLDER}",
                spec.name, slot.durable.pm_id, user.uid
            ));
        }
        readable
    }
}

/// Returns true if a process was started with a preload of ours. Its daemon may have died before it
/// could record that.
fn runs_with(pid: i32) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    let is_ours = |text: &[u8]| memchr::memmem::find(text, FILE_PREFIX.as_bytes()).is_some();
    if words.any(|word| word == b"--require") && words.next().is_some_and(is_ours) {
        return true;
    }
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"NODE_OPTIONS=") && is_ours(variable))
}

/// Returns the name of a file. Two versions of the daemon use different names.
fn name(prefix: &str) -> String {
    format!("{prefix}{}.cjs", env!("CARGO_PKG_VERSION"))
}

/// Returns the preload and its additional files.
fn files_beside(preload: &Path) -> Vec<PathBuf> {
    [COLLECTOR_PREFIX, WAY_PREFIX].iter().map(|prefix| preload.with_file_name(name(prefix))).chain([preload.to_owned()]).collect()
}

/// Writes the files. Without the two additional files the preload still works, but collects no
/// figures and serves no pages.
fn write(folder: &Path, mode: Option<u32>) -> Option<PathBuf> {
    write_one(&folder.join(name(COLLECTOR_PREFIX)), COLLECTOR, mode);
    write_one(&folder.join(name(WAY_PREFIX)), WAY, mode);
    write_one(&folder.join(name(FILE_PREFIX)), CODE, mode)
}

fn write_one(path: &Path, code: &str, mode: Option<u32>) -> Option<PathBuf> {
    let is_there = std::fs::read(path).is_ok_and(|present| present == code.as_bytes());
    let is_written = is_there || replace(path, code.as_bytes(), Durability::Process, Writers::One).is_ok();
    let is_open = |mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).is_ok();
    (is_written && mode.is_none_or(is_open)).then(|| path.to_owned())
}

fn write_shared() -> Option<PathBuf> {
    write(shared_folder()?, Some(0o644))
}

/// Returns the settings of one process. `debug_port`: port of Node's inspector after SIGUSR1.
fn settings(slot: &Slot, inc: u32, debug_port: Option<u16>) -> String {
    let mut settings = Map::new();
    if let Some(port) = debug_port {
        settings.insert("debug_port".into(), port.into());
    }
    if slot.live.piped.is_some() {
        settings.insert("sync".into(), true.into());
    }
    if let Some(Sticky::Cookie(name)) = &slot.spec().sticky {
        settings.insert("cookie".into(), json!({"name": name, "worker": format!("{}.{inc}", slot.durable.index)}));
    }
    if let Some(ms) = slot.spec().max_connection_age_ms {
        settings.insert("age_ms".into(), ms.into());
    }
    if slot.spec().is_module() {
        settings.insert("module".into(), true.into());
    }
    if let Some(ms) = slot.spec().health().and_then(|health| health.heartbeat_ms) {
        // With a third of the time, two heartbeats may be late.
        settings.insert("beat_ms".into(), (ms / 3).into());
    }
    serde_json::Value::Object(settings).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};
    use ostler_core::app::AppSpec;

    fn node() -> AppSpec {
        AppSpec { name: "api".into(), script: "/srv/api.js".into(), interpreter: Some("/usr/bin/node".into()), ..AppSpec::default() }
    }

    fn prepared(spec: AppSpec) -> (SpawnExtras, bool) {
        let (mut played, mut preload, mut beside) = (TestContext::new(&[]), Preload::default(), SpawnExtras::default());
        let id = played.instance(spec);
        preload.on_prepare(&mut played.ctx, id, 1, &mut beside).unwrap();
        (beside, played.ctx.state.slots.get(id).unwrap().durable.preloaded)
    }

    #[test]
    fn node_app_starts_with_the_preload_and_its_settings() {
        let mut spec = node();
        spec.sticky = Some(Sticky::Cookie("seat".into()));
        spec.max_connection_age_ms = Some(60_000);
        let (extras, is_preloaded) = prepared(spec);
        let [require, path] = &extras.node_args[..] else { panic!("{:?}", extras.node_args) };
        assert!(require == "--require" && path.contains(FILE_PREFIX) && is_preloaded, "{path}");
        assert_eq!(extras.vars, [(SETTINGS_VAR, r#"{"cookie":{"name":"seat","worker":"0.1"},"age_ms":60000}"#.to_owned())]);
    }

    #[test]
    fn apps_that_cannot_use_the_preload_run_without_it() {
        let locked = AppSpec { interpreter_args: vec!["--experimental-permission".into()], ..node() };
        let python = AppSpec { interpreter: Some("python3".into()), ..node() };
        for spec in [AppSpec { no_preload: true, ..node() }, locked, python, AppSpec { interpreter: None, ..node() }] {
            let (extras, is_preloaded) = prepared(spec.clone());
            assert!(extras.node_args.is_empty() && extras.vars.is_empty() && !is_preloaded, "{spec:?}");
        }
    }

    #[test]
    fn removed_preload_file_is_recreated() {
        let (mut played, mut preload) = (TestContext::new(&[]), Preload::default());
        let id = played.instance(node());
        let mut path = || {
            let mut extras = SpawnExtras::default();
            preload.on_prepare(&mut played.ctx, id, 1, &mut extras).unwrap();
            PathBuf::from(extras.node_args.pop().unwrap())
        };
        let first = path();
        assert_eq!(std::fs::read_to_string(&first).unwrap(), CODE);
        std::fs::remove_file(&first).unwrap();
        assert_eq!(path(), first);
        assert!(first.exists());
    }

    #[test]
    fn preloaded_process_of_a_former_daemon_is_recognised() {
        let (mut played, mut preload) = (TestContext::new(&[]), Preload::default());
        let id = played.instance(node());
        let file = format!("/tmp/{FILE_PREFIX}x.cjs");
        for (words, expected) in [(["--require", &file], true), (["--require", "/srv/own.cjs"], false), (["-e", &file], false)] {
            // The command of this idle shell contains these words.
            let mut child = std::process::Command::new("sh")
                .args(["-c", "read line", "sh"])
                .args(words)
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let pid = child.id().cast_signed();
            while std::fs::read(format!("/proc/{pid}/cmdline")).unwrap().is_empty() {
                std::thread::yield_now();
            }
            preload.on_recognised(&mut played.ctx, id, pid);
            assert_eq!(played.ctx.state.slots.get(id).unwrap().durable.preloaded, expected, "{words:?}");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    reacts!(Preload: );
}
