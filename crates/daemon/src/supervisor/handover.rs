//! An app whose main process is another one from now on: a server that executes itself anew, a parent that forks and ends.
//!
//! It says so by sd_notify (`MAINPID=`), and it is believed when that process lives and belongs to its tree, by the same signs by which
//! what it started is found when it is stopped. Everything else stays as it is: the incarnation, its sockets, its log. The former main
//! processes are remembered, because their sessions and groups are still part of the tree.

use ostler_core::lifecycle::{Event, State};
use ostler_sys::tree::Entry;
use ostler_sys::{ProcRef, ProcTable};

use crate::control::Control;
use crate::slots::Slot;
use crate::slots::trees::family_in;

/// So many former leaders of a tree are remembered; the first one always.
const KIN_MAX: usize = 8;

impl Control {
    /// Incarnation `inc` says that this is its main process. What it says is in the journal when this returns.
    pub(crate) fn follow_main_pid(&mut self, id: u32, inc: u32, pid: i32, is_rare: bool) {
        let Some(slot) = self.ctx.slots.get(id).filter(|slot| slot.instance.inc == inc) else { return };
        let former = slot.instance.pid();
        if former == Some(pid) || (former.is_none() && !matches!(slot.instance.state, State::Spawning { .. })) {
            return;
        }
        let (name, pm_id) = (slot.spec().name.clone(), slot.pm_id);
        let is_anothers = self.ctx.slots.iter().any(|other| other.instance.pid() == Some(pid));
        let found = self.ctx.slots.get(id).and_then(|slot| successor(slot, pid, self.ctx.keeper.pid())).filter(|_| !is_anothers);
        let Some(Successor { main, session }) = found else {
            if is_rare {
                self.ctx.log.line(format_args!("App [{name}:{pm_id}] says that its main process is {pid}, which is none of its own"));
            }
            return;
        };
        if is_rare {
            self.ctx.log.line(format_args!("App [{name}:{pm_id}] main process is {pid} now"));
        }
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        let start_ticks = std::mem::replace(&mut slot.start_ticks, main.start_ticks);
        for kin in former.map(|pid| ProcRef { pid, start_ticks }).into_iter().chain(session) {
            self.note_kin(id, kin);
        }
        self.feed(id, Event::Followed { inc, pid });
        self.write_journal();
        if is_rare {
            // Were keeper and daemon killed now, the file on disk alone could tell that the one that ends soon is not the app.
            self.ctx.state_file.hurry();
        }
    }

    /// A process that led the tree of a slot.
    pub(crate) fn note_kin(&mut self, id: u32, ProcRef { pid, start_ticks }: ProcRef) {
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        slot.kin.retain(|kin| kin.0 != pid);
        if slot.kin.len() >= KIN_MAX {
            slot.kin.remove(1);
        }
        slot.kin.push((pid, start_ticks));
        self.ctx.slots.changed(id);
    }

    /// The keeper is to watch the new main process.
    pub(super) fn watch_successor(&mut self, id: u32, inc: u32, pid: i32) {
        let Some(slot) = self.ctx.slots.get_mut(id).filter(|slot| slot.instance.pid() == Some(pid)) else { return };
        slot.cpu = crate::sample::CpuHistory::default();
        let (key, start_ticks) = (slot.key(inc), slot.start_ticks);
        self.ctx.keeper.follow(key, ProcRef { pid, start_ticks });
        self.write_pid_file(id, pid);
    }
}

/// A process to which an app may hand over.
struct Successor {
    main: ProcRef,
    /// The leader of its session, where that is neither itself nor known to be of the tree.
    session: Option<ProcRef>,
}

/// The process with this pid, if it lives and is in the tree of the slot.
fn successor(slot: &Slot, pid: i32, keeper: i32) -> Option<Successor> {
    let main = slot.instance.pid().unwrap_or(0);
    let table = ProcTable::with_ancestors(pid, slot.kin.iter().map(|kin| kin.0).chain([main]));
    let family = family_in(&table, slot, main, keeper);
    let found = family.iter().find(|member| member.pid == pid)?;
    // Threads have numbers too, but are no processes.
    if !found.process().is_process() {
        return None;
    }
    Some(Successor { main: found.process(), session: session(slot, found) })
}

/// The session of a process that was left by its leader: what is in it has no other sign perhaps. One whose leader lives may be anybody's.
fn session(slot: &Slot, process: &Entry) -> Option<ProcRef> {
    let is_known = |pid| Some(pid) == slot.instance.pid() || slot.kin.iter().any(|kin| kin.0 == pid);
    let is_left = process.sid > 1 && process.sid != process.pid && !is_known(process.sid) && Entry::of(process.sid).is_none();
    let start_ticks = slot.kin.first().map_or(slot.start_ticks, |kin| kin.1);
    is_left.then_some(ProcRef { pid: process.sid, start_ticks })
}
