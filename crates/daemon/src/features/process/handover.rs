//! Handover: an app's main process changes. A server re-executes itself, for example, or a parent
//! forks and exits.
//!
//! The app reports that by sd_notify (`MAINPID=`). The daemon accepts the report if the named
//! process lives and belongs to the app's tree. It uses the same evidence that finds an app's
//! processes when the app is stopped. Everything else stays as it is: the incarnation, its sockets,
//! its log. The former main processes are remembered, because their sessions and groups are still
//! part of the tree.

use ostler_core::lifecycle::{Event, InstanceState};
use ostler_sys::process::ProcessEntry;
use ostler_sys::{ProcRef, ProcTable};

use crate::engine::{Ctx, FeatureRequest, Input};
use crate::platform::sample::CpuHistory;
use crate::state::slots::Slot;
use crate::state::slots::trees::family_in;

/// Handler of handovers. It has no state: former leaders of a tree are on the slot.
#[derive(Debug, Default)]
pub(crate) struct Handover;

impl Handover {
    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        match request {
            FeatureRequest::Follow { id, inc, pid, is_rare } => follow(ctx, id, inc, pid, is_rare),
            request => return Some(request),
        }
        None
    }

    /// Requests that the keeper watch the new main process.
    pub(crate) fn on_follow(&mut self, ctx: &mut Ctx, id: u32, inc: u32) {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        let Some(pid) = slot.durable.instance.pid() else { return };
        slot.live.cpu = CpuHistory::default();
        let (key, start_ticks) = (slot.key(inc), slot.durable.start_ticks);
        ctx.io.keeper.follow(key, ProcRef { pid, start_ticks });
    }
}

impl Handover {
    pub(crate) const NAME: &str = "handover";
}

/// Makes the process that incarnation `inc` named its main process.
fn follow(ctx: &mut Ctx, id: u32, inc: u32, pid: i32, is_rare: bool) {
    let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.durable.instance.inc == inc) else { return };
    let former = slot.durable.instance.pid();
    if former == Some(pid) || (former.is_none() && !matches!(slot.durable.instance.state, InstanceState::Spawning { .. })) {
        return;
    }
    let (name, pm_id) = (&slot.spec().name, slot.durable.pm_id);
    let is_anothers = ctx.state.slots.iter().any(|other| other.durable.instance.pid() == Some(pid));
    let Some(Successor { main, session }) = successor(slot, pid, ctx.io.keeper.pid()).filter(|_| !is_anothers) else {
        if is_rare {
            ctx.io.log.line(format_args!("App [{name}:{pm_id}] reported main process {pid}, which is not in its process tree; ignored"));
        }
        return;
    };
    if is_rare {
        ctx.io.log.line(format_args!("App [{name}:{pm_id}] main process is now {pid}"));
        // If keeper and daemon are killed now, only the file on disk shows that the process that
        // exits soon is no longer the app.
        ctx.state.state_file.write_with_next();
    }
    let Some(slot) = ctx.state.slots.get_mut(id) else { return };
    let start_ticks = std::mem::replace(&mut slot.durable.start_ticks, main.start_ticks);
    for leader in former.map(|pid| ProcRef { pid, start_ticks }).into_iter().chain(session) {
        ctx.state.slots.note_former_leader(id, leader);
    }
    // The change is handled before other messages that the process sent with it.
    ctx.outbox.queue.push_front(Input::Event(id, Event::Followed { inc, pid }));
}

/// Process to which an app may hand over.
struct Successor {
    main: ProcRef,
    /// Leader of its session, if that is not the process itself and not known to belong to the
    /// tree.
    session: Option<ProcRef>,
}

/// Returns the process with this pid, if it lives and is in the tree of the slot.
fn successor(slot: &Slot, pid: i32, keeper: i32) -> Option<Successor> {
    let main = slot.durable.instance.pid().unwrap_or(0);
    let table = ProcTable::with_ancestors(pid, slot.durable.former_leaders.iter().map(|leader| leader.0).chain([main]));
    let family = family_in(&table, slot, main, keeper);
    let found = family.iter().find(|member| member.pid == pid)?;
    // Threads have ids too, but are no processes.
    if !found.process().is_process() {
        return None;
    }
    Some(Successor { main: found.process(), session: session(slot, found) })
}

