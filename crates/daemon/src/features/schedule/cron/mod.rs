//! Restarts and jobs at given times. `ostler_core::cron` computes the next tick and its action;
//! this module carries it out.
//!
//! # Theory of operation
//!
//! Each slot of an app with a schedule has [`Ticks`] in its journal record. Every start of the app
//! arms them, and a user's stop disarms them, so a stopped app stays stopped. One timer on the wall
//! clock is set for the earliest tick of all. It also fires if the clock is set, and then every
//! next tick is computed again. No other timer wakes the daemon for a schedule. Without a schedule
//! there is no timer.
//!
//! A tick and its action on the instance are one journal write. If the daemon is killed in between,
//! it has done both or neither. The next daemon then finds the tick due (or, after more than
//! [`ostler_core::cron::LATE_MS`], missed).

mod intent;
mod run;

use std::rc::Rc;

use jiff::tz::TimeZone;
use ostler_core::cron::{CronSpec, Schedule, Tick, Ticks};
use ostler_core::time::Now;
use ostler_proto::event::Event;
use ostler_sys::time::wall_timer::WallTimer;

use self::intent::ScheduleIntent;
use crate::engine::{Ctx, FeatureRequest, InstanceStep, Key};
use crate::platform::reactor::Source;

/// Difference between the two clocks' advances from which the wall clock counts as set. (Slow
/// corrections change less between two checks.)
const SET_MS: i64 = 1000;

/// State of all schedules.
#[derive(Debug, Default)]
pub(crate) struct Cron {
    timer: Option<WallTimer>,
    /// Whether a next tick may have changed.
    is_stale: bool,
    /// Whether a tick did something that is not yet on disk.
    has_run: bool,
    /// Lead of the wall clock over the monotonic clock at the last check.
    ahead_ms: i64,
}

impl Cron {
    pub(crate) const NAME: &str = "cron";

    /// Returns true if the wall clock was set since the last check.
    fn was_set(&self, now: Now) -> bool {
        (now.ahead_ms() - self.ahead_ms).abs() > SET_MS
    }

    /// Notes that a schedule was changed or removed.
    fn mark_stale(&mut self) {
        self.is_stale = true;
    }
}

/// Returns the time zone of a pattern, or the machine's zone if this machine does not know the
/// named zone.
fn zone_of(cron: &CronSpec) -> TimeZone {
    cron.zone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(TimeZone::system)
}

/// Computes the next tick, and returns the tick that was due.
fn next_tick(ticks: &mut Ticks, cron: &CronSpec, wall_ms: u64) -> Option<Tick> {
    // The pattern was valid once. In the journal of another version it may not be.
    let schedule = Schedule::parse(&cron.pattern).ok()?;
    ticks.advance(&schedule, &zone_of(cron), wall_ms, cron.catch_up)
}

impl Cron {
    /// Checks for ticks that were due while no daemon ran.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        self.run_schedules(ctx, |_, _| true);
    }

    /// Checks the clock, in case the kernel did not report that it was set.
    pub(crate) fn on_turn(&mut self, ctx: &mut Ctx) {
        if self.timer.is_some() && self.was_set(ctx.now) {
            self.run_schedules(ctx, |_, _| true);
        }
    }

    /// Handles the timer: a tick is due, or the clock was set.
    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, _key: u64, _writable: bool) {
        if let Some(timer) = &self.timer {
            timer.take();
        }
        if self.was_set(ctx.now) {
            self.run_schedules(ctx, |_, _| true);
        } else {
            self.run_schedules(ctx, |ticks, wall_ms| ticks.next_ms.is_some_and(|next| next <= wall_ms));
        }
    }

    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        let id = step.id;
        if ctx.state.slots.get(id).is_some_and(|slot| slot.spec().cron.is_some() || slot.durable.ticks.armed) {
            self.follow(ctx, id, ScheduleIntent::of(step.event));
        }
    }

    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        match request {
            FeatureRequest::Schedule { id, saved: None } => self.arm(ctx, id),
            FeatureRequest::Schedule { id, saved: Some(saved) } => self.resume(ctx, id, saved),
            other => return Some(other),
        }
        None
    }

    pub(crate) fn on_described(&mut self, _ctx: &mut Ctx, _id: u32) {
        self.mark_stale();
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        ctx.outbox.timers.set(limit_of(id), None);
    }

    /// Stops an attempt of a job that takes too long.
    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        run::overrun(ctx, key as u32);
    }

    pub(crate) fn on_settled(&mut self, ctx: &mut Ctx) {
        if std::mem::take(&mut self.is_stale) {
            self.set_timer(ctx);
        }
    }

    /// Runs the ticks that are on disk now. A run is thus not repeated, even after the death of
    /// daemon and keeper.
    pub(crate) fn on_journaled(&mut self, ctx: &mut Ctx, _events: &[Event]) {
        if std::mem::take(&mut self.has_run) {
            ctx.state.state_file.hurry();
        }
    }
}

/// Returns the key of the time limit of a job's present attempt.
fn limit_of(id: u32) -> Key {
    (Cron::NAME, u64::from(id))
}

impl Cron {
    /// Computes the next tick of these schedules, and runs the due ones.
    fn run_schedules(&mut self, ctx: &mut Ctx, which: impl Fn(&Ticks, u64) -> bool) {
        let now = ctx.now;
        self.ahead_ms = now.ahead_ms();
        let mut due = Vec::new();
        let mut changed = Vec::new();
        for slot in ctx.state.slots.iter_mut().filter(|slot| slot.durable.ticks.armed && which(&slot.durable.ticks, now.wall_ms)) {
            let before = slot.durable.ticks;
            let app = Rc::clone(slot.app());
            let Some(cron) = &app.spec.cron else { continue };
            due.extend(next_tick(&mut slot.durable.ticks, cron, now.wall_ms).map(|tick| (slot.durable.id, tick)));
            if slot.durable.ticks != before {
                changed.push(slot.durable.id);
            }
        }
        changed.into_iter().for_each(|id| ctx.state.slots.changed(id));
        self.is_stale = true;
        self.run_ticks(ctx, due);
    }

    /// Sets the timer for the earliest tick.
    fn set_timer(&mut self, ctx: &mut Ctx) {
        let now = ctx.now;
        let (mut earliest, mut settled) = (None::<u64>, Vec::new());
        for slot in ctx.state.slots.iter_mut().filter(|slot| slot.durable.ticks.armed) {
            let app = Rc::clone(slot.app());
            let Some(cron) = &app.spec.cron else { continue };
            if slot.durable.ticks.next_ms.is_none() {
                next_tick(&mut slot.durable.ticks, cron, now.wall_ms);
                settled.push(slot.durable.id);
            }
            earliest = earliest.into_iter().chain(slot.durable.ticks.next_ms).min();
        }
        settled.into_iter().for_each(|id| ctx.state.slots.changed(id));
        if self.timer.is_none() {
            self.ahead_ms = now.ahead_ms();
        }
        let Some(earliest) = earliest else {
            self.timer = None;
            return;
        };
        let set = match &self.timer {
            Some(timer) => timer.set(earliest),
            None => WallTimer::new().and_then(|timer| {
                timer.set(earliest)?;
                ctx.io.reactor.add(&timer, Source::Feature(Self::NAME, 0))?;
                self.timer = Some(timer);
                Ok(())
            }),
        };
        if let Err(error) = set {
            // Most likely there is no free descriptor. The next event tries again.
            self.is_stale = true;
            ctx.io.log.error_once("cron", format_args!("cannot set a timer for schedules: {error}"));
        }
    }
}

#[cfg(test)]
mod tests;
