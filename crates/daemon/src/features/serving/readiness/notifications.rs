//! Notifications of processes by sd_notify, and the watchdog.

use ostler_core::lifecycle::{Event, InstanceState, Origin, PolicyName};
use ostler_proto::sd_notify::Notification;

use super::checks::LOOK_AGAIN_MS;
use super::notify::{NextNotification, Notify, Watchdog};
use super::proof::Signal;
use super::{PER_TURN, Readiness, ReadinessTimer};
use crate::engine::{Ctx, FeatureRequest, Work};
use crate::state::slots::complaints::Topic;
use crate::state::slots::split_key;

/// Lateness of our timer from which the daemon itself was suspended (the machine slept, for
/// example). The app is then not to blame for a missed watchdog.
const NOTICED_LATE_MS: u64 = 1000;

/// Result of a reception: the number of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReceivedDatagrams {
    count: usize,
    /// Whether the next datagram is read only when this one was handled and is in the journal.
    waits: bool,
}

impl Readiness {
    /// Handles a notification of a process.
    pub(super) fn on_notify(&mut self, ctx: &mut Ctx, id: u32) {
        self.receive_at_most(ctx, id, PER_TURN);
    }

    /// Continues the reception of this turn, after the last datagram is in the journal.
    pub(super) fn on_notify_rest(&mut self, ctx: &mut Ctx, id: u32) {
        let left = self.notify.get_mut(&id).map_or(0, |notify| std::mem::take(&mut notify.turn_budget));
        self.receive_at_most(ctx, id, left);
    }

    fn receive_at_most(&mut self, ctx: &mut Ctx, id: u32, at_most: usize) {
        let received = self.receive(ctx, id, at_most);
        let now_ms = ctx.now.mono_ms;
        if let Some(notify) = self.notify.get_mut(&id).filter(|_| received.waits && received.count < at_most) {
            notify.turn_budget = at_most - received.count;
            ctx.outbox.effects.push(Work::Feature(Self::NAME, id.into()));
        }
        let until_ms = self.notify.get_mut(&id).and_then(|notify| notify.spend(received.count, now_ms, &ctx.io.reactor));
        if until_ms.is_some() {
            ctx.outbox.timers.set(ReadinessTimer::ReceiveAgain.of(id), until_ms);
            ctx.complain(id, Topic::Notify, format_args!("sends sd_notify messages faster than the daemon reads them; they are delayed"));
        }
    }

    /// Resumes the reception a while after too much was sent.
    pub(super) fn receive_again(&mut self, ctx: &mut Ctx, id: u32) {
        let again = self.notify.get(&id).is_none_or(|notify| notify.resume_watch(&ctx.io.reactor));
        // Memory may be free again soon.
        let later = (!again).then(|| ctx.now.mono_ms.saturating_add(LOOK_AGAIN_MS));
        ctx.outbox.timers.set(ReadinessTimer::ReceiveAgain.of(id), later);
    }

    /// Receives the messages that a process sent before it exited; they count before its exit.
    /// Returns true if there may be more after the journal has these.
    pub(super) fn receive_to_the_end(&mut self, ctx: &mut Ctx, id: u32) -> bool {
        let Some(left) = self.notify.get(&id).map(Notify::left_at_end) else { return false };
        let received = self.receive(ctx, id, left);
        let goes_on = received.waits && received.count < left;
        if let Some(notify) = self.notify.get_mut(&id) {
            notify.received_at_end = if goes_on { notify.received_at_end + received.count } else { 0 };
        }
        goes_on
    }

    fn receive(&mut self, ctx: &mut Ctx, id: u32, at_most: usize) -> ReceivedDatagrams {
        for count in 0..at_most {
            let Some(notify) = self.notify.get_mut(&id) else { return ReceivedDatagrams { count, waits: false } };
            let inc = split_key(notify.key).1;
            let notification = match notify.next(ctx.state.journal.writes()) {
                NextNotification::Message(said) => said,
                NextNotification::Nothing => return ReceivedDatagrams { count, waits: false },
                NextNotification::Later => return ReceivedDatagrams { count, waits: true },
            };
            let queued = ctx.outbox.queue.len();
            self.take_notification(ctx, id, inc, notification);
            let Some(notify) = self.notify.get_mut(&id) else { continue };
            if ctx.outbox.queue.len() == queued {
                notify.take();
            } else {
                notify.take_after(ctx.state.journal.writes());
                return ReceivedDatagrams { count: count + 1, waits: true };
            }
        }
        ReceivedDatagrams { count: at_most, waits: false }
    }

    fn take_notification(&mut self, ctx: &mut Ctx, id: u32, inc: u32, said: Notification) {
        let now_ms = ctx.now.mono_ms;
        if let Some(pid) = said.main_pid {
            self.take_main_pid(ctx, id, inc, pid);
        }
        if let Some(ms) = said.extend_ms {
            let until_ms = now_ms.saturating_add(ms);
            let spawning =
                ctx.state.slots.get(id).is_some_and(|slot| matches!(slot.durable.instance.state, InstanceState::Spawning { .. }));
            match self.notify.get_mut(&id) {
                // The process sent this before the keeper reported that it runs.
                Some(notify) if spawning => notify.extended_ms = Some(until_ms),
                _ => ctx.event(id, Event::Extend { inc, until_ms }),
            }
        }
        if let Some(slot) = ctx.state.slots.get_mut(id) {
            // A record is not worthwhile, because an app may send it a thousand times a second.
            let status = status_after(slot.durable.learned.status.take(), &said);
            slot.durable.learned.status = status.filter(|status| !status.is_empty());
        }
        if said.ready {
            self.take_signal(ctx, id, inc, Signal::Notify);
        }
        self.on_watchdog(ctx, id, &said);
    }

