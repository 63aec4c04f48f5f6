//! Saved list: `save`, and automatic saving when the list changes, if that is on
//! (`OSTLER_AUTOSAVE=on`, or `autosave` in the home's settings).
//!
//! A moment after a change the list is compared with the last saved one, by the numbers of its
//! descriptions. Only a difference is written. Two lists are never written. An empty list does not
//! replace a saved one before this daemon had any app, so a boot cannot erase it. The list that
//! remains after `kill` is not saved. The first list that a daemon saves keeps the former one as
//! the backup, as `save` does.

use std::hash::{DefaultHasher, Hash, Hasher};

use ostler_core::environment::{AUTOSAVE, switch};
use ostler_core::lifecycle::DesiredState;
use ostler_proto::control::{self as asked, Failure, Response, SavedFiles};
use ostler_proto::event::{Event, EventCause, EventKind};
use serde_json::{Map, Value};

use crate::engine::{ClientRequest, Ctx, FeatureRequest, Key};
use crate::state::slots::{Slots, saved};

/// Time in which a burst of changes is collected.
const COLLECT_MS: u64 = 1_000;
/// Time until the next attempt after a failure, if nothing changes.
const RETRY_MS: u64 = 30_000;

/// State of autosave: whether it is on, and the last saved list.
#[derive(Debug, Default)]
pub(crate) struct Autosave {
    is_on: bool,
    /// Fingerprint of the last list that this daemon saved.
    saved: Option<u64>,
}

impl Autosave {
    pub(crate) const NAME: &str = "autosave";
    /// Timer of the next save.
    const LOOK: Key = (Self::NAME, 0);

    fn read_settings(&mut self, ctx: &mut Ctx) {
        ctx.io.settings.conf.refresh(&mut ctx.io.log);
        self.is_on = is_wished(ctx.io.settings.conf.all());
        self.on_journaled(ctx, &[]);
    }

    /// Saves unsaved changes, also before everything is stopped.
    fn save_now(&mut self, ctx: &mut Ctx) {
        if !self.is_on {
            return;
        }
        ctx.outbox.timers.set(Self::LOOK, None);
        let is_wiped_out = ctx.state.slots.nothing_to_save() && self.saved.is_none();
        let present = fingerprint(&ctx.state.slots);
        if ctx.is_ending() || is_wiped_out || self.saved == Some(present) {
            return;
        }
        let paths = &ctx.io.settings.paths;
        match saved::write(
            &ctx.state.slots,
            &ctx.io.settings,
            &paths.dump,
            Some(paths.dump_backup.as_path()).filter(|_| self.saved.is_none()),
        ) {
            Ok(()) => self.saved = Some(present),
            Err(error) => {
                ctx.io.log.error_once("autosave", format_args!("autosave: {error}"));
                ctx.outbox.timers.set(Self::LOOK, Some(ctx.now.mono_ms.saturating_add(RETRY_MS)));
            }
        }
    }
}

impl Autosave {
    /// The apps that this daemon took over are saved soon, too, because they are journaled.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        self.read_settings(ctx);
    }

    pub(crate) fn on_settings(&mut self, ctx: &mut Ctx) {
        self.read_settings(ctx);
    }

    /// Starts the time in which a burst of changes is collected.
    pub(crate) fn on_journaled(&mut self, ctx: &mut Ctx, _events: &[Event]) {
        if self.is_on {
            ctx.outbox.timers.set_if_none(Self::LOOK, ctx.now.mono_ms.saturating_add(COLLECT_MS));
        }
    }

    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        match request {
            FeatureRequest::SaveList => self.save_now(ctx),
            other => return Some(other),
        }
        None
    }

    /// Answers `save`, which does not need autosave to be on.
    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        let asked::Request::Save { force, files } = &ask.request else { return Some(ask) };
        let response = save(ctx, *force, files.as_ref());
        if matches!(response, Response::Paths(_)) {
            let instances = ctx.state.slots.serving().count().try_into().unwrap_or(u32::MAX);
            ctx.emit_for_manager(EventKind::ListSaved { instances }, EventCause::from(&ask.caller.origin("save")));
        }
        ctx.reply(ask.client, ask.id, response);
        None
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        self.save_now(ctx);
    }
}

