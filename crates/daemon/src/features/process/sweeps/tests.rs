//! Sweeps over a played context: when they search, which processes they signal or kill, and when
//! the tree counts as gone.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{Event, ExitReport, Origin, ProcessEnding};
use ostler_sys::ProcRef;

use super::{COLLECT_MS, LATE_MS, Sweeps};
use crate::engine::{FeatureRequest, Input, TestContext, reacts};

fn playing() -> (TestContext, Sweeps) {
    (TestContext::new(&[Sweeps::NAME]), Sweeps::default())
}

/// Returns an instance whose main process leads a group.
fn running(played: &mut TestContext, sweeps: &mut Sweeps) -> (u32, Child) {
    let id = played.instance(AppSpec { name: "app".into(), script: "/bin/app".into(), ..AppSpec::default() });
    let child = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    let process = ProcRef::of(child.id().cast_signed()).unwrap();
    played.start(sweeps, id, process.pid);
    played.ctx.state.slots.get_mut(id).unwrap().durable.start_ticks = process.start_ticks;
    (id, child)
}

/// Returns the time at which the daemon wakes up for it.
fn due(played: &mut TestContext, sweeps: &mut Sweeps) -> Option<u64> {
    sweeps.on_settled(&mut played.ctx);
    played.ctx.outbox.timers.next_ms()
}

fn gone(played: &mut TestContext) -> Vec<u32> {
    let gone = |input| match input {
        Input::Event(id, Event::TreeGone { .. }) => id,
        other => panic!("{other:?}"),
    };
    played.queued().into_iter().map(gone).collect()
}

#[test]
fn remaining_process_is_signalled_and_watched_until_it_exits() {
    let (mut played, mut sweeps) = playing();
    let (id, mut child) = running(&mut played, &mut sweeps);
    played.dispatch(&mut sweeps, id, Event::Stop(Origin::Shutdown));
    assert!(sweeps.on_request(&mut played.ctx, FeatureRequest::Sweep { id, inc: 1, signal: Some(15) }).is_none());
    assert_eq!(due(&mut played, &mut sweeps), Some(played.ctx.now.mono_ms), "at once");
    sweeps.on_idle(&mut played.ctx);
    assert!(gone(&mut played).is_empty() && sweeps.watched.len() == 1);
    child.wait().unwrap();
    played.wait(&mut sweeps, |sweeps, _| sweeps.watched.is_empty());
    assert_eq!(due(&mut played, &mut sweeps), Some(played.ctx.now.mono_ms), "its end is news");
    sweeps.on_idle(&mut played.ctx);
    assert_eq!(gone(&mut played), [id]);
    assert_eq!(due(&mut played, &mut sweeps), None);
}

#[test]
fn crash_with_an_empty_group_needs_no_scan() {
    let (mut played, mut sweeps) = playing();
    let (id, mut child) = running(&mut played, &mut sweeps);
    child.kill().unwrap();
    child.wait().unwrap();
    let exit = ExitReport { ending: ProcessEnding::Signal { signal: 9, core: false }, oom: false };
    played.dispatch(&mut sweeps, id, Event::Exited { inc: 1, exit });
    assert_eq!(gone(&mut played), [id], "in the same turn, before anything is journaled");
    played.dispatch(&mut sweeps, id, Event::TreeGone { inc: 1 });
    sweeps.on_request(&mut played.ctx, FeatureRequest::Sweep { id, inc: 1, signal: None });
    assert!(sweeps.all.is_empty(), "the next one is on its way");
    assert_eq!(due(&mut played, &mut sweeps), Some(played.ctx.now.mono_ms + LATE_MS), "by its mark, a moment later");
    played.pass(&mut sweeps, LATE_MS);
    sweeps.on_idle(&mut played.ctx);
    assert!(sweeps.late.is_empty() && due(&mut played, &mut sweeps).is_none());
}

#[test]
fn sweeps_share_a_scan_and_drop_forgotten_instances() {
    let (mut played, mut sweeps) = playing();
    let stopped = |played: &mut TestContext, sweeps: &mut Sweeps| {
        let id = played.instance(AppSpec { name: "app".into(), script: "/bin/app".into(), ..AppSpec::default() });
        played.start(sweeps, id, 4711);
        played.dispatch(sweeps, id, Event::Stop(Origin::Shutdown));
        id
    };
    let ids = [(); 4].map(|()| stopped(&mut played, &mut sweeps));
    for id in ids {
        sweeps.on_request(&mut played.ctx, FeatureRequest::Sweep { id, inc: 1, signal: None });
    }
    let now_ms = played.ctx.now.mono_ms;
    assert_eq!(sweeps.all.iter().filter_map(|sweep| sweep.due_ms).collect::<Vec<_>>(), [now_ms, now_ms, now_ms, now_ms + COLLECT_MS]);
    for id in ids {
        sweeps.on_forgotten(&mut played.ctx, id);
    }
    assert!(sweeps.all.is_empty() && due(&mut played, &mut sweeps).is_none());
}

reacts!(Sweeps: on_step, on_request, on_idle, on_ready, on_forgotten);
