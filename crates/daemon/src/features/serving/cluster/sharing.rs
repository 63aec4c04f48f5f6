//! Listening sockets that several apps of one home share: "blue" and "green" at the same port, as in PM2.
//!
//! A listener has the name of one app; others that ask for the same address join it. When the one whose name it has goes, it gets the name
//! of another, so that it is found under it by the next daemon, too. Only apps of the same user share: connections of one user are not for
//! the processes of another, who finds the address in use.

use ostler_core::app::AppSpec;

use super::Cluster;
use super::query::is_shareable;
use crate::engine::Ctx;
use crate::platform::rights::Rights;
use crate::state::slots::Slot;

impl Cluster {
    /// The listener that this app has for an address: its own, or that of another app.
    pub(super) fn listener_of(&mut self, ctx: &Ctx, spec: &AppSpec, key: &str) -> Option<u32> {
        if let Some(id) = self.listeners.find(spec.key(), key) {
            return Some(id);
        }
        let id = self.listeners.with_key(key).filter(|_| is_shareable(key))?;
        let members = self.listeners.members(id);
        if members.iter().any(|member| member == spec.key()) {
            return Some(id);
        }
        let rights = Rights::of(spec);
        let is_member = |slot: &&Slot| members.iter().any(|member| member == slot.spec().key());
        let mut users = ctx.state.slots.iter().filter(is_member).map(|slot| Rights::of(slot.spec())).peekable();
        // Nobody could say whose it is.
        users.peek()?;
        let same = users.all(|user| user == rights);
        same.then(|| self.listeners.share(id, spec.key()))?;
        Some(id)
    }

    /// Ends this app's use of a listener. Where another app uses it, it goes on.
    pub(super) fn leave_listener(&mut self, ctx: &mut Ctx, id: u32, spec: &AppSpec) {
        let heir = self.listeners.members(id).into_iter().find(|app| *app != spec.key() && app_lives(ctx, app));
        match heir {
            Some(heir) => self.listeners.leave(ctx, id, spec.key(), &heir),
            None => self.listeners.close(ctx, id, Some(&Rights::of(spec))),
        }
        self.listeners.mark_dirty(id);
    }
}

/// True if something of this app runs, or is to run.
pub(super) fn app_lives(ctx: &Ctx, app: &str) -> bool {
    ctx.state.slots.iter().any(|slot| slot.spec().key() == app && slot.is_or_will_be_up())
}
