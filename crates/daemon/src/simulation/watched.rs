//! Files that apps watch, whoever changes them, and the promises about what follows.
//!
//! The files are real ones, and so is the kernel's queue of changes; their times are played, and so is the thread that reads the queue
//! (`crate::features::process::watch::played`): it has its turns between those of the daemon. A change that the thread has read and the journal does not have
//! yet dies with the daemon (`docs/watch.md`); of all others nothing may be lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{PolicyName, State};
use ostler_core::sim::Rng;
use ostler_core::watch::WatchSpec;
use ostler_proto::event::{Cause, Event, What};

use super::machine::Machine;
use super::verdict::Verdict;
use crate::control::Control;
use crate::features::process::watch::played;

/// Inexactness of what is known of times: of the clock of files, and of a start that only the kernel's ticks tell.
const INEXACT_MS: u64 = 20;

/// The same where changes are looked for: when something was put in the place of something else, nobody knows.
const LOOK_MS: u64 = 3000;

/// Folder of an app, beside the home: in the home nothing counts.
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

/// What is known of the files of all apps.
#[derive(Default)]
pub(super) struct Files {
    /// Folder of all of them; none: nobody watches anything.
    folder: Option<PathBuf>,
    apps: BTreeMap<String, Watched>,
    /// Paths that were watched when the daemon died, and its queue is held by the keeper.
    inherited: Vec<PathBuf>,
}

struct Watched {
    folder: PathBuf,
    /// Whether all of its folder counts, and not just what the others are named by.
    counts_all: bool,
    /// Whether it says itself what is ignored.
    ignores: bool,
    polls: bool,
    /// Changes that count, when they were made.
    made: Vec<u64>,
    /// The last one that the daemon has learned of.
    known: u64,
    on_their_way: Vec<Change>,
    files: Vec<PathBuf>,
    last_name: u32,
    /// The last change was that its sources are others.
    is_replaced: bool,
}

/// A change that the daemon has to learn of.
struct Change {
    at_ms: u64,
    /// The thread has read it.
    is_read: bool,
    /// It dies with the daemon although nobody has read it: a watched folder is another one.
    is_replacement: bool,
}

impl Files {
    pub(super) fn of(specs: &[AppSpec], home: &str, machine: &Machine) -> Self {
        let watched = specs.iter().filter(|spec| spec.watch.on);
        let apps: BTreeMap<String, Watched> = watched.map(|spec| (spec.name.clone(), Watched::of(spec, machine))).collect();
        if apps.is_empty() {
            return Self::default();
        }
        played::play(true);
        Self { folder: Some(PathBuf::from(format!("{home}-files"))), apps, inherited: Vec::new() }
    }

    pub(super) fn apps(&self) -> Vec<String> {
        self.apps.keys().cloned().collect()
    }

    /// A turn of the thread, if there is one. True: it had something to do.
    pub(super) fn thread_turns(&mut self) -> bool {
        if self.apps.is_empty() {
            return false;
        }
        let any = played::turn();
        for app in self.apps.values_mut() {
            app.on_their_way.iter_mut().for_each(|change| change.is_read = true);
        }
        any
    }

    /// The daemon had a turn: what was read is known to it.
    pub(super) fn daemon_turned(&mut self) {
        self.apps.values_mut().for_each(Watched::learn);
    }

    /// `holds`: the keeper has the queue of the kernel.
    pub(super) fn daemon_died(&mut self, holds: bool) {
        if self.apps.is_empty() {
            return;
        }
        self.inherited = if holds { played::watched() } else { Vec::new() };
        played::die();
        for app in self.apps.values_mut() {
            // Whoever looks at times looks anew.
            let is_kept = holds && !app.polls;
            app.on_their_way.retain(|change| is_kept && !change.is_read && !change.is_replacement);
        }
    }

    /// Somebody changes a file of an app. Returns words for it.
    pub(super) fn change(&mut self, machine: &Machine, has_daemon: bool, rng: &mut Rng) -> Option<String> {
        let names = self.apps();
        self.change_of(names.get(rng.below(names.len()))?, rng.percent(60), machine, has_daemon, rng)
    }

    /// A file of this app is changed; one that counts, or one that is ignored.
    pub(super) fn change_of(&mut self, name: &str, counts: bool, machine: &Machine, has_daemon: bool, rng: &mut Rng) -> Option<String> {
        let watched = if has_daemon { played::watched() } else { self.inherited.clone() };
        let app = self.apps.get_mut(name)?;
        if !counts {
            return Some(app.change_ignored(machine, rng));
        }
        let said = app.change(machine, rng);
        let at_ms = machine.now_ms();
        app.made.push(at_ms);
        // Whoever looks at times does not see more than the last one, nor anything in its first look.
        let is_replacement = app.is_replaced && !app.counts_all;
        let is_noticed = !app.polls && (has_daemon || !is_replacement) && watched.iter().any(|path| path.starts_with(&app.folder));
        if is_noticed {
            app.on_their_way.push(Change { at_ms, is_read: false, is_replacement });
        }
        Some(format!("{said}{}", if is_noticed { "" } else { ", which may be missed" }))
    }

