//! Which processes get the new connections of a port.
//!
//! # Theory of operation
//!
//! Every slot has a lane: a socket of its own for each port, with its own queue (`SO_REUSEPORT`). Its processes have it one after the
//! other; a candidate of a reload is another slot and has another lane. A program in the kernel gives new connections only to the lanes
//! of processes that serve, and is replaced when these change. So a process can be kept from getting connections before it is told to
//! end: most servers close what they have accepted but not read by then.
//!
//! Lanes are opened when a process first needs them, held by the keeper, and closed only with the app's sockets. After both daemon and
//! keeper were killed the kernel's order of what is left is not known: then these lanes get connections all together or, beside newer
//! ones, not at all.

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::app::AppSpec;
use ostler_core::lanes::{Emptying, Part, Standing, attended};
use ostler_core::lifecycle::State;
use ostler_core::serving::{ListenAt, Scheduling};

use super::keys;
use crate::control::Control;
use crate::slots::Slot;
use crate::store::Role;

/// Whose lanes have to be looked at, and when.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Apps in which something changed.
    stirred: BTreeSet<String>,
    /// Apps in which something changes at a time.
    later: BTreeMap<String, u64>,
    /// Slots whose lane has to become empty, with the incarnation.
    emptying: BTreeMap<u32, (u32, Emptying)>,
}

impl Lanes {
    /// When the clock has something to say.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let looks = self.emptying.values().map(|(_, emptying)| emptying.look_ms());
        looks.chain(self.later.values().copied()).min()
    }
}

/// Each process of the app has a socket of its own for a port. Not where a cluster protocol spreads connections or the app wants one
/// socket for all, and not for unix sockets, which the kernel cannot group.
pub(crate) fn has_lanes(spec: &AppSpec) -> bool {
    let by_protocol = spec.has_workers();
    !by_protocol && spec.scheduling != Scheduling::Shared && spec.listen.iter().any(|listen| matches!(listen.at, ListenAt::Tcp { .. }))
}

/// The lane of a slot, if it has one.
pub(super) fn lane_of(slot: &Slot) -> Option<u32> {
    has_lanes(slot.spec()).then_some(slot.lane)
}

fn standing(slot: &Slot, now_ms: u64) -> (Standing, Option<u64>) {
    let part = Part {
        candidate: slot.role == Role::Candidate,
        retiring: slot.role == Role::Retiring,
        proves: slot.proof.is_some(),
        min_uptime_ms: slot.policy.min_uptime_ms,
    };
    match Standing::of(&slot.instance, part, now_ms) {
        (Standing::Serves | Standing::Young, until) if slot.unready => (Standing::Coming, until),
        standing => standing,
    }
}

impl Control {
    /// A slot made a step.
    pub(crate) fn stir_lanes_of(&mut self, id: u32) {
        if let Some(slot) = self.ctx.slots.get(id).filter(|slot| !slot.spec().listen.is_empty())
            && !self.sockets.lanes.stirred.contains(&slot.spec().name)
        {
            self.sockets.lanes.stirred.insert(slot.spec().name.clone());
        }
    }

    /// Tells the kernel who gets connections, where that has changed.
    pub(crate) fn steer_lanes(&mut self) {
        while let Some(app) = self.sockets.lanes.stirred.pop_first() {
            self.steer_app(&app);
        }
    }

    fn steer_app(&mut self, app: &str) {
        self.sockets.lanes.later.remove(app);
        if !self.sockets.by_app.iter().any(|(owner, group)| owner.app == app && group.has_lanes()) {
            return;
        }
        let now_ms = self.ctx.now.mono_ms;
        let slots: Vec<&Slot> = self.ctx.slots.iter().filter(|slot| slot.spec().name == app && !slot.spec().listen.is_empty()).collect();
        let standings: Vec<(Standing, Option<u64>)> = slots.iter().map(|slot| standing(slot, now_ms)).collect();
        for (owner, group) in self.sockets.by_app.iter_mut().filter(|(owner, group)| owner.app == app && group.has_lanes()) {
            // After a change of the file some have this socket and others do not.
            let users = slots.iter().zip(&standings).filter(|(slot, _)| keys(&slot.spec().listen).any(|(_, key)| key == owner.key));
            let lanes: Vec<(Standing, Option<u32>)> = users.map(|(slot, (standing, _))| (*standing, lane_of(slot))).collect();
            if let Err(errno) = group.steer(&attended(lanes.into_iter())) {
                let port = &owner.key;
                self.ctx.log.error_once("steer", format_args!("cannot steer the connections of {app} at {port}: {errno}"));
            }
        }
        // Who is young gets its share when it is not any more.
        let serves = standings.iter().any(|(standing, _)| *standing == Standing::Serves);
        if let Some(at_ms) = standings.iter().filter_map(|(_, until)| *until).min().filter(|_| serves) {
            self.sockets.lanes.later.insert(app.to_owned(), at_ms);
        }
    }

