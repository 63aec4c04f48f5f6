//! Listening sockets that several apps of one home share: "blue" and "green" at the same port, as
//! in PM2.
//!
//! A listener has the name of one app. Other apps that want the same address join it. When the
//! named app leaves, the listener gets the name of another, so the next daemon finds it, too. Only
//! apps of the same user share. For another user's app, the address is in use.

use ostler_core::app::AppSpec;

use super::Cluster;
use super::query::is_shareable;
use crate::engine::Ctx;
use crate::platform::rights::Rights;
use crate::state::slots::Slot;

impl Cluster {
    /// Returns the listener that this app has for an address: its own, or that of another app.
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
        // Without an instance, the listener's user is unknown.
        users.peek()?;
        let same = users.all(|user| user == rights);
        same.then(|| self.listeners.share(id, spec.key()))?;
        Some(id)
    }

    /// Removes this app from a listener. If another app uses the listener, it stays open.
    pub(super) fn leave_listener(&mut self, ctx: &mut Ctx, id: u32, spec: &AppSpec) {
        let heir = self.listeners.members(id).into_iter().find(|app| *app != spec.key() && app_lives(ctx, app));
        match heir {
            Some(heir) => self.listeners.leave(ctx, id, spec.key(), &heir),
            None => self.listeners.close(ctx, id, Some(&Rights::of(spec))),
        }
        self.listeners.mark_dirty(id);
    }
}

/// Returns true if an instance of this app is or will be up.
pub(super) fn app_lives(ctx: &Ctx, app: &str) -> bool {
    ctx.state.slots.iter().any(|slot| slot.spec().key() == app && slot.is_or_will_be_up())
}
