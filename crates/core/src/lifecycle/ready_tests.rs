//! Stories about readiness.

use super::tests::{Story, exit, policy, user};
use super::*;

#[test]
fn wait_ready_delays_online_until_ready() {
    let waits = Policy { wait_ready: true, ..policy() };
    let mut story = Story::running(waits.clone());
    assert_eq!((story.status(), story.instance.deadline_ms(), story.instance.settled()), ("launching", Some(3000), false));
    assert_eq!(story.transitions(Event::Ready { inc: 1 }), [Transition::Online]);
    assert_eq!(story.status(), "online");

    // The daemon may read the app's report before the keeper's.
    let mut story = Story::new(waits.clone());
    story.dispatch(Event::Start(user("start")));
    story.dispatch(Event::Ready { inc: 1 });
    assert_eq!(story.transitions(Event::Spawned { inc: 1, pid: 101 }), [Transition::Launched, Transition::Online]);

    // A late start has failed, regardless of its exit code.
    let fails = Policy { lateness: Lateness::Fail, ..waits.clone() };
    let mut story = Story::running(Policy { stop_exit_codes: vec![0], max_restarts: 2, ..fails });
    assert_eq!(story.at(3000).transitions(Event::Tick), [Transition::ReadyTimeout(LateAction::Stopped), Transition::Stopping]);
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    assert_eq!(story.instance.exits[0].cause, ExitCause::NotReady);
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);
    story.dispatch(Event::Spawned { inc: 2, pid: 102 });
    story.at(6000).dispatch(Event::Tick);
    story.dispatch(Event::Exited { inc: 2, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 2 });
    assert_eq!(story.status(), "errored");

    let mut story = Story::running(Policy { lateness: Lateness::Accept, ..waits });
    assert_eq!(story.at(3000).transitions(Event::Tick), [Transition::ReadyTimeout(LateAction::Accepted), Transition::Online]);
}

#[test]
fn timed_restart_stops_immediately_and_starts_at_the_time() {
    let memory = || Origin::policy(PolicyName::Memory);
    let at = |at_ms| Event::RestartAt { origin: memory(), at_ms };
    let mut story = Story::running(policy());
    let effects = story.at(5000).dispatch(at(9000));
    assert!(matches!(effects[..], [Effect::Signal { inc: 1, signal: 2, .. }]), "{effects:?}");
    assert_eq!((story.status(), story.instance.deadline_ms()), ("waiting restart", Some(6600)), "and its time to obey is that of any stop");
    story.at(5100).dispatch(Event::Exited { inc: 1, exit: exit(0) });
    assert_eq!(story.instance.exits[0].cause, ExitCause::Requested(memory()));
    assert_eq!(story.transitions(Event::TreeGone { inc: 1 }), [Transition::RestartScheduled { delay_ms: 3900 }]);
    assert_eq!((story.status(), story.instance.counters.restarts), ("waiting restart", 0));
    assert_eq!(story.at(8999).dispatch(Event::Tick), []);
    assert_eq!(story.at(9000).dispatch(Event::Tick), [Effect::Spawn { inc: 2 }]);
    assert_eq!(story.instance.counters.restarts, 1);

    // A user's command is obeyed immediately.
    let mut story = Story::running(policy());
    story.at(5000).dispatch(at(900_000));
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 1 });
    assert_eq!(story.dispatch(Event::Restart(user("restart"))), [Effect::Spawn { inc: 2 }]);
    // An instance that does not run, or is not wanted, is left alone.
    let mut story = Story::running(policy());
    story.dispatch(Event::Stop(user("stop")));
    assert_eq!(story.dispatch(at(9000)), []);
}

