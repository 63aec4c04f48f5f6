//! Stories about hooks and dependencies.

use super::tests::{Story, exit, policy, user};
use super::*;
use crate::app::hooks::{Hook, HookPolicy, OnFailure};
use crate::lifecycle::command::CommandOutcome;

const ALL: HookPolicy = HookPolicy {
    pre_start: Some(OnFailure::Abort),
    post_start: Some(OnFailure::Continue),
    pre_stop: true,
    post_stop: true,
    on_crash: true,
};

fn hooked(hooks: HookPolicy) -> Policy {
    Policy { hooks, ..policy() }
}

fn done(inc: u32, hook: Hook) -> Event {
    Event::HookDone { inc, hook, outcome: CommandOutcome::Code(0) }
}

fn failed(inc: u32, hook: Hook) -> Event {
    Event::HookDone { inc, hook, outcome: CommandOutcome::Code(3) }
}

fn run(inc: u32, hook: Hook) -> Effect {
    Effect::Hook { inc, hook }
}

fn cancel(inc: u32, hook: Hook) -> Effect {
    Effect::CancelHook { inc, hook }
}

/// Returns an online instance; all hooks of its start are done.
fn online(policy: Policy) -> Story {
    let mut story = Story::new(policy);
    story.dispatch(Event::Start(user("start")));
    story.dispatch(done(1, Hook::PreStart));
    story.dispatch(Event::Spawned { inc: 1, pid: 101 });
    story.dispatch(done(1, Hook::PostStart));
    assert_eq!(story.status(), "online");
    story
}

#[test]
fn hooks_run_around_start_and_stop() {
    let mut story = Story::new(hooked(ALL));
    assert_eq!(story.dispatch(Event::Start(user("start"))), [run(1, Hook::PreStart)]);
    assert_eq!(story.status(), "launching");
    assert_eq!(story.dispatch(done(1, Hook::PreStart)), [Effect::Spawn { inc: 1 }]);
    assert_eq!(story.dispatch(Event::Spawned { inc: 1, pid: 101 }), [run(1, Hook::PostStart)]);
    assert_eq!((story.status(), story.instance.pid()), ("launching", Some(101)));
    assert_eq!(story.transitions(done(1, Hook::PostStart)), [Transition::Online]);
    assert_eq!(story.dispatch(Event::Stop(user("stop"))), [run(1, Hook::PreStop)]);
    assert_eq!((story.status(), story.instance.pid()), ("stopping", Some(101)));
    assert!(matches!(story.dispatch(done(1, Hook::PreStop))[..], [Effect::Signal { signal: 2, .. }]));
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [run(1, Hook::PostStop)]);
    assert_eq!(story.status(), "stopping");
    assert_eq!(story.transitions(done(1, Hook::PostStop)), [Transition::Stopped]);
    assert_eq!(story.status(), "stopped");
}

#[test]
fn start_without_hooks_spawns_immediately() {
    let mut story = Story::new(policy());
    assert_eq!(story.dispatch(Event::Start(user("start"))), [Effect::Spawn { inc: 1 }]);
    assert_eq!(story.transitions(Event::Spawned { inc: 1, pid: 101 }), [Transition::Launched, Transition::Online]);
}

#[test]
fn failed_pre_start_fails_the_start() {
    let mut story = Story::new(hooked(ALL));
    story.dispatch(Event::Start(user("start")));
    let transitions = story.transitions(failed(1, Hook::PreStart));
    assert!(matches!(&transitions[..], [Transition::CouldNotStart(_), Transition::RestartScheduled { .. }]));
    assert_eq!((story.status(), story.instance.counters.unstable), ("waiting restart", 1));
    let record = story.instance.exits.last().unwrap();
    assert_eq!(record.cause, ExitCause::NotStarted { why: "pre_start exited with code 3".into() });
    // The policy retries, with the hook, and finally gives up.
    for _ in 0..100 {
        story.now = story.instance.deadline_ms().unwrap_or(story.now);
        story.dispatch(Event::Tick);
        let inc = story.instance.inc;
        story.dispatch(failed(inc, Hook::PreStart));
    }
    assert_eq!((story.status(), story.instance.inc), ("errored", 16));
    // If the hook's failure does not matter, the process starts.
    let mut story = Story::new(hooked(HookPolicy { pre_start: Some(OnFailure::Continue), ..HookPolicy::default() }));
    story.dispatch(Event::Start(user("start")));
    assert_eq!(story.dispatch(failed(1, Hook::PreStart)), [Effect::Spawn { inc: 1 }]);
}

