//! Heartbeat of a Node app: our preload reports from time to time that the event loop turns. No
//! heartbeat is expected before the first one, because a program without the preload sends none.

use ostler_proto::health::LastAnswer;

use ostler_core::health::HealthState;
use ostler_proto::event::Health;

use super::{BEATS, HealthChecks, emit_health};
use crate::engine::Ctx;

/// Lateness of our own timer from which the daemon itself was suspended (the machine slept, for
/// example). The silence then proves nothing about the app.
const NOTICED_LATE_MS: u64 = 1000;

impl HealthChecks {
    /// Handles a heartbeat.
    pub(super) fn on_beat(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(period_ms) = period_of(ctx, id) else { return };
        self.expect_beat(ctx, id, Some(ctx.now.mono_ms.saturating_add(period_ms)));
        self.take_beat(ctx, id, true, String::new());
    }

    /// Sets the time of the next expected heartbeat; `None` = no heartbeat is expected any more.
    pub(super) fn expect_beat(&mut self, ctx: &mut Ctx, id: u32, due_ms: Option<u64>) {
        if let Some(watched) = self.watched.get_mut(&id).filter(|watched| watched.beat_due_ms != due_ms) {
            watched.beat_due_ms = due_ms;
            ctx.outbox.timers.set(Self::timer(BEATS, id), due_ms);
        }
    }

    /// Handles a heartbeat that is overdue.
    pub(super) fn on_silence(&mut self, ctx: &mut Ctx, id: u32) {
        let now_ms = ctx.now.mono_ms;
        let due_ms = self.watched.get_mut(&id).and_then(|watched| watched.beat_due_ms.take());
        let (Some(due_ms), Some(period_ms)) = (due_ms, period_of(ctx, id)) else { return };
        self.expect_beat(ctx, id, Some(now_ms.saturating_add(period_ms)));
        if now_ms.saturating_sub(due_ms) <= NOTICED_LATE_MS {
            self.take_beat(ctx, id, false, format!("its event loop has been blocked for {period_ms} ms"));
        }
    }

    fn take_beat(&mut self, ctx: &mut Ctx, id: u32, beats: bool, words: String) {
        let Some(health) = ctx.state.slots.get(id).and_then(|slot| slot.spec().health()) else { return };
        let Some(watched) = self.watched.get_mut(&id) else { return };
        let before = watched.monitor.state(health);
        let news = watched.monitor.heartbeat(health, beats);
        if news.is_some() || !beats {
            watched.last = Some(LastAnswer { at: ctx.now, good: beats, words });
        }
        // The first heartbeat changes no state, but the former process may have been unhealthy.
        let is_first = news.is_none() && before == HealthState::Healthy && !std::mem::replace(&mut watched.is_reported, true);
        self.show(ctx, id);
        if let Some(state) = news {
            self.on_change(ctx, id, before, state);
        } else if is_first {
            emit_health(ctx, id, Health::Healthy, None);
        }
    }
}

/// Returns the longest time between two heartbeats.
fn period_of(ctx: &Ctx, id: u32) -> Option<u64> {
    ctx.state.slots.get(id)?.spec().health()?.heartbeat_ms
}
