//! Events that come late, early, or while the instance does something else.

use super::tests::{ASK, KILL_SWEEP, Story, exit, policy, user};
use super::*;
use crate::app::hooks::{Hook, HookPolicy, OnFailure};
use crate::lifecycle::command::CommandOutcome;
use crate::time::Now;

/// Returns every state of an instance whose newest process has this number. Deadlines are at 100.
fn every_state(inc: u32) -> Vec<InstanceState> {
    let (since, pid, deadline_ms, cause) = (Now::at(5), 102, 100, user("stop"));
    let next = AfterStop::default();
    let stopping = |leader_gone| InstanceState::Stopping {
        inc,
        pid,
        since,
        deadline_ms,
        killed: false,
        leader_gone,
        cause: user("stop"),
        next: AfterStop::default(),
    };
    vec![
        InstanceState::Stopped,
        InstanceState::Waiting { since, deadline_ms, automatic: false },
        InstanceState::Preparing { inc, since, automatic: false, superseded: None },
        InstanceState::Spawning { inc, since, automatic: false, ready: false, superseded: None },
        InstanceState::Starting { inc, pid, since, ready_deadline_ms: Some(deadline_ms), late: false, adopted: false },
        InstanceState::Completing { inc, pid, since },
        InstanceState::Running { inc, pid, since },
        InstanceState::Leaving { inc, pid, since, cause: cause.clone(), next, gently: false, ended: false },
        InstanceState::Draining { inc, pid, since, deadline_ms, cause },
        stopping(false),
        stopping(true),
        InstanceState::Clearing { inc, next },
        InstanceState::Backoff { until_ms: deadline_ms },
        InstanceState::Errored,
        InstanceState::Gone,
    ]
}

/// Returns every event of the process with this number.
fn every_event(inc: u32) -> Vec<Event> {
    let mut events = vec![
        Event::Spawned { inc, pid: 9 },
        Event::SpawnFailed { inc, failure: SpawnFailure::new("exec", 2) },
        Event::Ready { inc },
        Event::Followed { inc, pid: 9 },
        Event::Exited { inc, exit: exit(3) },
        Event::TreeGone { inc },
        Event::Drained { inc },
        Event::Extend { inc, until_ms: u64::MAX },
        Event::Unprepared { inc, reason: "secret TOKEN".into() },
    ];
    events.extend(Hook::ALL.map(|hook| Event::HookDone { inc, hook, outcome: CommandOutcome::Code(1) }));
    events
}

/// Calls the step function for each state of the second process of an instance.
fn each_state(mut check: impl FnMut(&Instance, &Policy)) {
    let hooks = HookPolicy {
        pre_start: Some(OnFailure::Abort),
        post_start: Some(OnFailure::Abort),
        pre_stop: true,
        post_stop: true,
        on_crash: true,
    };
    for policy in [policy(), Policy { wait_ready: true, hooks, ..policy() }] {
        for state in every_state(2) {
            check(&Instance { wanted: DesiredState::Up, inc: 2, state, ..Instance::new(Now::at(0)) }, &policy);
        }
    }
}

fn after(instance: &Instance, policy: &Policy, event: &Event, now_ms: u64) -> (Instance, Vec<Effect>) {
    let mut instance = instance.clone();
    let effects = instance.step(policy, event.clone(), Now::at(now_ms));
    (instance, effects)
}

#[test]
fn event_of_a_former_process_changes_nothing() {
    each_state(|before, policy| {
        for event in every_event(1) {
            assert_eq!(after(before, policy, &event, 50), (before.clone(), vec![]), "{event:?}");
        }
    });
}

#[test]
fn early_tick_changes_nothing() {
    each_state(|before, policy| assert_eq!(after(before, policy, &Event::Tick, 99), (before.clone(), vec![])));
}

#[test]
fn exit_of_a_former_process_is_found_as_no_process() {
    each_state(|before, policy| {
        let found = |found| after(before, policy, &Event::Recovered(found), 50);
        assert_eq!(found(Recovered::Ended { inc: 1, pid: 101, exit: exit(3) }), found(Recovered::Nothing));
    });
}

#[test]
fn process_may_exit_before_its_spawn_is_confirmed() {
    let mut story = Story::new(policy());
    story.dispatch(Event::Start(user("start")));
    assert_eq!(story.dispatch(Event::Exited { inc: 1, exit: exit(1) }), [KILL_SWEEP]);
    assert_eq!(story.dispatch(Event::Spawned { inc: 1, pid: 101 }), []);
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);
    assert_eq!((story.instance.exits.len(), story.instance.counters.unstable), (1, 1));
}

#[test]
fn latest_command_during_a_stop_wins() {
    let ended = |events: Vec<Event>| {
        let mut story = Story::running(policy());
        for event in events {
            story.dispatch(event);
        }
        story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
        story.dispatch(Event::TreeGone { inc: 1 });
        story.status()
    };
    let (start, stop) = (|| Event::Start(user("start")), || Event::Stop(user("stop")));
    let (restart, delete) = (|| Event::Restart(user("restart")), || Event::Delete(user("delete")));
    let cron = || Event::Restart(Origin::policy(PolicyName::Cron));
    for (events, status) in [
        (vec![stop(), restart()], "launching"),
        (vec![stop(), start()], "launching"),
        (vec![restart(), stop()], "stopped"),
        (vec![restart(), stop(), restart()], "launching"),
        (vec![stop(), cron()], "stopped"),
    ] {
        assert_eq!(ended(events.clone()), status, "{events:?}");
    }
    let mut story = Story::running(policy());
    for event in [delete(), start(), restart(), stop(), cron()] {
        story.dispatch(event);
    }
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 1 });
    assert_eq!(story.instance.state, InstanceState::Gone);
}

#[test]
fn command_after_a_crash_overrides_the_verdict_of_the_policy() {
    let crashed = |policy| {
        let mut story = Story::running(policy);
        story.dispatch(Event::Exited { inc: 1, exit: exit(1) });
        story
    };
    for stop in [Event::Stop(user("stop")), Event::StopGently(user("stop"))] {
        let mut story = crashed(policy());
        story.dispatch(stop);
        assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), []);
        assert_eq!(story.status(), "stopped");
    }
    for start in [Event::Start(user("start")), Event::Restart(user("restart"))] {
        let mut story = crashed(Policy { max_restarts: 1, ..policy() });
        story.dispatch(start);
        assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);
    }
}

#[test]
fn commands_during_a_spawn_apply_after_it() {
    for (event, after) in
        [(Event::Stop(user("stop")), "stopped"), (Event::Restart(user("restart")), "launching"), (Event::Delete(user("delete")), "stopped")]
    {
        let mut story = Story::new(policy());
        story.dispatch(Event::Start(user("start")));
        assert_eq!(story.dispatch(event.clone()), []);
        assert_eq!(story.dispatch(Event::Spawned { inc: 1, pid: 101 }), [ASK], "{event:?}");
        story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
        story.dispatch(Event::TreeGone { inc: 1 });
        assert_eq!(story.status(), after, "{event:?}");
    }
}

#[test]
fn restart_replaces_a_process_that_starts_or_drains() {
    let mut starts = Story::running(Policy { wait_ready: true, ..policy() });
    assert_eq!(starts.status(), "launching");
    let mut drains = Story::running(Policy { drain_timeout_ms: Some(5000), ..policy() });
    drains.dispatch(Event::StopGently(user("stop")));
    for story in [&mut starts, &mut drains] {
        assert_eq!(story.dispatch(Event::Restart(user("restart"))), [ASK]);
        story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
        assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);
    }
}