#[test]
fn missing_secret_fails_the_start_regardless_of_the_hook() {
    for meaning in [OnFailure::Abort, OnFailure::Continue] {
        let policy = || hooked(HookPolicy { pre_start: Some(meaning), ..HookPolicy::default() });
        let lacks = |inc| Event::Unprepared { inc, reason: "secret TOKEN: the output of its command is empty".into() };
        let mut story = Story::new(policy());
        story.dispatch(Event::Start(user("start")));
        assert_eq!(story.dispatch(lacks(7)), [], "of another process");
        let transitions = story.transitions(lacks(1));
        assert!(matches!(&transitions[..], [Transition::CouldNotStart(_), Transition::RestartScheduled { .. }]), "{transitions:?}");
        let cause = &story.instance.exits.last().unwrap().cause;
        assert_eq!(*cause, ExitCause::NotStarted { why: "secret TOKEN: the output of its command is empty".into() });
        assert_eq!(story.dispatch(lacks(1)), [], "told once");
        // The stop came first.
        let mut story = Story::new(policy());
        story.dispatch(Event::Start(user("start")));
        story.dispatch(Event::Stop(user("stop")));
        assert!(story.instance.is_called_off());
        assert_eq!(story.transitions(lacks(1)), [Transition::Stopped]);
    }
}

#[test]
fn start_waits_for_a_secret_from_a_command() {
    use crate::app::secrets::SecretSource;
    let mut spec = crate::app::AppSpec::default();
    let policy = |spec: &crate::app::AppSpec| Policy::from_spec(spec, 2, 1600, 3000, 30_000).hooks.pre_start;
    spec.secrets.insert("A".into(), SecretSource::File("/a".into()));
    assert_eq!(policy(&spec), None);
    let command = crate::lifecycle::command::Command::shell("pass show b");
    spec.secrets.insert("B".into(), SecretSource::Command { command: command.clone(), timeout_ms: 1 });
    assert_eq!(policy(&spec), Some(OnFailure::Abort));
    let hook = crate::app::hooks::HookSpec { command, timeout_ms: None, on_failure: Some(OnFailure::Continue) };
    spec.hooks.pre_start = Some(hook);
    assert_eq!(policy(&spec), Some(OnFailure::Continue));
}

#[test]
fn stop_cancels_the_hook_that_delays_a_start() {
    let mut story = Story::new(hooked(ALL));
    story.dispatch(Event::Start(user("start")));
    assert_eq!(story.dispatch(Event::Stop(user("stop"))), [cancel(1, Hook::PreStart)]);
    assert_eq!(story.dispatch(Event::Stop(user("stop"))), []);
    // The same holds if the hook finished at that moment.
    assert_eq!(story.dispatch(done(1, Hook::PreStart)), []);
    assert_eq!(story.status(), "stopped");

    let mut story = Story::new(hooked(ALL));
    story.dispatch(Event::Start(user("start")));
    story.dispatch(done(1, Hook::PreStart));
    story.dispatch(Event::Spawned { inc: 1, pid: 101 });
    assert_eq!(story.dispatch(Event::Delete(user("delete"))), [cancel(1, Hook::PostStart), run(1, Hook::PreStop)]);
    // The hook's answer comes too late.
    assert_eq!(story.dispatch(failed(1, Hook::PostStart)), []);
}

#[test]
fn restart_during_pre_start_runs_the_hook_again() {
    let mut story = Story::new(hooked(ALL));
    story.dispatch(Event::Start(user("start")));
    assert_eq!(story.dispatch(Event::Restart(user("restart"))), [cancel(1, Hook::PreStart)]);
    let cancelled = Event::HookDone { inc: 1, hook: Hook::PreStart, outcome: CommandOutcome::Cancelled };
    assert_eq!(story.dispatch(cancelled), [run(2, Hook::PreStart)]);
}

