//! Files that apps watch, their changes, and the promises about the consequences.
//!
//! Files and the kernel's queue of changes are real. Their times are played, and so is the thread
//! that reads the queue (`crate::features::process::watch::simulated`): its turns are between those
//! of the daemon. A change that the thread has read and the journal does not have yet is lost with
//! the daemon (`docs/watch.md`). No other change may be lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{InstanceState, PolicyName};
use ostler_core::watch::WatchSpec;
use ostler_proto::event::{Event, EventCause, EventKind};
use ostler_testkit::Rng;

use super::machine::Machine;
use super::verdict::Verdict;
use crate::control::Control;
use crate::features::process::watch::simulated;

/// Tolerance of times: of the clock of files, and of a start whose time is known only in kernel
/// ticks.
const INEXACT_MS: u64 = 20;

/// Tolerance for polled files. The time of a replacement is not known exactly.
const LOOK_MS: u64 = 3000;

/// Returns the folder of an app, beside the home: changes in the home never count.
fn folder_of(home: &str, app: &str) -> String {
    format!("{home}-files/{app}")
}

/// Makes an app watch its files.
pub(super) fn watches(spec: &mut AppSpec, home: &str, rng: &mut Rng) {
    spec.cwd = folder_of(home, &spec.name);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    *spec.watch = WatchSpec {
        on: true,
        paths: rng.pick(&[&[][..], &["src"], &["src", "conf/one.js"]]).iter().map(|path| (*path).to_owned()).collect(),
        ignore: rng.pick(&[None, Some(["*.skip", "src/tmp"])]).map(|patterns| words(&patterns)),
        delay_ms: rng.pick(&[0, 0, 300, 2000]),
        polling: rng.pick(&[None, None, None, Some(true)]),
        ..WatchSpec::default()
    };
}

/// State of the watched files of all apps.
#[derive(Default)]
pub(super) struct Files {
    /// Folder of all watched files; `None` if no app watches files.
    folder: Option<PathBuf>,
    apps: BTreeMap<String, WatchedApp>,
    /// Watched paths at the death of the daemon whose queue the keeper holds.
    inherited: Vec<PathBuf>,
}

struct WatchedApp {
    folder: PathBuf,
    /// Whether its whole folder counts, and not only the named paths.
    counts_all: bool,
    /// Whether the app names its own ignored paths.
    ignores: bool,
    polls: bool,
    /// Times of changes that count.
    made: Vec<u64>,
    /// Time of the last change that the daemon knows.
    known_ms: u64,
    in_flight: Vec<Change>,
    files: Vec<PathBuf>,
    last_name: u32,
    /// Whether the last change replaced its sources.
    is_replaced: bool,
}

/// Change that the daemon must notice.
struct Change {
    at_ms: u64,
    /// Whether the thread has read it.
    is_read: bool,
    /// Whether it is lost with the daemon even if unread, because a watched folder was replaced.
    is_replacement: bool,
}

impl Files {
    pub(super) fn of(specs: &[AppSpec], home: &str, machine: &Machine) -> Self {
        let watched = specs.iter().filter(|spec| spec.watch.on);
        let apps: BTreeMap<String, WatchedApp> = watched.map(|spec| (spec.name.clone(), WatchedApp::of(spec, machine))).collect();
        if apps.is_empty() {
            return Self::default();
        }
        simulated::play(true);
        Self { folder: Some(PathBuf::from(format!("{home}-files"))), apps, inherited: Vec::new() }
    }

    pub(super) fn apps(&self) -> Vec<String> {
        self.apps.keys().cloned().collect()
    }

    /// Runs a turn of the thread, if it runs. Returns true if it did something.
    pub(super) fn thread_turns(&mut self) -> bool {
        if self.apps.is_empty() {
            return false;
        }
        let any = simulated::turn();
        for app in self.apps.values_mut() {
            app.in_flight.iter_mut().for_each(|change| change.is_read = true);
        }
        any
    }

    /// Records that the daemon knows all read changes after its turn.
    pub(super) fn daemon_turned(&mut self) {
        self.apps.values_mut().for_each(WatchedApp::note_changes);
    }

    /// Handles the death of the daemon. `holds` is true if the keeper has the kernel's queue.
    pub(super) fn daemon_died(&mut self, holds: bool) {
        if self.apps.is_empty() {
            return;
        }
        self.inherited = if holds { simulated::watched() } else { Vec::new() };
        simulated::die();
        for app in self.apps.values_mut() {
            // Polling starts from the present times.
            let is_kept = holds && !app.polls;
            app.in_flight.retain(|change| is_kept && !change.is_read && !change.is_replacement);
        }
    }