    /// Accepts another process as the main process, as a notification declares it.
    fn take_main_pid(&mut self, ctx: &mut Ctx, id: u32, inc: u32, pid: i32) {
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.durable.instance.inc == inc) else { return };
        let former = slot.durable.instance.pid();
        if former == Some(pid) || (former.is_none() && !matches!(slot.durable.instance.state, InstanceState::Spawning { .. })) {
            return;
        }
        let is_rare = self.notify.get_mut(&id).is_some_and(|notify| notify.may_log_change(ctx.now.mono_ms));
        ctx.request(FeatureRequest::Follow { id, inc, pid, is_rare });
    }

    pub(super) fn follow_watchdog(&mut self, ctx: &mut Ctx, id: u32, running: Option<u32>) {
        let Some(notify) = self.notify.get_mut(&id) else { return };
        let armed = running.is_some_and(|inc| split_key(notify.key).1 == inc);
        let Some(watchdog) = notify.watchdog.as_mut().filter(|watchdog| watchdog.due_ms.is_some() != armed) else { return };
        watchdog.due_ms = armed.then(|| ctx.now.mono_ms.saturating_add(watchdog.period_ms));
        set_watchdog_timer(ctx, id, watchdog);
    }

    fn on_watchdog(&mut self, ctx: &mut Ctx, id: u32, said: &Notification) {
        let Some(watchdog) = self.notify.get_mut(&id).and_then(|notify| notify.watchdog.as_mut()) else { return };
        if let Some(ms) = said.watchdog_ms {
            *watchdog = Watchdog { due_ms: watchdog.due_ms, ..Watchdog::new(ms) };
        }
        if watchdog.due_ms.is_none() {
            return;
        }
        if said.trigger {
            return bark(ctx, id, "requested by the app");
        }
        // A process that is being stopped need not send any more. The time for stopping applies
        // instead.
        if said.alive || said.ready || said.watchdog_ms.is_some() || said.stopping {
            watchdog.due_ms = Some(if said.stopping { u64::MAX } else { ctx.now.mono_ms.saturating_add(watchdog.period_ms) });
            set_watchdog_timer(ctx, id, watchdog);
        }
    }

    pub(super) fn watchdog_is_due(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(watchdog) = self.notify.get_mut(&id).and_then(|notify| notify.watchdog.as_mut()) else { return };
        let now_ms = ctx.now.mono_ms;
        if watchdog.due_ms.is_some_and(|due_ms| now_ms.saturating_sub(due_ms) > NOTICED_LATE_MS) {
            watchdog.due_ms = Some(now_ms.saturating_add(watchdog.period_ms));
            return set_watchdog_timer(ctx, id, watchdog);
        }
        let period = watchdog.period_ms;
        bark(ctx, id, &format!("no watchdog message for {period} ms"));
    }
}

fn set_watchdog_timer(ctx: &mut Ctx, id: u32, watchdog: &Watchdog) {
    ctx.outbox.timers.set(ReadinessTimer::Watchdog.of(id), watchdog.due_ms.filter(|due_ms| *due_ms < u64::MAX));
}

/// Restarts the process; `why` is the watchdog's reason.
fn bark(ctx: &mut Ctx, id: u32, why: &str) {
    let Some(slot) = ctx.state.slots.get(id) else { return };
    ctx.io.log.error(format_args!("App [{}:{}] watchdog: {why}, restarting it", slot.spec().name, slot.durable.pm_id));
    ctx.event(id, Event::Restart(Origin::policy(PolicyName::Watchdog)));
}

/// Returns the displayed status: the app's own words, or its present phase.
fn status_after(before: Option<String>, said: &Notification) -> Option<String> {
    const RELOADING: &str = "reloading";
    match said {
        Notification { status: Some(status), .. } => Some(status.clone()),
        Notification { stopping: true, .. } => Some("stopping".into()),
        Notification { reloading: true, .. } => Some(RELOADING.into()),
        Notification { ready: true, .. } => before.filter(|status| status != RELOADING),
        _ => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_proto::sd_notify::parse;

    #[test]
    fn status_shows_the_app_text_or_its_phase() {
        let mut shown = None;
        for (said, expected) in [
            ("READY=1", None),
            ("STATUS=warm", Some("warm")),
            ("WATCHDOG=1", Some("warm")),
            ("READY=1", Some("warm")),
            ("RELOADING=1", Some("reloading")),
            ("WATCHDOG=1", Some("reloading")),
            ("READY=1", None),
            ("STOPPING=1\nSTATUS=bye", Some("bye")),
            ("STOPPING=1", Some("stopping")),
        ] {
            shown = status_after(shown, &parse(said.as_bytes()));
            assert_eq!(shown.as_deref(), expected, "{said}");
        }
    }
}
