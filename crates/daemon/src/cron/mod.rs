//! Restarts and jobs at given times: `ostler_core::cron` says which tick is next and what it does, this makes it happen.
//!
//! # Theory of operation
//!
//! Each slot of an app with a schedule has [`Ticks`] in its journal record. They are armed by whatever starts the app and disarmed by a
//! user's stop, so a stopped app stays stopped. One timer on the wall clock is set for the earliest tick of all; it also tells when
//! somebody sets that clock, and then every next tick is settled anew. Nothing else ever wakes the daemon for a schedule, and where there
//! is none there is no timer either.
//!
//! A tick and what it does to the instance are one journal write: a daemon that is killed in between has done both or neither, and the next
//! one finds the tick due (or, after more than [`ostler_core::cron::LATE_MS`], missed).

mod run;
mod wishes;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use ostler_core::cron::{CronSpec, Schedule, Tick, Ticks};
use ostler_core::time::Now;
use ostler_sys::wall_timer::WallTimer;

use crate::control::Control;
use crate::control::turn::now;
use crate::reactor::Source;

pub(crate) use wishes::Wish;

/// The wall clock has been set when it differs by so much from what the other clock lets expect. (Slow corrections are slower than that
/// from one look to the next.)
const SET_MS: i64 = 1000;

/// All schedules together.
#[derive(Debug, Default)]
pub(crate) struct Crons {
    timer: Option<WallTimer>,
    /// A next tick may be another one now.
    stale: bool,
    /// A tick did something that is not yet on disk.
    ran: bool,
    /// How far the wall clock was ahead of the other one at the last look.
    ahead_ms: i64,
    /// When the present attempt of a job has to be over, by slot.
    limits: BTreeMap<u32, u64>,
}

impl Crons {
    /// When the next attempt of a job has used up its time.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.limits.values().copied().min()
    }

    /// Whether a tick did something since the last question.
    pub(crate) fn take_ran(&mut self) -> bool {
        std::mem::take(&mut self.ran)
    }

    /// Somebody set the wall clock since the last look.
    fn was_set(&self, now: Now) -> bool {
        (ahead_ms(now) - self.ahead_ms).abs() > SET_MS
    }

    /// A schedule was changed, or went.
    pub(crate) fn stir(&mut self) {
        self.stale = true;
    }
}

/// The zone in which a pattern is meant. One that this machine does not know (any more) is its own.
fn zone_of(cron: &CronSpec) -> TimeZone {
    cron.zone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(TimeZone::system)
}

fn ahead_ms(now: Now) -> i64 {
    now.wall_ms.cast_signed().saturating_sub(now.mono_ms.cast_signed())
}

/// Settles the next tick, and says which one was due.
fn look(ticks: &mut Ticks, cron: &CronSpec, wall_ms: u64) -> Option<Tick> {
    // A pattern that was taken once; in a journal of another version it may not be.
    let schedule = Schedule::parse(&cron.pattern).ok()?;
    ticks.look(&schedule, &zone_of(cron), wall_ms, cron.catch_up)
}

impl Control {
    /// The timer has something to say: a tick is due, or the clock was set.
    pub(crate) fn hear_wall_clock(&mut self) {
        if let Some(timer) = &self.crons.timer {
            timer.take();
        }
        if self.crons.was_set(now()) {
            self.look_at_schedules();
        } else {
            self.look_at(|ticks, wall_ms| ticks.next_ms.is_some_and(|next| next <= wall_ms));
        }
    }

    /// Where the kernel did not tell that the clock was set.
    pub(crate) fn follow_wall_clock(&mut self) {
        if self.crons.timer.is_some() && self.crons.was_set(now()) {
            self.look_at_schedules();
        }
    }

    /// Settles the next tick of every schedule, and runs what is due.
    pub(crate) fn look_at_schedules(&mut self) {
        self.look_at(|_, _| true);
    }

    fn look_at(&mut self, which: impl Fn(&Ticks, u64) -> bool) {
        let now = now();
        self.crons.ahead_ms = ahead_ms(now);
        let mut due = Vec::new();
        let mut changed = Vec::new();
        for slot in self.registry.iter_mut().filter(|slot| slot.ticks.armed && which(&slot.ticks, now.wall_ms)) {
            let before = slot.ticks;
            let Some(cron) = &slot.app.spec.cron else { continue };
            due.extend(look(&mut slot.ticks, cron, now.wall_ms).map(|tick| (slot.id, tick)));
            if slot.ticks != before {
                changed.push(slot.id);
            }
        }
        changed.into_iter().for_each(|id| self.registry.changed(id));
        self.crons.stale = true;
        self.run_ticks(due, now);
    }

    /// Sets the timer for the earliest tick, if any of them changed.
    pub(crate) fn set_wall_timer(&mut self) {
        if !std::mem::take(&mut self.crons.stale) {
            return;
        }
        let now = now();
        let (mut earliest, mut settled) = (None::<u64>, Vec::new());
        for slot in self.registry.iter_mut().filter(|slot| slot.ticks.armed) {
            let Some(cron) = &slot.app.spec.cron else { continue };
            if slot.ticks.next_ms.is_none() {
                look(&mut slot.ticks, cron, now.wall_ms);
                settled.push(slot.id);
            }
            earliest = earliest.into_iter().chain(slot.ticks.next_ms).min();
        }
        settled.into_iter().for_each(|id| self.registry.changed(id));
        let crons = &mut self.crons;
        if crons.timer.is_none() {
            crons.ahead_ms = ahead_ms(now);
        }
        let Some(earliest) = earliest else {
            crons.timer = None;
            return;
        };
        let set = match &crons.timer {
            Some(timer) => timer.set(earliest),
            None => WallTimer::new().and_then(|timer| {
                timer.set(earliest)?;
                self.reactor.add(&timer, Source::WallClock)?;
                crons.timer = Some(timer);
                Ok(())
            }),
        };
        if let Err(error) = set {
            // Out of descriptors, most likely: tried again with the next event.
            crons.stale = true;
            self.log.error_once("cron", format_args!("cannot set a timer for schedules: {error}"));
        }
    }

    /// A slot leaves the tables.
    pub(crate) fn forget_schedule(&mut self, id: u32) {
        self.crons.limits.remove(&id);
    }

    /// Attempts of jobs that take too long.
    pub(crate) fn tick_limits(&mut self, now_ms: u64) {
        let over: Vec<u32> = self.crons.limits.iter().filter(|(_, until_ms)| **until_ms <= now_ms).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.overrun(id));
    }
}
