//! Beginning of a rollout.

use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{InstanceState, Origin};
use ostler_core::rollout::{Rollout, RolloutEvent};
use ostler_proto::event::{EventCause, EventKind};
use ostler_sys::{ProcTable, net::listening};

use super::history::pinned;
use super::{ProcessDescription, Replica, Rollouts, Running};
use crate::engine::{Ctx, FeatureAnswer, Replacement, RolloutNews, RolloutRequest};
use crate::state::slots::{App, Slot, Slots};

/// Number of instances from which two are replaced at the same time, as in PM2.
const MANY: usize = 3;

/// Parameters of a rollout.
pub(super) struct RolloutParams {
    pub app: String,
    /// Number of instances that are replaced at the same time; 0 = as the app declares.
    pub parallel: u32,
    /// Time of the canary; `None` = as the app declares.
    pub canary_ms: Option<u64>,
    /// Whether each new process has to run for its `min_uptime` before it counts as ready.
    pub watches: bool,
    pub origin: Origin,
    /// Ticket of the caller that waits for the end; `None` = a policy restarts the same release.
    pub ticket: Option<u64>,
}

impl Rollouts {
    /// Begins a rollout for a user who deploys another release and waits.
    pub(super) fn begin_for_user(&mut self, ctx: &mut Ctx, request: RolloutRequest) {
        let RolloutRequest { ticket, app, replacements, parallel, canary_ms, watches, origin } = request;
        let ids = ctx.state.slots.pm_ids(&replacements.iter().map(|replacement| replacement.id).collect::<Vec<u32>>());
        self.stop_replacement(ctx, &app);
        let wanted = RolloutParams { app: app.clone(), parallel, canary_ms, watches, origin, ticket: Some(ticket) };
        if let Err(reason) = self.begin(ctx, wanted, replacements) {
            ctx.answer(FeatureAnswer::Rollout { ticket, news: RolloutNews::Refused { app, ids, reason } });
        }
    }

    /// Begins a rollout for a policy that replaces these by the same release. A reload of a user
    /// takes precedence.
    pub(super) fn begin_by_policy(&mut self, ctx: &mut Ctx, wanted: RolloutParams, ids: &[u32], what: &str) {
        let slots = ids.iter().filter_map(|id| ctx.state.slots.get(*id));
        let same =
            slots.map(|slot| Replacement { id: slot.durable.id, app: Rc::clone(slot.app()), base: Rc::clone(slot.base()) }).collect();
        let app = wanted.app.clone();
        if let Err(reason) = self.begin(ctx, wanted, same) {
            ctx.io.log.line(format_args!("App [{app}] {what} is skipped: {reason}"));
        }
    }

    /// # Errors
    /// Returns an error, worded for the user, if the app has a rollout already.
    fn begin(&mut self, ctx: &mut Ctx, wanted: RolloutParams, replacements: Vec<Replacement>) -> Result<(), String> {
        let RolloutParams { app, parallel, canary_ms, watches, origin, ticket } = wanted;
        if let Some(other) = self.running.iter().find(|running| running.app == app) {
            let since = ctx.now.mono_ms.saturating_sub(other.started.mono_ms) / 1000;
            return Err(format!("{app} is already being reloaded (for {since} s): see `ostler rollout status {app}`"));
        }
        let replicas: Vec<Replica> =
            replacements.into_iter().filter_map(|replacement| replica(&mut ctx.state.slots, replacement)).collect();
        let Some(first) = replicas.first() else { return Err("no longer exists".into()) };
        let rules = &first.new.app.spec.rollout;
        let batch = match (parallel, rules.batch) {
            (0, Some(batch)) => batch,
            (0, None) => 1 + u32::from(replicas.len() >= MANY),
            (parallel, _) => parallel,
        };
        let canary_ms = canary_ms.or(rules.canary_ms).unwrap_or(0);
        let in_place: Vec<bool> = replicas.iter().map(|replica| !may_overlap(&ctx.state.slots, replica)).collect();
        let mut rollout = Rollout::new(&in_place, batch, canary_ms, replicas.iter().any(differs));
        let effects = rollout.begin();
        let by_policy = ticket.is_none();
        if !by_policy {
            self.remember_present_release(ctx, &app, &replicas);
        }
        let release = self.next_release(&app).saturating_sub(u32::from(by_policy)).max(1);
        let instances = u32::try_from(replicas.len()).unwrap_or(u32::MAX);
        ctx.io.log.line(format_args!("App [{app}] reload started: {instances} instances, release {release}"));
        ctx.state.slots.begin_replacing(&app);
        ctx.emit_for_app(&app, EventKind::ReloadBegun { release, instances }, EventCause::from(&origin));
        let parts = replicas.iter().flat_map(|replica| [&replica.old, &replica.new]);
        parts.flat_map(ProcessDescription::records).for_each(|record| ctx.state.journal.push(&record));
        self.last += 1;
        let number = self.last;
        self.running.push(Running {
            number,
            app,
            release,
            rollout,
            replicas,
            origin,
            started: ctx.now,
            ticket,
            fault_lines: Vec::new(),
            lines_slot: None,
            by_policy,
            watches,
            check_ms: None,
            cut: 0,
        });
        self.perform(ctx, number, effects);
        self.set_timer(ctx, number);
        Ok(())
    }