    /// True if there is nothing that the daemon has still to learn of.
    pub(super) fn are_known(&self) -> bool {
        self.apps.values().all(|app| app.on_their_way.is_empty())
    }

    /// The last change that the daemon has learned of.
    pub(super) fn known_ms(&self, app: &str) -> u64 {
        self.apps.get(app).map_or(0, |app| app.known)
    }

    /// What is restarted because of a change had one since its process was asked for.
    pub(super) fn judge(&self, caused: Vec<Caused>, offset_ms: u64) -> Verdict {
        for Caused { event, since_ms } in caused {
            let Some(app) = event.app.as_ref().and_then(|app| self.apps.get(app)) else {
                return Err(format!("{:?} watches nothing: {event:?}", event.app));
            };
            let (since, until) = (since_ms.saturating_sub(offset_ms), event.at_ms - offset_ms);
            let has_reason = app.made.iter().any(|made| made + app.inexact_ms() >= since && *made <= until);
            ensure!(has_reason, "nothing has changed since {since}: {event:?}");
        }
        Ok(())
    }

    /// Whatever runs was started after the last change.
    pub(super) fn at_rest(&self, control: &Control, machine: &Machine) -> Verdict {
        let state = machine.state.borrow();
        for slot in control.ctx.state.slots.iter().filter(|slot| slot.spec().watch.on) {
            let name = &slot.spec().name;
            let (Some(app), State::Running { pid, .. }) = (self.apps.get(name), &slot.durable.instance.state) else { continue };
            let Some(started_ms) = state.processes.get(pid).map(|process| (process.process().start_ticks + 1) * 10) else { continue };
            let is_new = app.known <= started_ms || has_habit(control, name);
            ensure!(is_new, "{pid} of {name} was started at {started_ms}, and files were changed at {}", app.known);
        }
        Ok(())
    }
}

/// True if the daemon has taken changes for the app's own: it says so once.
pub(super) fn has_habit(control: &Control, app: &str) -> bool {
    let log = fs::read_to_string(control.ctx.io.log.path()).unwrap_or_default();
    log.lines().any(|line| line.contains(&format!("App {app} writes ")))
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            played::play(false);
            let _ = fs::remove_dir_all(folder);
        }
    }
}

impl Watched {
    fn of(spec: &AppSpec, machine: &Machine) -> Self {
        let folder = PathBuf::from(&spec.cwd);
        let mut app = Self {
            counts_all: spec.watch.paths.is_empty(),
            ignores: spec.watch.ignore.is_some(),
            polls: spec.watch.polling == Some(true),
            made: Vec::new(),
            known: 0,
            on_their_way: Vec::new(),
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

    fn learn(&mut self) {
        let Self { known, on_their_way, .. } = self;
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

    /// A change that counts.
    fn change(&mut self, machine: &Machine, rng: &mut Rng) -> String {
        let at = rng.below(self.files.len());
        let file = self.files[at].clone();
        let path = self.folder.join(&file);
        self.is_replaced = false;
        let said = match rng.below(8) {
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
        format!("{}: {said}", self.folder.display())
    }

    /// Another release in the place of this one.
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

    /// A change that does not count.
    fn change_ignored(&self, machine: &Machine, rng: &mut Rng) -> String {
        let own = if self.ignores { ["src/x.skip", "src/tmp/t.js"] } else { ["src/.hidden", "src/x.log"] };
        let elsewhere = if self.counts_all { "node_modules/y.js" } else { "other/y.js" };
        let never = ["src/node_modules/m/x.js", "src/a.js~", "src/4913", elsewhere];
        let file = rng.pick(&[own[0], own[1], never[0], never[1], never[2], never[3]]);
        self.write(file, machine);
        format!("{}: {file} is written, which is ignored", self.folder.display())
    }
}

/// Something that is done because of a changed file.
pub(super) struct Caused {
    event: Event,
    /// Time before which the process that it is done to was not asked for, by the wall clock.
    since_ms: u64,
}

/// What is done because of changed files, as the events have it.
#[derive(Default)]
pub(super) struct Watching {
    /// Last event of each instance, and the one before its present process.
    instances: BTreeMap<(String, u32), (u64, u64)>,
    pub caused: Vec<Caused>,
}

impl Watching {
    pub(super) fn take(&mut self, event: &Event) {
        let is_watch = matches!(&event.cause, Cause::Policy { name: PolicyName::Watch, .. });
        let (Some(app), Some(id)) = (&event.app, event.id) else { return };
        let (last, since) = self.instances.entry((app.clone(), id)).or_default();
        if matches!(event.what, What::Launched { .. }) {
            *since = *last;
        }
        *last = event.at_ms;
        let since_ms = *since;
        // One that is not ready in time is stopped by the policy that started it.
        if is_watch && matches!(event.what, What::Stopping) && event.before.as_deref() == Some("online") {
            self.caused.push(Caused { event: event.clone(), since_ms });
        }
    }

    /// The events from before are lost.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