/// Saves the list for a user, and keeps the former one as the backup.
fn save(ctx: &Ctx, force: bool, files: Option<&SavedFiles>) -> Response {
    if ctx.state.slots.nothing_to_save() && !force {
        return Response::Failed(Failure::NothingToSave);
    }
    let paths = &ctx.io.settings.paths;
    let (path, backup) = files.map_or((&*paths.dump, &*paths.dump_backup), |files| (files.list.as_ref(), files.backup.as_ref()));
    match saved::write(&ctx.state.slots, &ctx.io.settings, path, Some(backup)) {
        Ok(()) => Response::Paths(vec![path.to_string_lossy().into_owned()]),
        Err(error) => Response::Failed(Failure::Other(error.to_string())),
    }
}

/// Returns the fingerprint of the list: descriptions, environments, and the state that the user
/// wants for each instance.
fn fingerprint(slots: &Slots) -> u64 {
    let mut hasher = DefaultHasher::new();
    for slot in slots.serving().filter(|slot| !slot.spec().is_module()) {
        // A job starts and exits by itself. The user's wish concerns only whether its schedule is
        // on.
        let is_up = slot.durable.instance.wanted == DesiredState::Up && !slot.spec().is_job();
        let ticks = slot.spec().cron.as_ref().map(|cron| slot.durable.ticks.saved(cron.catch_up));
        (slot.durable.pm_id, slot.app().id, slot.base().id, is_up, ticks).hash(&mut hasher);
    }
    hasher.finish()
}