    /// Nothing new for this process; once it has taken what is its own already, it is to finish. False: it has no lane that could be
    /// closed to others.
    pub(crate) fn drain_lane(&mut self, id: u32, inc: u32) -> bool {
        let Some(slot) = self.ctx.slots.get(id) else { return false };
        let name = slot.spec().name.clone();
        self.steer_app(&name);
        if !self.is_left_out(id) {
            return false;
        }
        self.sockets.lanes.emptying.insert(id, (inc, Emptying::since(self.ctx.now.mono_ms)));
        true
    }

    /// Others than these serve at the ports of this slot: what waits in its lane would wait in vain if it were stopped at once.
    pub(crate) fn others_serve(&self, id: u32, these: &[u32]) -> bool {
        let Some(slot) = self.ctx.slots.get(id).filter(|slot| lane_of(slot).is_some()) else { return false };
        let now_ms = self.ctx.now.mono_ms;
        let mut others = self.ctx.slots.iter().filter(|other| other.spec().name == slot.spec().name && !these.contains(&other.id));
        others.any(|other| standing(other, now_ms).0 == Standing::Serves)
    }

    /// Nothing new comes to any of its lanes.
    fn is_left_out(&self, id: u32) -> bool {
        let Some((slot, lane)) = self.ctx.slots.get(id).and_then(|slot| Some((slot, lane_of(slot)?))) else { return false };
        let mut groups = self.sockets.lanes_of(&slot.spec().name).peekable();
        groups.peek().is_some() && groups.all(|group| group.is_left_out(lane))
    }

    /// What only the clock says.
    pub(crate) fn tick_lanes(&mut self, now_ms: u64) {
        let lanes = &mut self.sockets.lanes;
        while let Some(app) = lanes.later.iter().find(|(_, at)| **at <= now_ms).map(|(app, _)| app.clone()) {
            lanes.later.remove(&app);
            lanes.stirred.insert(app);
        }
        let due = lanes.emptying.iter().filter(|(_, (_, emptying))| emptying.look_ms() <= now_ms);
        let due: Vec<(u32, u32)> = due.map(|(id, (inc, _))| (*id, *inc)).collect();
        for (id, inc) in due {
            self.look_at_emptying(id, inc, now_ms);
        }
    }

    fn look_at_emptying(&mut self, id: u32, inc: u32, now_ms: u64) {
        let drains = |slot: &&Slot| matches!(slot.instance.state, State::Draining { inc: draining, .. } if draining == inc);
        let Some(slot) = self.ctx.slots.get(id).filter(drains) else {
            // It has ended, or is told to.
            self.sockets.lanes.emptying.remove(&id);
            return;
        };
        let (name, lane) = (slot.spec().name.clone(), slot.lane);
        let waits = self.sockets.lanes_of(&name).any(|group| group.waits(lane));
        let Some((_, emptying)) = self.sockets.lanes.emptying.get_mut(&id) else { return };
        if emptying.seen(waits, now_ms) {
            self.sockets.lanes.emptying.remove(&id);
            self.finish_requests(id, inc);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::app::ExecMode;
    use ostler_core::serving::Listen;

    #[test]
    fn who_has_lanes() {
        let listen = |at| vec![Listen { at, name: "a".into(), backlog: None, mode: None }];
        let port = || listen(ListenAt::Tcp { address: None, port: 80 });
        let spec = |spec: AppSpec| AppSpec { script: "/a".into(), ..spec };
        let node = || Some("node".to_owned());
        for (spec, expected) in [
            (AppSpec { listen: port(), ..AppSpec::default() }, true),
            (AppSpec { listen: port(), interpreter: node(), ..AppSpec::default() }, true),
            (AppSpec { listen: port(), mode: ExecMode::Cluster, ..AppSpec::default() }, true),
            (AppSpec { listen: port(), interpreter: node(), mode: ExecMode::Cluster, ..AppSpec::default() }, false),
            (AppSpec { listen: port(), scheduling: Scheduling::Shared, ..AppSpec::default() }, false),
            (AppSpec { listen: listen(ListenAt::Unix { path: "/s".into() }), ..AppSpec::default() }, false),
            (AppSpec::default(), false),
        ]
        .map(|(app, expected)| (spec(app), expected))
        {
            assert_eq!(has_lanes(&spec), expected, "{spec:?}");
        }
    }
}
