//! Listening sockets that several apps of one home share: "blue" and "green" at the same port, as in PM2.
//!
//! A listener has the name of one app; others that ask for the same address join it. When the one whose name it has goes, it gets the name
//! of another, so that it is found under it by the next daemon, too. Only apps of the same user share: connections of one user are not for
//! the processes of another, who finds the address in use.

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{State, Wanted};

use super::query::is_shareable;
use crate::control::Control;
use crate::rights::Rights;
use crate::slots::Slot;

impl Control {
    /// The listener that this app has for an address: its own, or that of another app.
    pub(super) fn listener_of(&mut self, spec: &AppSpec, key: &str) -> Option<u32> {
        if let Some(id) = self.listeners.find(&spec.name, key) {
            return Some(id);
        }
        let id = self.listeners.with_key(key).filter(|_| is_shareable(key))?;
        let members = self.listeners.members(id);
        if members.contains(&spec.name) {
            return Some(id);
        }
        let rights = Rights::of(spec);
        let mut users =
            self.ctx.slots.iter().filter(|slot| members.contains(&slot.spec().name)).map(|slot| Rights::of(slot.spec())).peekable();
        // Nobody could say whose it is.
        users.peek()?;
        let same = users.all(|user| user == rights);
        same.then(|| self.listeners.share(id, &spec.name))?;
        Some(id)
    }

    /// This app has no use for a listener any more. Where another one has, it goes on.
    pub(super) fn leave_listener(&mut self, id: u32, spec: &AppSpec) {
        let heir = self.listeners.members(id).into_iter().find(|app| *app != spec.name && self.app_lives(app));
        match heir {
            Some(heir) => self.listeners.leave(id, &spec.name, &heir, &mut self.ctx.keeper),
            None => self.listeners.close(id, &Rights::of(spec), &self.ctx.reactor, &mut self.ctx.keeper),
        }
        self.listeners.stir(id);
    }

    /// Something of this app runs, or is to run.
    pub(super) fn app_lives(&self, app: &str) -> bool {
        let idle = |state: &State| matches!(state, State::Stopped | State::Errored | State::Gone);
        let lives = |slot: &Slot| slot.instance.wanted == Wanted::Up || !idle(&slot.instance.state);
        self.ctx.slots.iter().any(|slot| slot.spec().name == app && lives(slot))
    }
}