fn is_wished(settings: &Map<String, Value>) -> bool {
    AUTOSAVE.switch(|name| std::env::var(name).ok()).unwrap_or_else(|| settings.get("autosave").is_some_and(is_set))
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Bool(on) => *on,
        Value::String(text) => switch(text) == Some(true),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use ostler_core::app::AppSpec;

    use super::*;
    use crate::engine::{TestContext, reacts};

    #[test]
    fn autosave_setting_accepts_only_true_values() {
        for (text, on) in [
            (r#"{"autosave": "true"}"#, true),
            (r#"{"autosave": true}"#, true),
            (r#"{"autosave": "On"}"#, true),
            (r#"{"autosave": "false"}"#, false),
            (r#"{"autosave": {"x": "true"}}"#, false),
            (r#"{"app": {"autosave": "true"}}"#, false),
            ("{}", false),
        ] {
            assert_eq!(is_wished(&serde_json::from_str(text).unwrap()), on, "{text}");
        }
    }

    #[test]
    fn autosave_is_read_from_the_settings_file() {
        let mut played = TestContext::new(&[]);
        let elsewhere = played.ctx.io.settings.home.join("settings-elsewhere.json");
        played.ctx.io.settings.conf = crate::platform::conf::Conf::new(elsewhere.clone());
        std::fs::write(&elsewhere, r#"{"autosave": true}"#).unwrap();
        let mut autosave = Autosave::default();
        autosave.on_boot(&mut played.ctx);
        assert!(autosave.is_on);
        // Broken settings change nothing, and are logged only once.
        std::fs::write(&elsewhere, "{ \"").unwrap();
        autosave.on_settings(&mut played.ctx);
        autosave.on_settings(&mut played.ctx);
        assert!(autosave.is_on);
        assert_eq!(played.log().matches("are invalid").count(), 1, "{}", played.log());
        std::fs::remove_file(&elsewhere).unwrap();
        autosave.on_settings(&mut played.ctx);
        assert!(!autosave.is_on);
    }

    fn lists(played: &TestContext) -> usize {
        let text = std::fs::read_to_string(&played.ctx.io.settings.paths.dump).unwrap_or_default();
        serde_json::from_str::<Vec<serde_json::Value>>(&text).map_or(0, |list| list.len())
    }

    /// Returns an autosave that is on, with a list of one app.
    fn with_an_app() -> (TestContext, Autosave) {
        let mut played = TestContext::new(&[]);
        std::fs::write(played.ctx.io.settings.conf.path(), r#"{"autosave": true}"#).unwrap();
        let mut autosave = Autosave::default();
        autosave.on_boot(&mut played.ctx);
        played.instance(AppSpec { name: "api".into(), script: "/bin/true".into(), ..AppSpec::default() });
        autosave.on_journaled(&mut played.ctx, &[]);
        (played, autosave)
    }

    #[test]
    fn burst_of_changes_is_saved_once() {
        let (mut played, mut autosave) = with_an_app();
        played.pass(&mut autosave, COLLECT_MS - 1);
        autosave.on_journaled(&mut played.ctx, &[]);
        assert_eq!(lists(&played), 0);
        played.pass(&mut autosave, 1);
        assert_eq!((lists(&played), played.ctx.outbox.timers.next_ms()), (1, None));
        // A change that does not affect the list writes nothing.
        std::fs::remove_file(&played.ctx.io.settings.paths.dump).unwrap();
        autosave.on_journaled(&mut played.ctx, &[]);
        played.pass(&mut autosave, COLLECT_MS);
        assert_eq!(lists(&played), 0);
        played.instance(AppSpec { name: "web".into(), script: "/bin/true".into(), ..AppSpec::default() });
        autosave.save_now(&mut played.ctx);
        assert_eq!(lists(&played), 2);
    }

    #[test]
    fn only_a_save_by_a_user_is_an_event() {
        let (mut played, mut autosave) = with_an_app();
        played.pass(&mut autosave, COLLECT_MS);
        assert_eq!((lists(&played), played.events().len()), (1, 0));
        let caller = crate::engine::Caller { uid: 7, pid: 8, on_behalf_of: None };
        autosave.on_client_request(
            &mut played.ctx,
            ClientRequest { client: 1, id: 1, caller, request: asked::Request::Save { force: false, files: None } },
        );
        let events: Vec<(EventKind, EventCause)> = played.events().into_iter().map(|event| (event.kind, event.cause)).collect();
        let by = EventCause::User { command: "save".into(), uid: 7, pid: 8, on_behalf_of: None };
        assert_eq!(events, [(EventKind::ListSaved { instances: 1 }, by)]);
    }

    #[test]
    fn disabled_autosave_sets_no_timer() {
        let mut played = TestContext::new(&[]);
        let mut autosave = Autosave::default();
        autosave.on_boot(&mut played.ctx);
        autosave.on_journaled(&mut played.ctx, &[]);
        assert_eq!(played.ctx.outbox.timers.next_ms(), None);
    }

    #[test]
    fn autosave_skips_changes_of_boot_and_shutdown() {
        let (mut played, mut autosave) = with_an_app();
        played.ctx.outbox.shutdown.is_closing = true;
        played.pass(&mut autosave, COLLECT_MS);
        assert_eq!(lists(&played), 0);

        // This daemon has had no app yet.
        let mut played = TestContext::new(&[]);
        std::fs::write(played.ctx.io.settings.conf.path(), r#"{"autosave": true}"#).unwrap();
        std::fs::write(&played.ctx.io.settings.paths.dump, "[{}]").unwrap();
        let mut autosave = Autosave::default();
        autosave.on_boot(&mut played.ctx);
        played.pass(&mut autosave, COLLECT_MS);
        assert_eq!(lists(&played), 1);
    }

    #[test]
    fn failed_autosave_is_retried() {
        let (mut played, mut autosave) = with_an_app();
        // The path is occupied by a folder.
        std::fs::create_dir_all(played.ctx.io.settings.paths.dump.join("x")).unwrap();
        played.pass(&mut autosave, COLLECT_MS);
        assert!(played.log().contains("autosave: "), "{}", played.log());
        std::fs::remove_dir_all(&played.ctx.io.settings.paths.dump).unwrap();
        played.pass(&mut autosave, RETRY_MS);
        assert_eq!(lists(&played), 1);
    }

    reacts!(Autosave: on_settings, on_request, on_client_request, on_timer);
}
