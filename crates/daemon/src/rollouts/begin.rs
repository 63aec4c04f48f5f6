//! The beginning of a reload.

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::lifecycle::{Origin, State};
use ostler_core::rollout::{Event, Rollout};
use ostler_proto::event::{Cause, What};

use super::history::pinned;
use super::{Lane, Parts, Running};
use crate::control::Control;
use crate::engine::laid_over;
use crate::slots::Slot;
use crate::slots::inherited::inherited;
use crate::store::Record;

/// From so many instances on, two are replaced at the same time, as in PM2.
const MANY: usize = 3;

/// What becomes of the caller's environment of an instance.
#[derive(Clone, Debug)]
pub(crate) enum NewEnv {
    /// It stays.
    Same,
    /// These variables are laid over it.
    Over(EnvMap),
    /// It is this one: that of an earlier release.
    Exactly(EnvMap),
}

impl NewEnv {
    /// In place of the present one; none if it stays.
    pub(crate) fn instead_of(&self, present: &EnvMap) -> Option<EnvMap> {
        match self {
            Self::Same => None,
            Self::Over(vars) => Some(laid_over(present, vars)),
            Self::Exactly(vars) => Some(vars.clone()),
        }
        .filter(|vars| vars != present)
    }
}

/// What a config file, or an earlier release, says about a running app.
#[derive(Clone, Debug)]
pub(crate) struct NewRelease {
    /// Its description.
    pub spec: AppSpec,
    /// Its caller's environment.
    pub env: NewEnv,
    /// Instances to add when the present ones are replaced.
    pub more: u32,
}

/// New description and environment of an instance; none = the environment stays.
pub(crate) type Describe = Box<dyn Fn(&Slot) -> (AppSpec, Option<EnvMap>)>;

/// What is wanted of one reload.
pub(crate) struct Wish {
    /// All of one app, in the order in which they are to be replaced.
    pub ids: Vec<u32>,
    /// What becomes of each.
    pub describe: Describe,
    /// Instances at the same time; 0 = as the app says.
    pub parallel: u32,
    /// See [`ostler_core::rollout`].
    pub canary_ms: Option<u64>,
    pub origin: Origin,
    /// It replaces what is not well by the same release.
    pub mends: bool,
}

impl Control {
    /// Begins a reload of one app, under this number.
    ///
    /// # Errors
    /// There is one already; worded for the user.
    pub(crate) fn begin_rollout(&mut self, app: &str, number: u32, wish: &Wish) -> Result<(), String> {
        if !wish.mends {
            self.mending_gives_way(app);
        }
        if let Some(other) = self.rollouts.running.iter().find(|running| running.app == app) {
            let since = self.ctx.now.mono_ms.saturating_sub(other.started.mono_ms) / 1000;
            return Err(format!("a reload of {app} is under way (since {since} s): see `ostler rollout status {app}`"));
        }
        let lanes: Vec<Lane> = wish.ids.iter().filter_map(|id| self.lane(*id, wish)).collect();
        let Some(first) = lanes.first() else { return Err("is not there any more".into()) };
        let rules = &first.new.app.spec.rollout;
        let batch = match (wish.parallel, rules.batch) {
            (0, Some(batch)) => batch,
            (0, None) => 1 + u32::from(lanes.len() >= MANY),
            (parallel, _) => parallel,
        };
        let canary_ms = wish.canary_ms.or(rules.canary_ms).unwrap_or(0);
        let in_place: Vec<bool> = lanes.iter().map(|lane| !self.may_overlap(lane)).collect();
        let differs = |lane: &Lane| lane.old.app.spec != lane.new.app.spec || lane.old.base.id != lane.new.base.id;
        let reversible = lanes.iter().any(differs);
        let mut rollout = Rollout::new(&in_place, batch, canary_ms, reversible);
        let effects = rollout.begin();
        if !wish.mends {
            self.remember_present_release(app, &lanes);
        }
        let release = self.next_release(app).saturating_sub(u32::from(wish.mends)).max(1);
        let (origin, started) = (wish.origin.clone(), self.ctx.now);
        let app = app.to_owned();
        self.ctx.log.line(format_args!("App [{app}] reload begins: {} instances, release {release}", lanes.len()));
        self.ctx.slots.begin_replacing(&app);
        let instances = u32::try_from(lanes.len()).unwrap_or(u32::MAX);
        self.ctx.tell_of_app(&app, What::ReloadBegun { release, instances }, Cause::from(&origin));
        self.rollouts.running.push(Running {
            number,
            app,
            release,
            rollout,
            lanes,
            origin,
            started,
            fault_lines: Vec::new(),
            mends: wish.mends,
            look_ms: None,
            cut: 0,
        });
        self.perform_rollout(number, effects);
        Ok(())
    }