#[test]
fn stop_waits_for_pre_stop_unless_the_user_repeats_it() {
    let mut story = online(hooked(ALL));
    story.dispatch(Event::Stop(user("stop")));
    assert_eq!(story.dispatch(Event::Stop(Origin::Shutdown)), []);
    assert_eq!(story.dispatch(Event::Delete(user("delete"))), [cancel(1, Hook::PreStop)]);
    let cancelled = Event::HookDone { inc: 1, hook: Hook::PreStop, outcome: CommandOutcome::Cancelled };
    assert!(matches!(story.dispatch(cancelled)[..], [Effect::Signal { signal: 2, .. }]));
    // A stop during a restart does not count as insisting: the hook is part of both.
    let mut story = online(hooked(ALL));
    story.dispatch(Event::Restart(user("restart")));
    assert_eq!(story.dispatch(Event::Stop(user("stop"))), []);
    story.dispatch(done(1, Hook::PreStop));
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 1 });
    story.dispatch(done(1, Hook::PostStop));
    assert_eq!(story.status(), "stopped");
}

#[test]
fn exit_during_pre_stop_is_recorded_immediately() {
    let mut story = online(hooked(ALL));
    story.dispatch(Event::Restart(user("restart")));
    assert_eq!(story.dispatch(Event::Exited { inc: 1, exit: exit(5) }), []);
    assert_eq!((story.instance.pid(), story.instance.exits.len()), (None, 1));
    assert!(matches!(story.instance.exits[0].cause, ExitCause::Requested(_)));
    assert!(matches!(story.dispatch(done(1, Hook::PreStop))[..], [Effect::Sweep { inc: 1, kill: false, .. }]));
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [run(1, Hook::PostStop)]);
    assert_eq!(story.dispatch(done(1, Hook::PostStop)), [run(2, Hook::PreStart)]);
}

#[test]
fn on_crash_hook_runs_beside_the_restart() {
    let only = HookPolicy { on_crash: true, ..HookPolicy::default() };
    for (ending, code_0_is_done, told) in [
        (ProcessEnding::Code(1), false, true),
        (ProcessEnding::Code(0), false, true),
        (ProcessEnding::Code(0), true, false),
        (ProcessEnding::Code(9), false, false),
        (ProcessEnding::Signal { signal: 11, core: false }, true, true),
    ] {
        let policy = Policy { autorestart: !code_0_is_done, stop_exit_codes: vec![9], ..hooked(only) };
        let mut story = Story::running(policy);
        let effects = story.dispatch(Event::Exited { inc: 1, exit: ExitReport { ending, oom: false } });
        assert_eq!(effects.contains(&run(1, Hook::OnCrash)), told, "{ending:?} {code_0_is_done}");
    }
    let mut story = Story::running(hooked(only));
    story.dispatch(Event::Stop(user("stop")));
    assert!(!story.dispatch(Event::Exited { inc: 1, exit: exit(1) }).contains(&run(1, Hook::OnCrash)), "it was asked to");
}

#[test]
fn failed_post_start_with_abort_stops_the_process() {
    let must = HookPolicy { post_start: Some(OnFailure::Abort), ..ALL };
    let mut story = Story::new(hooked(must));
    story.dispatch(Event::Start(user("start")));
    story.dispatch(done(1, Hook::PreStart));
    story.dispatch(Event::Spawned { inc: 1, pid: 101 });
    assert!(matches!(story.dispatch(failed(1, Hook::PostStart))[..], [Effect::Signal { signal: 2, .. }]));
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    let cause = &story.instance.exits.last().unwrap().cause;
    assert_eq!(*cause, ExitCause::NotStarted { why: "post_start exited with code 3".into() });
    assert_eq!(story.instance.counters.unstable, 1);
}

#[test]
fn graceful_stop_drains_after_pre_stop() {
    let mut story = online(Policy { drain_timeout_ms: Some(5000), ..hooked(ALL) });
    assert_eq!(story.dispatch(Event::StopGently(user("stop"))), [run(1, Hook::PreStop)]);
    assert_eq!(story.dispatch(done(1, Hook::PreStop)), [Effect::Drain { inc: 1 }]);
    assert!(matches!(story.dispatch(Event::Drained { inc: 1 })[..], [Effect::Signal { signal: 2, .. }]));
}

