//! `scale`, and `sendSignal`.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use ostler_core::app::instances::{Leaving, leaving};
use ostler_core::lifecycle::{Event, Origin};
use ostler_proto::control::{Action, Failure, Progress, Response, ScaleTo};
use ostler_proto::event::{EventCause, EventKind};

use super::job::{Job, JobStep, Requester};
use crate::engine::{Ctx, FeatureRequest};
use crate::state::slots::{Slot, Slots};

/// Scales the app with this name or script to the number of instances that a user requests.
///
/// # Errors
/// Returns an error if there is no such app, if it has that number already, or if it has fewer
/// instances than the user removes: that is a typing error, and would remove the app.
pub(super) fn by_user(
    ctx: &mut Ctx,
    asker: Requester,
    (name, cwd): (&str, &str),
    (to, first): (ScaleTo, Leaving),
    origin: Origin,
) -> Result<Job, Failure> {
    let path = Path::new(cwd).join(name);
    let key = ctx.state.slots.key_of(name)?;
    let is_meant = |slot: &&Slot| key.map_or_else(|| Path::new(&slot.spec().script) == path, |key| slot.spec().key() == key);
    let ids: Vec<u32> = ctx.state.slots.serving().filter(is_meant).map(|slot| slot.durable.id).collect();
    let current = ids.len() as i64;
    let wanted = match to {
        ScaleTo::Exactly(count) => i64::from(count),
        ScaleTo::By(more) => current + i64::from(more),
    };
    if wanted < 0 && !ids.is_empty() {
        let instances = if current == 1 { "instance" } else { "instances" };
        return Err(Failure::Other(format!("{name} has {current} {instances}, so {} cannot be removed", current - wanted)));
    }
    let none = || Failure::NotFound { target: name.to_owned() };
    match wanted == current && !ids.is_empty() {
        true => Err(Failure::NothingToDo),
        false => scale(ctx, asker, &ids, (u32::try_from(wanted.max(0)).unwrap_or(u32::MAX), first), origin).ok_or_else(none),
    }
}

/// Returns a job that scales these instances of one app; `None` if the app has no instance.
pub(super) fn scale(ctx: &mut Ctx, asker: Requester, ids: &[u32], (wanted, first): (u32, Leaving), origin: Origin) -> Option<Job> {
    let current = ids.len() as u32;
    let model = *ids.first()?;
    if let Some(name) = ctx.state.slots.get(model).map(|slot| slot.spec().name.clone()) {
        ctx.emit_for_app(&name, EventKind::Scaled { from: current, to: wanted }, EventCause::from(&origin));
    }
    if wanted < current {
        return Some(to_fewer(&ctx.state.slots, asker, ids, (current - wanted, first), origin));
    }
    to_more(ctx, asker, model, (wanted - current, first), origin)
}

fn to_fewer(slots: &Slots, asker: Requester, ids: &[u32], (surplus, first): (u32, Leaving), origin: Origin) -> Job {
    let instances: Vec<(u32, u32)> = ids.iter().filter_map(|id| slots.get(*id)).map(|slot| (slot.durable.id, slot.durable.index)).collect();
    let mut job = Job::of(asker, Action::Delete, leaving(&instances, surplus as usize, first), slots, origin);
    // The remaining instances keep serving, and the others finish their requests.
    job.gentle = true;
    job.ordered_progress = Some(BTreeMap::new());
    job
}

/// Returns a job that adds this many instances of the same app.
fn to_more(ctx: &mut Ctx, asker: Requester, model: u32, (more, first): (u32, Leaving), origin: Origin) -> Option<Job> {
    let model = ctx.state.slots.get(model)?;
    let (app, base) = (Rc::clone(model.app()), Rc::clone(model.base()));
    // If the caller scales as PM2 does, where the oldest leave first, no instance of such an app is
    // started.
    let stays_stopped = first == Leaving::Oldest && model.is_unstarted();
    let mut job = Job::new(asker, JobStep::Start, origin);
    let added: Vec<u32> = (0..more).map(|_| ctx.state.slots.add(&app, &base, None, ctx.now, &ctx.io.settings)).collect();
    job.touch(&added, &ctx.state.slots);
    let ids = job.shown.clone();
    asker.send(ctx, Progress::Launched { name: app.spec.name.clone(), ids });
    if app.spec.is_job() {
        // A job is put on its schedule, not started.
        added.into_iter().for_each(|id| ctx.request(FeatureRequest::Schedule { id, saved: None }));
    } else if !stays_stopped {
        job.wait_until_up(&added, &ctx.state.slots);
        added.into_iter().for_each(|id| ctx.event(id, Event::Start(job.origin.clone())));
    }
    Some(job)
}

/// Sends a signal to the main processes of the selected instances.
pub(super) fn send_signal(ctx: &mut Ctx, asker: Requester, signal: i32, target: &str) -> Response {
    let ids = match ctx.state.slots.select(target, "") {
        Ok(ids) => ids,
        Err(failure) => return Response::Failed(failure),
    };
    let mut sent = Vec::new();
    for id in ids {
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.durable.instance.pid().is_some()) else { continue };
        let (key, pm_id, name) = (slot.key(slot.durable.instance.inc), slot.durable.pm_id, slot.spec().name.clone());
        ctx.io.keeper.kill(key, signal, false);
        sent.push(pm_id);
        asker.send(ctx, Progress::InstanceDone { id: pm_id, name, late: None });
    }
    if sent.is_empty() {
        return Response::Failed(Failure::Other(format!("{target} is not running")));
    }
    Response::Done { ids: sent }
}