    /// A policy wants these replaced by the same release. A reload of a user comes first.
    pub(crate) fn replace_by_policy(&mut self, app: &str, ids: Vec<u32>, origin: Origin, what: &str) {
        let number = self.rollouts.next_number();
        let describe: Describe = Box::new(|slot: &Slot| (slot.spec().clone(), None));
        let wish = Wish { ids, describe, parallel: 0, canary_ms: None, origin, mends: true };
        if let Err(reason) = self.begin_rollout(app, number, &wish) {
            self.ctx.log.line(format_args!("App [{app}] {what} is left out: {reason}"));
        }
    }

    /// What a user wants comes before a replacement that nobody asked for.
    fn mending_gives_way(&mut self, app: &str) {
        let Some(number) = self.rollouts.running.iter().find(|running| running.app == app && running.mends).map(|running| running.number)
        else {
            return;
        };
        // It has one place.
        self.feed_rollout(number, Event::Overruled(0));
        self.end_rollout(number);
    }

    fn lane(&mut self, id: u32, wish: &Wish) -> Option<Lane> {
        let slot = self.ctx.slots.get(id)?;
        let (pm_id, index_of_process) = (slot.pm_id, slot.instance.inc);
        let present = Parts { app: std::rc::Rc::clone(&slot.app), base: std::rc::Rc::clone(&slot.base) };
        let (mut spec, vars) = (wish.describe)(slot);
        spec.env.base = std::sync::Arc::default();
        // Where a link in its path leads elsewhere by now, the old release is found at its real place.
        let old_spec = pinned(slot, &spec);
        let app = self.stored_app(spec);
        let new = Parts {
            base: match vars {
                None => std::rc::Rc::clone(&present.base),
                Some(vars) => {
                    let (base, record) = self.ctx.slots.base(inherited(&app.spec, std::borrow::Cow::Owned(vars)));
                    record.iter().for_each(|record| self.ctx.journal.push(record));
                    base
                }
            },
            app,
        };
        let old = Parts { app: old_spec.map_or(present.app, |spec| self.stored_app(spec)), base: present.base };
        Some(Lane { pm_id, serving: id, beside: None, going: None, after: index_of_process, old, new })
    }

    fn stored_app(&mut self, spec: AppSpec) -> std::rc::Rc<crate::slots::App> {
        let (app, record): (_, Option<Record<'static>>) = self.ctx.slots.shared_app(spec);
        record.iter().for_each(|record| self.ctx.journal.push(record));
        app
    }

    /// Another process of the same description could serve beside that of this slot.
    pub(crate) fn may_overlap_itself(&self, slot: &Slot) -> bool {
        let spec = slot.spec();
        matches!(slot.instance.state, State::Running { .. }) && spec.shares_its_ports()
    }

    /// Two processes can serve beside each other, and one does.
    fn may_overlap(&self, lane: &Lane) -> bool {
        let runs = self.ctx.slots.get(lane.serving).is_some_and(|slot| matches!(slot.instance.state, State::Running { .. }));
        let (old, new) = (&lane.old.app.spec, &lane.new.app.spec);
        runs && old.mode == new.mode && old.shares_its_ports() && new.shares_its_ports()
    }
}