#[test]
fn start_waits_for_its_dependencies() {
    let waits = Policy { depends_timeout_ms: Some(500), ..policy() };
    let mut story = Story::new(waits.clone());
    assert_eq!(story.transitions(Event::Start(user("start"))), [Transition::Waiting]);
    assert_eq!((story.status(), story.instance.deadline_ms()), ("launching", Some(500)));
    assert_eq!(story.dispatch(Event::Released), [Effect::Spawn { inc: 1 }]);
    // The restart after a crash, and other automatic actions, need not wait.
    story.dispatch(Event::Spawned { inc: 1, pid: 101 });
    story.at(2000).dispatch(Event::Exited { inc: 1, exit: exit(1) });
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);
    // The dependency never becomes ready.
    let mut story = Story::new(waits.clone());
    story.dispatch(Event::Start(Origin::Resurrect));
    let transitions = story.transitions(Event::Unmet("db is stopped".into()));
    assert!(matches!(&transitions[..], [Transition::CouldNotStart(record)] if record.inc == 1));
    assert_eq!((story.status(), story.instance.wanted), ("errored", DesiredState::Down));
    // The next start has a new number: no number is used twice.
    story.dispatch(Event::Start(user("start")));
    assert_eq!(story.dispatch(Event::Released), [Effect::Spawn { inc: 2 }]);
    // A stop takes precedence, and the wait is bounded.
    let mut story = Story::new(waits.clone());
    story.dispatch(Event::Start(user("start")));
    assert_eq!(story.transitions(Event::Stop(user("stop"))), [Transition::Stopped]);
    let mut story = Story::new(waits);
    story.dispatch(Event::Start(user("start")));
    story.at(500).dispatch(Event::Tick);
    assert_eq!(story.status(), "errored");
}

#[test]
fn new_daemon_keeps_running_hooks() {
    let mut story = Story::new(hooked(ALL));
    story.dispatch(Event::Start(user("start")));
    assert_eq!(story.dispatch(Event::Recovered(Recovered::Nothing)), []);
    assert_eq!(story.dispatch(done(1, Hook::PreStart)), [Effect::Spawn { inc: 1 }]);
    let mut story = online(hooked(ALL));
    story.dispatch(Event::Stop(user("stop")));
    assert_eq!(story.dispatch(Event::Recovered(Recovered::Alive { inc: 1, pid: 101 })), []);
    assert_eq!(story.status(), "stopping");
    // Its process exited while no daemon ran.
    assert_eq!(story.dispatch(Event::Recovered(Recovered::Nothing)), []);
    assert_eq!(story.instance.exits.len(), 1);
}

#[test]
fn failed_instance_skips_pre_stop() {
    let mut story = online(hooked(HookPolicy { pre_stop: true, on_crash: true, ..HookPolicy::default() }));
    assert!(matches!(story.dispatch(Event::Fail(Origin::policy(PolicyName::Health)))[..], [Effect::Signal { signal: 2, .. }]));
    assert!(story.dispatch(Event::Exited { inc: 1, exit: exit(1) }).contains(&run(1, Hook::OnCrash)));
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);
    assert_eq!(story.instance.counters.restarts, 1);
}

#[test]
fn hurry_cancels_hooks() {
    let mut story = online(hooked(ALL));
    story.dispatch(Event::Stop(user("stop")));
    let effects = story.dispatch(Event::Hurry);
    assert!(matches!(&effects[..], [first, Effect::Signal { signal: 2, .. }, ..] if *first == cancel(1, Hook::PreStop)), "{effects:?}");
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [run(1, Hook::PostStop)]);
    assert_eq!(story.dispatch(Event::Hurry), [cancel(1, Hook::PostStop)]);
}

#[test]
fn crash_during_post_start_cancels_it() {
    let mut story = Story::new(hooked(HookPolicy { post_start: Some(OnFailure::Abort), ..HookPolicy::default() }));
    story.dispatch(Event::Start(user("start")));
    assert_eq!(story.dispatch(Event::Spawned { inc: 1, pid: 101 }), [run(1, Hook::PostStart)]);
    let effects = story.dispatch(Event::Exited { inc: 1, exit: exit(1) });
    assert_eq!(effects, [cancel(1, Hook::PostStart), super::tests::KILL_SWEEP]);
}

#[test]
fn gentle_stop_during_pre_stop_overrides_a_timed_restart() {
    let mut story = online(hooked(ALL));
    let restart = Event::RestartAt { origin: Origin::policy(PolicyName::Memory), at_ms: 9000 };
    assert_eq!(story.dispatch(restart), [run(1, Hook::PreStop)]);
    assert_eq!(story.dispatch(Event::StopGently(user("stop"))), []);
    story.dispatch(done(1, Hook::PreStop));
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 1 });
    assert_eq!(story.transitions(done(1, Hook::PostStop)), [Transition::Stopped]);
}