    /// Changes a random file of an app. Returns a text about it.
    pub(super) fn change(&mut self, machine: &Machine, has_daemon: bool, rng: &mut Rng) -> Option<String> {
        let names = self.apps();
        self.change_of(names.get(rng.below(names.len()))?, rng.percent(60), machine, has_daemon, rng)
    }

    /// Changes a file of this app: a watched one, or an ignored one.
    pub(super) fn change_of(&mut self, name: &str, counts: bool, machine: &Machine, has_daemon: bool, rng: &mut Rng) -> Option<String> {
        let watched = if has_daemon { simulated::watched() } else { self.inherited.clone() };
        let app = self.apps.get_mut(name)?;
        if !counts {
            return Some(app.change_ignored(machine, rng));
        }
        let done = app.change(machine, rng);
        let at_ms = machine.now_ms();
        app.made.push(at_ms);
        // Polling finds only the last change, and none in its first pass.
        let is_replacement = app.is_replaced && !app.counts_all;
        let is_noticed = !app.polls && (has_daemon || !is_replacement) && watched.iter().any(|path| path.starts_with(&app.folder));
        if is_noticed {
            app.in_flight.push(Change { at_ms, is_read: false, is_replacement });
        }
        Some(format!("{done}{}", if is_noticed { "" } else { ", which may be missed" }))
    }

    /// Returns true if the daemon knows all changes.
    pub(super) fn all_known(&self) -> bool {
        self.apps.values().all(|app| app.in_flight.is_empty())
    }

    /// Returns the time of the last change that the daemon knows.
    pub(super) fn known_ms(&self, app: &str) -> u64 {
        self.apps.get(app).map_or(0, |app| app.known_ms)
    }

    /// Checks that each instance that restarts because of a change had one since its process was
    /// requested.
    pub(super) fn judge(&self, caused: Vec<CausedAction>, offset_ms: u64) -> Verdict {
        for CausedAction { event, since_ms } in caused {
            let Some(app) = event.app.as_ref().and_then(|app| self.apps.get(app)) else {
                return Err(format!("{:?} watches nothing: {event:?}", event.app));
            };
            let (since, until) = (since_ms.saturating_sub(offset_ms), event.at_ms - offset_ms);
            let has_reason = app.made.iter().any(|made| made + app.inexact_ms() >= since && *made <= until);
            ensure!(has_reason, "nothing has changed since {since}: {event:?}");
        }
        Ok(())
    }

    /// Checks that each running process was started after the last change.
    pub(super) fn at_rest(&self, control: &Control, machine: &Machine) -> Verdict {
        let state = machine.state.borrow();
        for slot in control.ctx.state.slots.iter().filter(|slot| slot.spec().watch.on) {
            let name = &slot.spec().name;
            let (Some(app), InstanceState::Running { pid, .. }) = (self.apps.get(name), &slot.durable.instance.state) else { continue };
            let Some(started_ms) = state.processes.get(pid).map(|process| (process.process().start_ticks + 1) * 10) else { continue };
            let is_new = app.known_ms <= started_ms || has_habit(control, name);
            ensure!(is_new, "{pid} of {name} was started at {started_ms}, and files were changed at {}", app.known_ms);
        }
        Ok(())
    }
}

/// Returns true if the daemon has classified changes as the app's own, which it logs once.
pub(super) fn has_habit(control: &Control, app: &str) -> bool {
    let log = fs::read_to_string(control.ctx.io.log.path()).unwrap_or_default();
    log.lines().any(|line| line.contains(&format!("App {app} writes ")))
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            simulated::play(false);
            let _ = fs::remove_dir_all(folder);
        }
    }
}

impl WatchedApp {
    fn of(spec: &AppSpec, machine: &Machine) -> Self {
        let folder = PathBuf::from(&spec.cwd);
        let mut app = Self {
            counts_all: spec.watch.paths.is_empty(),
            ignores: spec.watch.ignore.is_some(),
            polls: spec.watch.polling == Some(true),
            made: Vec::new(),
            known_ms: 0,
            in_flight: Vec::new(),
            files: Vec::new(),
            last_name: 0,
            is_replaced: false,
            folder,
        };
        for file in ["src/a.js", "src/deep/er/b.js", "src/node_modules/m/x.js", "src/tmp/t.js", "conf/one.js"] {
            app.write(file, machine);
        }
        app.files = ["src/a.js", "src/deep/er/b.js"].map(PathBuf::from).into();
        app
    }

    fn inexact_ms(&self) -> u64 {
        if self.polls { LOOK_MS } else { INEXACT_MS }
    }

    fn note_changes(&mut self) {
        let Self { known_ms: known, in_flight: on_their_way, .. } = self;
        on_their_way.retain(|change| {
            if change.is_read {
                *known = (*known).max(change.at_ms);
            }
            !change.is_read
        });
    }

