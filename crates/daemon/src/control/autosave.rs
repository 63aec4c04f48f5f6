//! The saved list follows the list that is there, where that is wished: `OSTLER_AUTOSAVE=on`, or `autosave` in the home's settings.
//!
//! A moment after a change the list is compared with what was saved last, by the numbers of its descriptions; only a difference is
//! written. Two things are never done: a list is not replaced by an empty one before this daemon had any app (a boot must not wipe it
//! out), and what `kill` leaves is not saved. The first list that a daemon saves leaves the one before as the backup, as `save` does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use ostler_core::lifecycle::Wanted;
use ostler_proto::control::Response;

use super::{Control, Then};
use crate::control::turn::now;

/// A burst of changes is saved once.
const COLLECT_MS: u64 = 1_000;
/// After a failure, when nothing changes.
const RETRY_MS: u64 = 30_000;
/// Settings of the home, as PM2 keeps them.
const SETTINGS_FILE: &str = "module_conf.json";

/// Whether, when, and what was saved last.
#[derive(Debug, Default)]
pub(crate) struct Autosave {
    on: bool,
    due_ms: Option<u64>,
    /// Of the list that was saved last by this daemon.
    saved: Option<u64>,
}

impl Autosave {
    /// As environment and settings say; what this daemon found is saved soon, too.
    pub(crate) fn new(home: &Path, now_ms: u64) -> Self {
        let mut autosave = Self { on: is_wished(home), ..Self::default() };
        autosave.changed(now_ms);
        autosave
    }

    /// The settings of the home may say something else now.
    pub(crate) fn wish_anew(&mut self, home: &Path, now_ms: u64) {
        self.on = is_wished(home);
        self.changed(now_ms);
    }

    /// Something about some instance is different.
    pub(crate) fn changed(&mut self, now_ms: u64) {
        if self.on {
            self.due_ms.get_or_insert(now_ms.saturating_add(COLLECT_MS));
        }
    }

    /// When there is something to look at.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.due_ms
    }
}

fn is_wished(home: &Path) -> bool {
    let variable = std::env::var("OSTLER_AUTOSAVE").ok().filter(|value| !value.is_empty());
    variable.map_or_else(|| is_set_in(&home.join(SETTINGS_FILE)), |value| is_yes(&value))
}

/// A file that cannot be read or understood wishes nothing; whoever changes settings is told about that.
fn is_set_in(file: &Path) -> bool {
    let settings = std::fs::read(file).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    settings.as_ref().and_then(|settings| settings.get("autosave")).is_some_and(|value| match value {
        serde_json::Value::Bool(on) => *on,
        serde_json::Value::String(text) => is_yes(text),
        _ => false,
    })
}

fn is_yes(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes")
}

impl Control {
    /// Saves when the time has come and there is a difference.
    pub(crate) fn tick_autosave(&mut self, now_ms: u64) {
        if self.autosave.due_ms.is_some_and(|due| due <= now_ms) {
            self.autosave_now();
        }
    }

    /// Saves what is not saved yet: also before everything is stopped.
    pub(crate) fn autosave_now(&mut self) {
        if !self.autosave.on {
            return;
        }
        self.autosave.due_ms = None;
        let ends = self.ending.is_some() || self.jobs.iter().any(|job| job.then == Then::Exit);
        let wiped_out = self.registry.nothing_serves() && self.autosave.saved.is_none();
        let present = self.fingerprint();
        if ends || wiped_out || self.autosave.saved == Some(present) {
            return;
        }
        match self.save_list(true, self.autosave.saved.is_none()) {
            Response::Failed(failure) => {
                self.log.error_once("autosave", format_args!("autosave: {failure}"));
                self.autosave.due_ms = Some(now().mono_ms.saturating_add(RETRY_MS));
            }
            _ => self.autosave.saved = Some(present),
        }
    }

    /// The list in one number: descriptions, environments, and what the user wants of each.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for slot in self.registry.serving() {
            // A job comes and goes by itself; what the user wants of it is whether its times count.
            let is_up = slot.instance.wanted == Wanted::Up && !slot.spec().is_job();
            let ticks = slot.spec().cron.as_ref().map(|cron| slot.ticks.saved(cron.catch_up));
            (slot.pm_id, slot.app.id, slot.base.id, is_up, ticks).hash(&mut hasher);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_yes() {
        let file = std::env::temp_dir().join(format!("ostler-autosave-{}", std::process::id()));
        for (text, on) in [
            (r#"{"autosave": "true"}"#, true),
            (r#"{"autosave": true}"#, true),
            (r#"{"autosave": "On"}"#, true),
            (r#"{"autosave": "false"}"#, false),
            (r#"{"autosave": {"x": "true"}}"#, false),
            (r#"{"app": {"autosave": "true"}}"#, false),
            ("[]", false),
            ("{", false),
            ("", false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(is_set_in(&file), on, "{text}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(!is_set_in(&file));
    }

    #[test]
    fn a_burst_is_one_and_nothing_wakes_what_is_off() {
        let mut autosave = Autosave { on: true, ..Autosave::default() };
        autosave.changed(5_000);
        autosave.changed(5_900);
        assert_eq!(autosave.deadline_ms(), Some(6_000));
        let mut off = Autosave::default();
        off.changed(5_000);
        assert_eq!(off.deadline_ms(), None);
    }
}