    /// Stops a replacement by a policy, because a user's command takes precedence.
    fn stop_replacement(&mut self, ctx: &mut Ctx, app: &str) {
        let by_policy = self.running.iter().find(|running| running.app == app && running.by_policy);
        let Some((number, replicas)) = by_policy.map(|running| (running.number, running.rollout.replicas.len())) else { return };
        // The replicas that are not started yet are the last ones.
        (0..replicas).rev().for_each(|index| self.take(ctx, number, RolloutEvent::Overruled(index)));
        self.remove_if_complete(ctx, number);
    }
}

fn replica(slots: &mut Slots, replacement: Replacement) -> Option<Replica> {
    let Replacement { id, app, base } = replacement;
    let slot = slots.get(id)?;
    let (pm_id, after) = (slot.durable.pm_id, slot.durable.instance.inc);
    let (present_app, present_base) = (Rc::clone(slot.app()), Rc::clone(slot.base()));
    // If a link in its path has changed since, the old release is found at its real path.
    let old = pinned(slot, &app.spec).map_or(present_app, |spec| stored(slots, spec));
    let old = ProcessDescription { app: old, base: present_base };
    Some(Replica { pm_id, serving: id, candidate: None, going: None, after, old, new: ProcessDescription { app, base } })
}

/// Returns the app that the rollout journals.
fn stored(slots: &mut Slots, spec: AppSpec) -> Rc<App> {
    slots.shared_app(spec).0
}

/// Returns true if the two releases have different descriptions or environments.
fn differs(replica: &Replica) -> bool {
    replica.old.app.spec != replica.new.app.spec || replica.old.base.id != replica.new.base.id
}

/// Returns true if two processes can serve beside each other, and the old one does serve.
pub(super) fn may_overlap(slots: &Slots, replica: &Replica) -> bool {
    let slot = slots.get(replica.serving).filter(|slot| matches!(slot.durable.instance.state, InstanceState::Running { .. }));
    let (old, new) = (&replica.old.app.spec, &replica.new.app.spec);
    let may_share = |spec: &AppSpec| spec.shares_its_ports() || spec.shares_opened_port();
    let shares = |slot: &Slot| slot.shares_its_ports() && !child_has_port(slot);
    old.mode == new.mode && may_share(old) && may_share(new) && slot.is_some_and(shares)
}

/// Returns true if a cluster worker listens nowhere and a child of it has a port. `npm start`, for
/// example, runs the server in a child, which is no worker. Two such children cannot have the same
/// port.
fn child_has_port(slot: &Slot) -> bool {
    let Some(pid) = slot.durable.instance.pid().filter(|_| slot.spec().has_workers() && slot.never_listened()) else { return false };
    let children: Vec<i32> = ProcTable::scan().descendants(pid).iter().map(|entry| entry.pid).collect();
    let ephemeral = listening::ephemeral_ports();
    // The kernel chose the ports of this range, and chooses others for the next process.
    listening::tcp_ports_of(&children).iter().any(|port| !ephemeral.as_ref().is_some_and(|range| range.contains(port)))
}
