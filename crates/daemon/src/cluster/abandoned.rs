//! Listeners that the app has no use for any more: a new release listens elsewhere.
//!
//! A listener without a worker is usually one whose workers are about to come back, so it stays open. It is closed only if nobody wants
//! it for a while in which all processes of the app run and listen to something else: clients are then refused, instead of waiting for
//! ever.

use ostler_core::lifecycle::{State, Wanted};

use crate::control::Control;

/// For so long it stays open in any case: an app's servers may begin one after the other.
const GRACE_MS: u64 = 10_000;

impl Control {
    /// A worker of this app listens: has anything become useless?
    pub(super) fn look_for_abandoned(&mut self, app: &str) {
        if self.listeners.used_by(app).into_iter().any(|id| !self.is_held(id, app)) {
            self.listeners.check_later(app, self.ctx.now.mono_ms + GRACE_MS);
        }
    }

    /// Closes what is still useless.
    pub(crate) fn close_abandoned(&mut self, now_ms: u64) {
        while let Some(app) = self.listeners.next_check(now_ms) {
            let processes = self.ctx.slots.iter().filter(|slot| slot.spec().name == app && slot.instance.wanted == Wanted::Up);
            let settled = { processes }.all(|slot| {
                matches!(slot.instance.state, State::Running { .. }) && !(slot.worker.listening.is_empty() && slot.worker.served.is_empty())
            });
            if !settled {
                // The next one that listens asks again.
                continue;
            }
            let Some(spec) = self.ctx.slots.iter().find(|slot| slot.spec().name == app).map(|slot| std::rc::Rc::clone(&slot.app.spec))
            else {
                continue;
            };
            for id in self.listeners.used_by(&app) {
                if !self.is_held(id, &app) {
                    self.leave_listener(id, &spec);
                }
            }
        }
    }

    fn is_held(&self, id: u32, app: &str) -> bool {
        let Some(key) = self.listeners.get(id).and_then(super::Listener::key) else { return false };
        self.ctx.slots.iter().any(|slot| slot.spec().name == app && slot.worker.has(key))
    }
}
