//! The event loop of a Node app says from time to time that it turns (our preload does). Nothing is expected before it said so for the first
//! time: a program without the preload has no heart that could stop.

use ostler_proto::health::LastAnswer;

use crate::control::Control;

/// A silence that is noticed so late tells of our own absence (the machine slept, we stood still), not of the app's.
const NOTICED_LATE_MS: u64 = 1000;

impl Control {
    /// It turns.
    pub(crate) fn hear_heart(&mut self, id: u32) {
        let Some(period_ms) = self.heartbeat_of(id) else { return };
        let at = self.ctx.now.mono_ms;
        self.expect_beat(id, Some(at.saturating_add(period_ms)));
        self.take_heart(id, true, String::new());
    }

    /// Nothing more is expected: the app has closed its channel.
    pub(crate) fn heart_is_lost(&mut self, id: u32) {
        self.expect_beat(id, None);
    }

    fn heartbeat_of(&self, id: u32) -> Option<u64> {
        self.ctx.slots.get(id)?.spec().care.as_ref()?.health.heartbeat_ms
    }

    fn expect_beat(&mut self, id: u32, due_ms: Option<u64>) {
        let Some(watched) = self.care.watched.get_mut(&id) else { return };
        if let Some(at) = watched.beat_due_ms {
            self.care.hearts.remove(&(at, id));
        }
        watched.beat_due_ms = due_ms;
        self.care.hearts.extend(due_ms.map(|at| (at, id)));
    }

    pub(super) fn tick_hearts(&mut self, now_ms: u64) {
        while let Some((at, id)) = self.care.hearts.first().copied().filter(|(at, _)| *at <= now_ms) {
            let Some(period_ms) = self.heartbeat_of(id) else {
                self.expect_beat(id, None);
                continue;
            };
            let late = now_ms.saturating_sub(at) > NOTICED_LATE_MS;
            self.expect_beat(id, Some(now_ms.saturating_add(period_ms)));
            if !late {
                self.take_heart(id, false, format!("its event loop has not turned for {period_ms} ms"));
            }
        }
    }

    fn take_heart(&mut self, id: u32, beats: bool, words: String) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let Some(health) = slot.spec().care.as_ref().map(|care| &care.health) else { return };
        let Some(watched) = self.care.watched.get_mut(&id) else { return };
        let before = watched.monitor.state(health);
        let news = watched.monitor.heartbeat(health, beats);
        if news.is_some() || !beats {
            watched.last = Some(LastAnswer { at: self.ctx.now, good: beats, words });
        }
        self.note_health(id);
        if let Some(state) = news {
            self.take_health(id, before, state);
        }
    }
}
