//! One kernel queue per worker (`SO_REUSEPORT`).
//!
//! # Theory of operation
//!
//! Each instance number of the app has a socket of the same port, a *lane*: its worker accepts from it, and so does the worker's
//! replacement. A lane is never closed before all are, because that would reset what waits in its queue. A program in the kernel gives
//! each new connection to a random one of the lanes that somebody accepts from; it is replaced whenever these change. What is in the
//! queue of a lane whose worker is gone is accepted here and handed to the others.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;

use super::listen::bound_to;
use super::query::Query;
use super::round_robin::is_up;
use crate::control::Control;

impl Control {
    /// Opens a listener with a lane for each present instance of the app, in the order of their numbers.
    pub(super) fn open_lanes(&mut self, app: &str, key: &str, query: &Query) -> Result<u32, Errno> {
        let first = Rc::new(query.open_first_lane()?);
        let id = self.listeners.add(app, key, Rc::clone(&first), &mut self.ctx.keeper);
        let slots = self.ctx.slots.iter().filter(|slot| slot.spec().name == app);
        let mut indexes: Vec<u32> = slots.map(|slot| slot.index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let mut indexes = indexes.into_iter();
        self.listeners.add_lane(id, indexes.next().unwrap_or(0), first, &mut self.ctx.keeper);
        for index in indexes {
            self.lane_of(id, index, query);
        }
        Ok(id)
    }

    /// The socket of the instances of this number.
    pub(super) fn lane_of(&mut self, id: u32, index: u32, query: &Query) -> Rc<OwnedFd> {
        let listener = self.listeners.get(id).expect("the caller has just looked it up");
        if let Some(lane) = listener.lanes.iter().find(|lane| lane.index == index) {
            return Rc::clone(&lane.fd);
        }
        let first = Rc::clone(&listener.fd);
        match bound_to(&first).and_then(|address| query.open_lane(address)) {
            Ok(fd) => {
                let fd = Rc::new(fd);
                self.listeners.add_lane(id, index, Rc::clone(&fd), &mut self.ctx.keeper);
                fd
            }
            // Two instances then accept from the first one.
            Err(errno) => {
                self.ctx.log.error_once("lane", format_args!("cannot open another socket for the same port: {errno}"));
                first
            }
        }
    }

    /// Tells the kernel which lanes somebody accepts from, if that has changed.
    pub(super) fn steer(&mut self, id: u32) {
        let Some(listener) = self.listeners.get_mut(id).filter(|listener| !listener.lanes.is_empty()) else { return };
        let workers = listener.turns.workers().filter_map(|worker| self.ctx.slots.get(worker)).filter(|slot| is_up(slot));
        let attended: Vec<u32> = workers.map(|slot| slot.index).collect();
        let changed = listener.lanes.iter().any(|lane| lane.active != attended.contains(&lane.index));
        if !changed {
            return;
        }
        for lane in &mut listener.lanes {
            lane.active = attended.contains(&lane.index);
        }
        let positions = listener.lanes.iter().zip(0..).filter(|(lane, _)| lane.active);
        let active: Vec<u32> = positions.map(|(_, position)| position).collect();
        // While there is nobody all wait.
        if !active.is_empty()
            && let Err(errno) = ostler_sys::reuseport::steer(&*listener.fd, &active)
        {
            self.ctx
                .log
                .error_once("steer", format_args!("the kernel does not let connections be steered ({errno}): it spreads them by itself"));
        }
    }
}