#[test]
fn late_start_continues_unless_a_timeout_is_set() {
    let waits = Policy { wait_ready: true, ..policy() };
    assert_eq!(waits.lateness, Lateness::GoOn { at_most_ms: None });
    let mut story = Story::running(waits.clone());
    assert_eq!(story.at(3000).transitions(Event::Tick), [Transition::ReadyTimeout(LateAction::KeepsRunning)]);
    // Lateness is reported once. No further deadline follows: neither a tick nor a stop.
    assert_eq!((story.status(), story.instance.deadline_ms()), ("launching", None));
    assert_eq!(story.at(86_400_000).dispatch(Event::Tick), []);
    assert_eq!(story.transitions(Event::Ready { inc: 1 }), [Transition::Online]);

    // If an app asks for more time, its lateness is reported later.
    let mut story = Story::running(waits.clone());
    story.dispatch(Event::Extend { inc: 1, until_ms: 10_000 });
    assert_eq!(story.at(3000).dispatch(Event::Tick), []);
    assert_eq!(story.at(10_000).transitions(Event::Tick), [Transition::ReadyTimeout(LateAction::KeepsRunning)]);
    assert_eq!(story.dispatch(Event::Extend { inc: 1, until_ms: 20_000 }), []);
    assert_eq!(story.instance.deadline_ms(), None);

    // The new process of a reload has more time, too, but the time is bounded.
    let mut story = Story::running(Policy { lateness: Lateness::GoOn { at_most_ms: Some(60_000) }, ..waits.clone() });
    assert_eq!(story.at(3000).transitions(Event::Tick), [Transition::ReadyTimeout(LateAction::KeepsRunning)]);
    assert_eq!((story.instance.deadline_ms(), story.instance.exits.len()), (Some(60_000), 0));
    assert_eq!(story.at(60_000).transitions(Event::Tick), [Transition::ReadyTimeout(LateAction::Stopped), Transition::Stopping]);

    // A user's stop works as for any other process.
    let mut story = Story::running(waits);
    story.at(3000).dispatch(Event::Tick);
    assert_eq!(story.transitions(Event::Stop(user("stop"))), [Transition::Stopping]);
}

#[test]
fn last_start_up_times_are_recorded() {
    let mut counters = Counters::default();
    assert_eq!(counters.start_ups(), None);
    for (took, words) in [
        (5240, "took 5.2 s the last time"),
        (90, "took 0 s, 5.2 s the last times"),
        (61_000, "took 61 s, 0 s, 5.2 s the last times"),
        (1000, "took 1 s, 61 s, 0 s the last times"),
    ] {
        counters.note_start_up(took);
        assert_eq!(counters.start_ups().as_deref(), Some(words));
    }
}

#[test]
fn is_coming_again_reports_a_pending_restart() {
    let crashes = |policy: Policy| {
        let mut story = Story::running(policy);
        story.dispatch(Event::Exited { inc: 1, exit: exit(1) });
        story
    };
    let mut story = crashes(policy());
    assert!(story.instance.will_restart(), "what is left of the tree is being removed");
    story.dispatch(Event::TreeGone { inc: 1 });
    assert!(story.instance.will_restart(), "{}", story.status());
    let slow = Policy { restart_delay_ms: 1000, ..policy() };
    let mut story = crashes(slow);
    story.dispatch(Event::TreeGone { inc: 1 });
    assert!(story.instance.will_restart(), "it waits for its delay");
    assert!(!crashes(Policy { autorestart: false, ..policy() }).instance.will_restart());
    assert!(!crashes(Policy { stop_exit_codes: vec![1], ..policy() }).instance.will_restart());

    let mut story = Story::running(policy());
    assert!(story.instance.will_restart());
    story.dispatch(Event::Restart(user("restart")));
    assert!(story.instance.will_restart(), "another one is wanted after it");
    story.dispatch(Event::Stop(user("stop")));
    assert!(!story.instance.will_restart());
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 1 });
    assert!(!story.instance.will_restart());
    story.dispatch(Event::Start(user("start")));
    assert!(story.instance.will_restart());
    // A stop during the spawn.
    story.dispatch(Event::Stop(user("stop")));
    assert!(!story.instance.will_restart());
}