/// Returns the session of a process if the session's leader has exited. The session may be the only
/// evidence for its members. A session whose leader lives may belong to another program.
fn session(slot: &Slot, process: &ProcessEntry) -> Option<ProcRef> {
    let is_known = |pid| Some(pid) == slot.durable.instance.pid() || slot.durable.former_leaders.iter().any(|leader| leader.0 == pid);
    let is_left = process.sid > 1 && process.sid != process.pid && !is_known(process.sid) && ProcessEntry::of(process.sid).is_none();
    let start_ticks = slot.durable.former_leaders.first().map_or(slot.durable.start_ticks, |leader| leader.1);
    is_left.then_some(ProcRef { pid: process.sid, start_ticks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};
    use crate::platform::keeper_connection::KeeperConnection;
    use crate::state::slots::processes::MARK;
    use ostler_core::app::AppSpec;
    use ostler_keeper::Link;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    /// Returns a context whose keeper is the test: processes that it starts are its children.
    fn playing() -> TestContext {
        let mut played = TestContext::new(&[]);
        let link = Link::new(ostler_sys::net::socket::packet_pair().unwrap().0);
        played.ctx.io.keeper = KeeperConnection::new(link, std::process::id().cast_signed());
        played
    }

    /// Starts a process of this instance's tree, recognised by its mark. It leads a session, as
    /// main processes do.
    fn process(unique_id: &str) -> Child {
        let mut command = Command::new("sleep");
        command.arg("1000").env(MARK, unique_id).process_group(0);
        let child = command.spawn().unwrap();
        // The kernel shows the variables a moment after the process is executed.
        while ostler_sys::process::tree::marker(of(&child).pid, MARK).is_none() {
            std::thread::yield_now();
        }
        child
    }

    fn of(child: &Child) -> ProcRef {
        ProcRef::of(child.id().cast_signed()).unwrap()
    }

    /// Returns a running instance, and its process.
    fn running(played: &mut TestContext) -> (u32, Child) {
        let id = played.instance(AppSpec { name: "api".into(), script: "/srv/api".into(), ..AppSpec::default() });
        let main = process(&played.ctx.state.slots.get(id).unwrap().durable.unique_id);
        played.start(&mut Handover, id, of(&main).pid);
        played.ctx.state.slots.get_mut(id).unwrap().durable.start_ticks = of(&main).start_ticks;
        (id, main)
    }

    fn follow_request(played: &mut TestContext, id: u32, pid: i32) -> Option<i32> {
        played.ctx.request(FeatureRequest::Follow { id, inc: 1, pid, is_rare: true });
        assert!(played.settle(&mut Handover).is_empty());
        played.ctx.state.slots.get(id).unwrap().durable.instance.pid()
    }

    fn kill_all(children: impl IntoIterator<Item = Child>) {
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn handover_accepts_only_a_process_of_the_same_tree() {
        let mut played = playing();
        let (id, main) = running(&mut played);
        let (other, of_other) = running(&mut played);
        // All evidence shows that this process is of the instance's tree, but it is another
        // instance's main process.
        let taken = process(&played.ctx.state.slots.get(id).unwrap().durable.unique_id);
        let third = played.instance(AppSpec { name: "api".into(), script: "/srv/api".into(), ..AppSpec::default() });
        played.start(&mut Handover, third, of(&taken).pid);
        let stranger = process("somebody");
        for pid in [of(&stranger).pid, of(&of_other).pid, of(&taken).pid, std::process::id().cast_signed(), 0, -1, 1 << 22] {
            assert_eq!(follow_request(&mut played, id, pid), Some(of(&main).pid), "{pid}");
        }
        assert!(played.log().contains("which is not in its process tree"), "{}", played.log());
        assert!(played.ctx.state.slots.iter().all(|slot| slot.durable.former_leaders.is_empty()) && other != id);
        kill_all([main, of_other, taken, stranger]);
    }

    #[test]
    fn exit_of_the_former_process_keeps_the_instance_running() {
        let mut played = playing();
        let (id, main) = running(&mut played);
        let successor = process(&played.ctx.state.slots.get(id).unwrap().durable.unique_id);
        played.ctx.event(id, Event::Ready { inc: 1 });
        follow(&mut played.ctx, id, 1, of(&successor).pid, true);
        assert!(
            matches!(played.ctx.outbox.queue[0], Input::Event(_, Event::Followed { .. })),
            "before what else it said: {:?}",
            played.ctx.outbox.queue
        );
        assert!(played.settle(&mut Handover).is_empty());
        let slot = played.ctx.state.slots.get(id).unwrap();
        assert_eq!(slot.durable.instance.pid(), Some(of(&successor).pid));
        assert_eq!(
            (slot.durable.start_ticks, &slot.durable.former_leaders[..]),
            (of(&successor).start_ticks, &[(of(&main).pid, of(&main).start_ticks)][..])
        );
        assert!(slot.durable.instance.is_former(1, of(&main).pid));
        kill_all([main, successor]);
    }

    reacts!(Handover: on_request);
}
