//! Stories about draining.

use super::tests::{KILL, Story, exit, policy, user};
use super::*;

#[test]
fn hurry_cuts_drain_and_grace_period_short() {
    let mut story = Story::running(Policy { drain_timeout_ms: Some(5000), ..policy() });
    assert_eq!(story.dispatch(Event::Hurry), [], "an instance that is wanted up keeps draining");
    story.dispatch(Event::StopGently(user("stop")));
    assert!(matches!(story.dispatch(Event::Hurry)[..], [Effect::Signal { signal: 2, .. }]), "asked it is all the same");
    assert!(matches!(story.dispatch(Event::Tick)[..], [Effect::Signal { signal: 9, .. }]));
    assert_eq!(story.dispatch(Event::Hurry), [], "once is enough");
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 1 });
    assert_eq!(story.instance.state, InstanceState::Stopped);
}

#[test]
fn unanswered_drain_request_times_out_early() {
    let policy = Policy { drain_timeout_ms: Some(30_000), drain_answer_ms: Some(5000), ..policy() };
    let mut story = Story::running(policy.clone());
    story.dispatch(Event::Retire(user("reload")));
    assert_eq!(story.at(5000).transitions(Event::Tick), [Transition::DrainTimeout, Transition::Stopping]);
    let mut story = Story::running(policy);
    story.dispatch(Event::Retire(user("reload")));
    story.at(10).dispatch(Event::Extend { inc: 1, until_ms: 30_010 });
    assert_eq!(story.at(30_009).dispatch(Event::Tick), []);
}

#[test]
fn process_that_drains_after_the_signal_keeps_its_drain_timeout() {
    let policy = Policy { drain_timeout_ms: Some(30_000), drains_after_signal: true, ..policy() };
    let mut story = Story::running(policy.clone());
    story.dispatch(Event::Retire(user("reload")));
    assert!(matches!(story.at(250).dispatch(Event::Drained { inc: 1 })[..], [Effect::Signal { signal: 2, .. }]));
    assert_eq!(story.at(29_999).dispatch(Event::Tick), []);
    assert_eq!(story.at(30_000).dispatch(Event::Tick), [KILL]);
    // A process that gets its signal only after its drain time has at least the time of an ordinary
    // stop. An ordinary stop gives no more.
    let mut story = Story::running(policy.clone());
    story.dispatch(Event::Retire(user("reload")));
    story.at(30_000).dispatch(Event::Tick);
    assert_eq!(story.instance.deadline_ms(), Some(31_600));
    let mut story = Story::running(policy);
    story.dispatch(Event::Stop(user("stop")));
    assert_eq!(story.instance.deadline_ms(), Some(1600));
}

#[test]
fn graceful_stop_waits_for_requests_in_flight() {
    let gentle = Policy { drain_timeout_ms: Some(5000), ..policy() };
    let mut story = Story::running(gentle.clone());
    assert_eq!(story.at(1000).dispatch(Event::StopGently(user("stop"))), [Effect::Drain { inc: 1 }]);
    assert_eq!((story.instance.status(), story.instance.deadline_ms()), ("stopping", Some(6000)));
    assert_eq!(story.at(1500).dispatch(Event::StopGently(user("stop"))), []);
    assert!(matches!(story.dispatch(Event::Drained { inc: 1 })[..], [Effect::Signal { signal: 2, .. }]));
    // A process that never finishes is stopped in the end, unless it asks for more time.
    let mut story = Story::running(gentle.clone());
    story.dispatch(Event::Retire(user("scale")));
    story.dispatch(Event::Extend { inc: 1, until_ms: 9000 });
    assert_eq!(story.at(8999).dispatch(Event::Tick), []);
    assert!(matches!(story.at(9000).dispatch(Event::Tick)[..], [Effect::Signal { signal: 2, .. }]));
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 1 });
    assert_eq!(story.instance.state, InstanceState::Gone);
    // It may also exit by itself, and a user's immediate stop takes precedence.
    let mut story = Story::running(gentle.clone());
    story.dispatch(Event::StopGently(user("stop")));
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 1 });
    assert_eq!((&story.instance.state, story.instance.counters.restarts), (&InstanceState::Stopped, 0));
    let mut story = Story::running(gentle);
    story.dispatch(Event::StopGently(user("stop")));
    assert!(matches!(story.dispatch(Event::Stop(user("stop")))[..], [Effect::Signal { .. }]));
    // The process does not support draining: an ordinary stop.
    let mut story = Story::running(policy());
    assert!(matches!(story.dispatch(Event::StopGently(user("stop")))[..], [Effect::Signal { .. }]));
}

#[test]
fn start_during_a_drain_spawns_a_new_process() {
    let mut story = Story::running(Policy { drain_timeout_ms: Some(5000), ..policy() });
    story.dispatch(Event::StopGently(user("stop")));
    assert!(matches!(story.dispatch(Event::Start(user("start")))[..], [Effect::Signal { .. }]));
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);
}
