//! Abandoned listeners: the app no longer uses them, because a new release listens elsewhere.
//!
//! A listener without a worker stays open, because its workers usually return. It is closed if no
//! worker wants it for a while in which all processes of the app run and listen elsewhere. Clients
//! are then refused, instead of waiting without end.

use ostler_core::lifecycle::{DesiredState, InstanceState};

use super::Cluster;
use crate::engine::Ctx;

/// Time for which it stays open in any case, because an app's servers may start one after the
/// other.
const GRACE_MS: u64 = 10_000;

impl Cluster {
    /// Schedules a check for abandoned listeners, after a worker of this app listens or a listening
    /// one is gone.
    pub(super) fn schedule_abandoned_check(&mut self, ctx: &mut Ctx, app: &str) {
        if self.listeners.used_by(app).into_iter().any(|id| !self.is_held(ctx, id, app)) {
            self.checks.insert(app.to_owned(), ctx.now.mono_ms + GRACE_MS);
            self.set_check_timer(ctx);
        }
    }

    /// Closes the listeners that are still abandoned.
    pub(super) fn close_abandoned(&mut self, ctx: &mut Ctx) {
        let now_ms = ctx.now.mono_ms;
        let due: Vec<String> = self.checks.iter().filter(|(_, at)| **at <= now_ms).map(|(app, _)| app.clone()).collect();
        for app in due {
            self.checks.remove(&app);
            let processes =
                ctx.state.slots.iter().filter(|slot| slot.spec().key() == app && slot.durable.instance.wanted == DesiredState::Up);
            let settled = { processes }.all(|slot| {
                matches!(slot.durable.instance.state, InstanceState::Running { .. })
                    && !(slot.durable.listening.is_empty() && slot.durable.served.is_empty())
            });
            if !settled {
                // The next worker that listens or exits causes another check.
                continue;
            }
            let Some(spec) = ctx.state.slots.iter().find(|slot| slot.spec().key() == app).map(|slot| std::rc::Rc::clone(&slot.app().spec))
            else {
                continue;
            };
            for id in self.listeners.used_by(&app) {
                if !self.is_held(ctx, id, &app) {
                    self.leave_listener(ctx, id, &spec);
                }
            }
        }
        self.set_check_timer(ctx);
    }

    fn set_check_timer(&self, ctx: &mut Ctx) {
        ctx.outbox.timers.set(Self::CHECKS, self.checks.values().copied().min());
    }

    fn is_held(&self, ctx: &Ctx, id: u32, app: &str) -> bool {
        let Some(key) = self.listeners.get(id).and_then(super::Listener::key) else { return false };
        ctx.state.slots.iter().any(|slot| slot.spec().key() == app && slot.has_listener(key))
    }
}
