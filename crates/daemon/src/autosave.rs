//! The saved list follows the list that is there, where that is wished: `OSTLER_AUTOSAVE=on`, or `autosave` in the home's settings.
//!
//! A moment after a change the list is compared with what was saved last, by the numbers of its descriptions; only a difference is
//! written. Two things are never done: a list is not replaced by an empty one before this daemon had any app (a boot must not wipe it
//! out), and what `kill` leaves is not saved. The first list that a daemon saves leaves the one before as the backup, as `save` does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use ostler_core::lifecycle::Wanted;

use crate::engine::{Ctx, Feature, Key};
use crate::slots::{Slots, saved};

/// A burst of changes is saved once.
const COLLECT_MS: u64 = 1_000;
/// After a failure, when nothing changes.
const RETRY_MS: u64 = 30_000;
/// Settings of the home, as PM2 keeps them.
const SETTINGS_FILE: &str = "module_conf.json";

/// Whether, and what was saved last.
#[derive(Debug, Default)]
pub(crate) struct Autosave {
    is_on: bool,
    /// Of the list that was saved last by this daemon.
    saved: Option<u64>,
}

impl Autosave {
    pub(crate) const NAME: &str = "autosave";
    /// The one deadline that there is.
    const LOOK: Key = (Self::NAME, 0);

    /// The settings of the home may say something else now.
    pub(crate) fn read_settings(&mut self, ctx: &mut Ctx) {
        self.is_on = is_wished(&ctx.settings.home);
        self.on_journaled(ctx);
    }

    /// Saves what is not saved yet: also before everything is stopped.
    pub(crate) fn save_now(&mut self, ctx: &mut Ctx) {
        if !self.is_on {
            return;
        }
        ctx.timers.set(Self::LOOK, None);
        let is_wiped_out = ctx.slots.nothing_serves() && self.saved.is_none();
        let present = fingerprint(&ctx.slots);
        if ctx.is_ending() || is_wiped_out || self.saved == Some(present) {
            return;
        }
        match saved::write(&ctx.slots, &ctx.settings, self.saved.is_none()) {
            Ok(_) => self.saved = Some(present),
            Err(error) => {
                ctx.log.error_once("autosave", format_args!("autosave: {error}"));
                ctx.timers.set(Self::LOOK, Some(ctx.now.mono_ms.saturating_add(RETRY_MS)));
            }
        }
    }
}

impl Feature for Autosave {
    /// What this daemon found is saved soon, too.
    fn on_boot(&mut self, ctx: &mut Ctx) {
        self.read_settings(ctx);
    }

    /// A burst of changes is saved once.
    fn on_journaled(&mut self, ctx: &mut Ctx) {
        if self.is_on {
            ctx.timers.set_if_none(Self::LOOK, ctx.now.mono_ms.saturating_add(COLLECT_MS));
        }
    }

    fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        self.save_now(ctx);
    }
}

/// The list in one number: descriptions, environments, and what the user wants of each.
fn fingerprint(slots: &Slots) -> u64 {
    let mut hasher = DefaultHasher::new();
    for slot in slots.serving() {
        // A job comes and goes by itself; what the user wants of it is whether its times count.
        let is_up = slot.instance.wanted == Wanted::Up && !slot.spec().is_job();
        let ticks = slot.spec().cron.as_ref().map(|cron| slot.ticks.saved(cron.catch_up));
        (slot.pm_id, slot.app.id, slot.base.id, is_up, ticks).hash(&mut hasher);
    }
    hasher.finish()
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
}