    fn write(&self, file: impl AsRef<Path>, machine: &Machine) {
        let path = self.folder.join(file);
        let parent = path.parent().unwrap();
        if !parent.is_dir() {
            fs::create_dir_all(parent).unwrap();
        }
        if !path.exists() {
            machine.file_changed(parent);
        }
        fs::write(&path, machine.now_ms().to_string()).unwrap();
        machine.file_changed(&path);
    }

    fn new_name(&mut self) -> u32 {
        self.last_name += 1;
        self.last_name
    }

    /// Makes a change that counts.
    fn change(&mut self, machine: &Machine, rng: &mut Rng) -> String {
        let at = rng.below(self.files.len());
        let file = self.files[at].clone();
        let path = self.folder.join(&file);
        self.is_replaced = false;
        let done = match rng.below(8) {
            0 => {
                let new = PathBuf::from(format!("src/n{}.js", self.new_name()));
                fs::rename(&path, self.folder.join(&new)).unwrap();
                machine.file_removed(&path);
                machine.file_changed(&self.folder.join(&new));
                machine.file_changed(&self.folder.join("src"));
                self.files[at] = new.clone();
                format!("{} becomes {}", file.display(), new.display())
            }
            1 if self.files.len() > 1 => {
                self.files.remove(at);
                fs::remove_file(&path).unwrap();
                machine.file_removed(&path);
                machine.file_changed(path.parent().unwrap());
                format!("{} is removed", file.display())
            }
            2 => {
                let new = PathBuf::from(format!("src/d{}/c.js", self.new_name()));
                self.write(&new, machine);
                self.files.push(new.clone());
                format!("{} is made, with its folder", new.display())
            }
            3 => {
                let new = PathBuf::from(format!("src/n{}.js", self.new_name()));
                self.write(&new, machine);
                self.files.push(new.clone());
                format!("{} is made", new.display())
            }
            4 => self.replace_source(machine),
            5 if !self.counts_all => {
                self.write("src/a.js", machine);
                self.write("conf/one.js", machine);
                "src/a.js and conf/one.js are written".into()
            }
            _ => {
                self.write(&file, machine);
                format!("{} is written", file.display())
            }
        };
        format!("{}: {done}", self.folder.display())
    }

    /// Replaces the sources with another release.
    fn replace_source(&mut self, machine: &Machine) -> String {
        let number = self.new_name();
        self.is_replaced = true;
        let (source, old) = (self.folder.join("src"), self.folder.join(format!("old{number}")));
        fs::rename(&source, &old).unwrap();
        for file in std::mem::take(&mut self.files) {
            machine.file_removed(&self.folder.join(file));
        }
        fs::remove_dir_all(&old).unwrap();
        machine.file_changed(&self.folder);
        self.write("src/a.js", machine);
        self.files.push("src/a.js".into());
        "src is another one".into()
    }

    /// Makes a change that does not count.
    fn change_ignored(&self, machine: &Machine, rng: &mut Rng) -> String {
        let own = if self.ignores { ["src/x.skip", "src/tmp/t.js"] } else { ["src/.hidden", "src/x.log"] };
        let elsewhere = if self.counts_all { "node_modules/y.js" } else { "other/y.js" };
        let never = ["src/node_modules/m/x.js", "src/a.js~", "src/4913", elsewhere];
        let file = rng.pick(&[own[0], own[1], never[0], never[1], never[2], never[3]]);
        self.write(file, machine);
        format!("{}: {file} is written, which is ignored", self.folder.display())
    }
}

/// Action because of a changed file.
pub(super) struct CausedAction {
    event: Event,
    /// Wall-clock time before which the affected process was not requested.
    since_ms: u64,
}

/// Actions because of changed files, from the events.
#[derive(Default)]
pub(super) struct Watching {
    /// Last event of each instance, and the event before its present process.
    instances: BTreeMap<(String, u32), (u64, u64)>,
    pub caused: Vec<CausedAction>,
}

impl Watching {
    pub(super) fn take(&mut self, event: &Event) {
        let is_watch = matches!(&event.cause, EventCause::Policy { name: PolicyName::Watch, .. });
        let (Some(app), Some(id)) = (&event.app, event.id) else { return };
        let (last, since) = self.instances.entry((app.clone(), id)).or_default();
        if matches!(event.kind, EventKind::Launched { .. }) {
            *since = *last;
        }
        *last = event.at_ms;
        let since_ms = *since;
        // A process that is not ready in time is stopped by the policy that started it, so only
        // online ones count.
        if is_watch && matches!(event.kind, EventKind::Stopping) && event.before.as_deref() == Some("online") {
            self.caused.push(CausedAction { event: event.clone(), since_ms });
        }
    }

    /// Discards the observations, because earlier events are lost.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
