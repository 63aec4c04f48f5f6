//! Stories, one per rule.

use super::*;
use crate::app::{AppSpec, KillMode};
use crate::time::Now;

pub(super) fn policy() -> Policy {
    Policy::from_spec(&AppSpec::default(), 2, 1600, 3000, 30_000)
}

pub(super) fn user(command: &str) -> Origin {
    Origin::User { command: command.into(), uid: 1, pid: 2, on_behalf_of: None }
}

pub(super) fn exit(code: i32) -> ExitReport {
    ExitReport { ending: ProcessEnding::Code(code), oom: false }
}

fn killed() -> ExitReport {
    ExitReport { ending: ProcessEnding::Signal { signal: 9, core: false }, oom: false }
}

/// One instance and its clock.
pub(super) struct Story {
    pub(super) instance: Instance,
    policy: Policy,
    pub(super) now: u64,
}

impl Story {
    pub(super) fn new(policy: Policy) -> Self {
        Self { instance: Instance::new(Now::at(0)), policy, now: 0 }
    }

    /// Returns an instance that a user started and that is spawned.
    pub(super) fn running(policy: Policy) -> Self {
        let mut story = Self::new(policy);
        story.dispatch(Event::Start(user("start")));
        story.dispatch(Event::Spawned { inc: 1, pid: 101 });
        story
    }

    /// Returns the effects to perform, without the notifications.
    pub(super) fn dispatch(&mut self, event: Event) -> Vec<Effect> {
        let all = self.instance.step(&self.policy, event, Now::at(self.now));
        all.into_iter().filter(|effect| !matches!(effect, Effect::Notify(_))).collect()
    }

    pub(super) fn transitions(&mut self, event: Event) -> Vec<Transition> {
        let all = self.instance.step(&self.policy, event, Now::at(self.now));
        all.into_iter().filter_map(|effect| if let Effect::Notify(transition) = effect { Some(transition) } else { None }).collect()
    }

    pub(super) fn at(&mut self, ms: u64) -> &mut Self {
        self.now = ms;
        self
    }

    /// Lets the process exit by itself; its tree is empty.
    fn crash(&mut self) -> Vec<Effect> {
        let inc = self.instance.inc;
        let mut effects = self.dispatch(Event::Exited { inc, exit: exit(1) });
        effects.extend(self.dispatch(Event::TreeGone { inc }));
        effects
    }

    pub(super) fn status(&self) -> &'static str {
        self.instance.status()
    }
}

pub(super) const ASK: Effect = Effect::Signal { inc: 1, signal: 2, scope: Scope::Tree };
pub(super) const KILL: Effect = Effect::Signal { inc: 1, signal: 9, scope: Scope::Tree };
const POLITE_SWEEP: Effect = Effect::Sweep { inc: 1, kill: false, signal: 2 };
pub(super) const KILL_SWEEP: Effect = Effect::Sweep { inc: 1, kill: true, signal: 2 };

#[test]
fn instance_starts_stops_and_starts_again() {
    let mut story = Story::new(policy());
    assert_eq!(story.dispatch(Event::Start(user("start"))), [Effect::Spawn { inc: 1 }]);
    assert_eq!(story.status(), "launching");
    assert_eq!(story.transitions(Event::Spawned { inc: 1, pid: 101 }), [Transition::Launched, Transition::Online]);
    assert_eq!((story.status(), story.instance.pid(), story.instance.settled()), ("online", Some(101), true));
    assert_eq!(story.dispatch(Event::Start(user("start"))), []);
    assert_eq!(story.at(50).dispatch(Event::Stop(user("stop"))), [ASK]);
    assert_eq!((story.status(), story.instance.deadline_ms(), story.instance.settled()), ("stopping", Some(1650), false));
    assert_eq!(story.dispatch(Event::Exited { inc: 1, exit: exit(0) }), [POLITE_SWEEP]);
    assert_eq!((story.status(), story.instance.pid()), ("stopping", None));
    assert_eq!(story.transitions(Event::TreeGone { inc: 1 }), [Transition::Stopped]);
    assert_eq!((story.status(), story.instance.settled()), ("stopped", true));
    assert_eq!(story.instance.exits[0].cause, ExitCause::Requested(user("stop")));
    assert_eq!(story.dispatch(Event::Stop(user("stop"))), []);
    assert_eq!(story.dispatch(Event::Start(user("start"))), [Effect::Spawn { inc: 2 }]);
    assert_eq!(story.instance.counters.restarts, 0);
}

#[test]
fn unresponsive_process_is_killed_repeatedly_after_the_timeout() {
    let mut story = Story::running(policy());
    story.dispatch(Event::Stop(user("stop")));
    assert_eq!(story.at(1599).dispatch(Event::Tick), []);
    assert_eq!(story.at(1600).transitions(Event::Tick), [Transition::KillTimeout]);
    assert_eq!(story.instance.deadline_ms(), Some(3200));
    // It hangs in the kernel: SIGKILL is repeated but reported once.
    let again = story.at(3200).instance.step(&policy(), Event::Tick, Now::at(3200));
    assert_eq!(again, [KILL]);
    assert_eq!(story.dispatch(Event::Exited { inc: 1, exit: killed() }), [KILL_SWEEP]);
    assert_eq!(story.at(4800).dispatch(Event::Tick), [KILL_SWEEP]);
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), []);
    assert_eq!(story.status(), "stopped");
    assert_eq!(story.instance.exits[0].cause, ExitCause::KilledAfterTimeout(user("stop")));
}

#[test]
fn remaining_tree_gets_the_remaining_kill_timeout() {
    let mut story = Story::running(policy());
    story.dispatch(Event::Stop(user("stop")));
    assert_eq!(story.at(1000).dispatch(Event::Exited { inc: 1, exit: exit(0) }), [POLITE_SWEEP]);
    assert_eq!(story.instance.deadline_ms(), Some(1600));
    assert_eq!(story.at(1600).dispatch(Event::Tick), [KILL_SWEEP]);
    assert_eq!(story.status(), "stopping");
}

#[test]
fn process_mode_stops_only_the_main_process() {
    let mut story = Story::running(Policy { kill_mode: KillMode::Process, ..policy() });
    assert_eq!(story.dispatch(Event::Stop(user("stop"))), [Effect::Signal { inc: 1, signal: 2, scope: Scope::Leader }]);
    assert_eq!(story.dispatch(Event::Exited { inc: 1, exit: exit(0) }), []);
    assert_eq!(story.status(), "stopped");
}

#[test]
fn mixed_mode_signals_the_main_process_and_kills_the_rest() {
    let mixed = Policy { kill_mode: KillMode::Mixed, ..policy() };
    let mut story = Story::running(mixed.clone());
    assert_eq!(story.dispatch(Event::Stop(user("stop"))), [Effect::Signal { inc: 1, signal: 2, scope: Scope::Leader }]);
    assert_eq!(story.at(100).dispatch(Event::Exited { inc: 1, exit: exit(0) }), [KILL_SWEEP]);
    assert_eq!(story.instance.exits[0].cause, ExitCause::Requested(user("stop")));
    // No process was late: SIGKILL is repeated, and no timeout is reported.
    assert_eq!(story.at(1699).dispatch(Event::Tick), []);
    assert_eq!(story.at(1700).transitions(Event::Tick), []);
    story.dispatch(Event::TreeGone { inc: 1 });
    assert_eq!(story.status(), "stopped");
    // The main process does not obey: the whole tree is killed.
    let mut story = Story::running(mixed);
    story.dispatch(Event::Stop(user("stop")));
    assert_eq!(story.at(1600).dispatch(Event::Tick), [KILL]);
}

#[test]
fn crash_is_swept_then_restarted_immediately() {
    let mut story = Story::running(policy());
    assert_eq!(story.at(5000).dispatch(Event::Exited { inc: 1, exit: exit(1) }), [KILL_SWEEP]);
    assert_eq!((story.status(), story.instance.pid()), ("waiting restart", None));
    let effects = story.instance.step(&policy(), Event::TreeGone { inc: 1 }, Now::at(5000));
    assert_eq!(effects, [Effect::Notify(Transition::RestartScheduled { delay_ms: 0 }), Effect::Spawn { inc: 2 }]);
    assert_eq!(story.instance.counters.restarts, 1);
    let record = &story.instance.exits[0];
    assert_eq!((record.inc, record.pid, record.ending, &record.cause), (1, 101, ProcessEnding::Code(1), &ExitCause::Itself));
}

#[test]
fn sixteen_crashes_give_up_and_a_start_resets_the_count() {
    let mut story = Story::running(policy());
    // It ran for an hour before without a crash; that does not turn the protection off.
    story.at(3_600_000).crash();
    let mut spawned = 1;
    while story.status() == "launching" {
        story.dispatch(Event::Spawned { inc: story.instance.inc, pid: 7 });
        story.crash();
        spawned += 1;
        assert!(spawned < 50);
    }
    assert_eq!((story.status(), spawned, story.instance.counters.restarts), ("errored", 17, 16));
    assert_eq!((story.instance.wanted, story.instance.settled()), (DesiredState::Down, true));
    assert_eq!(story.instance.exits.len(), policy::EXITS_KEPT);
    assert_eq!(story.dispatch(Event::Start(user("start"))), [Effect::Spawn { inc: 18 }]);
    assert_eq!(story.instance.counters.unstable, 0);
}

#[test]
fn crash_loop_of_a_fresh_app_gives_up_as_pm2_does() {
    let mut story = Story::running(policy());
    for _ in 0..15 {
        story.crash();
        story.dispatch(Event::Spawned { inc: story.instance.inc, pid: 7 });
    }
    story.dispatch(Event::Exited { inc: 16, exit: exit(1) });
    assert_eq!(story.transitions(Event::TreeGone { inc: 16 }), [Transition::Overlimit { unstable: 16 }]);
    let counters = &story.instance.counters;
    assert_eq!((story.status(), counters.restarts, counters.unstable, counters.created), ("errored", 15, 0, None));
    assert_eq!(story.transitions(Event::Stop(user("stop"))), [Transition::Stopped]);
    assert_eq!(story.status(), "stopped");
}

#[test]
fn user_intent_wins_over_a_backoff() {
    let waiting = || {
        let mut story = Story::running(Policy { restart_delay_ms: 700, ..policy() });
        story.crash();
        assert_eq!((story.status(), story.instance.deadline_ms()), ("waiting restart", Some(700)));
        story
    };
    let mut story = waiting();
    // No signal goes to a pid that may belong to another process by now.
    assert_eq!(story.dispatch(Event::Stop(user("stop"))), []);
    assert_eq!(story.status(), "stopped");
    assert_eq!(story.at(700).dispatch(Event::Tick), []);

    for event in [Event::Start(user("start")), Event::Restart(user("restart"))] {
        let mut story = waiting();
        assert_eq!(story.dispatch(event), [Effect::Spawn { inc: 2 }]);
        assert_eq!((story.instance.counters.restarts, story.instance.counters.unstable), (0, 0));
    }

    let mut story = waiting();
    assert_eq!(story.transitions(Event::Delete(user("delete"))), [Transition::Deleted]);

    let mut story = waiting();
    assert_eq!(story.at(700).dispatch(Event::Tick), [Effect::Spawn { inc: 2 }]);
    assert_eq!(story.instance.counters.restarts, 1);
}

#[test]
fn restart_is_counted_only_for_a_running_process() {
    let mut story = Story::running(policy());
    assert_eq!(story.dispatch(Event::Restart(user("restart"))), [ASK]);
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);
    assert_eq!(story.instance.counters.restarts, 1);
    story.dispatch(Event::Spawned { inc: 2, pid: 102 });
    story.dispatch(Event::Stop(user("stop")));
    story.dispatch(Event::Exited { inc: 2, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 2 });
    assert_eq!(story.dispatch(Event::Restart(user("restart"))), [Effect::Spawn { inc: 3 }]);
    assert_eq!(story.instance.counters.restarts, 1);
    story.dispatch(Event::Reset);
    assert_eq!(story.instance.counters.restarts, 0);
}

#[test]
fn spawn_failure_fails_a_start_and_retries_a_restart() {
    let failed = |inc| Event::SpawnFailed { inc, failure: SpawnFailure { step: "exec".into(), errno: 13 } };
    let mut story = Story::new(policy());
    story.dispatch(Event::Start(user("start")));
    let transitions = story.transitions(failed(1));
    assert!(
        matches!(&transitions[..], [Transition::CouldNotStart(record)] if record.ending == ProcessEnding::SpawnFailed { errno: 13 }),
        "{transitions:?}"
    );
    assert_eq!((story.status(), story.instance.wanted), ("errored", DesiredState::Down));

    // No caller waits for an automatic restart: it is retried with growing delays.
    let mut story = Story::running(policy());
    story.at(5000).crash();
    for (inc, due) in [(2, 5100), (3, 5250), (4, 5475)] {
        assert_eq!(story.dispatch(failed(inc)), []);
        assert_eq!((story.status(), story.instance.deadline_ms()), ("waiting restart", Some(due)));
        assert_eq!(story.at(due).dispatch(Event::Tick), [Effect::Spawn { inc: inc + 1 }]);
    }
    story.dispatch(Event::Spawned { inc: 5, pid: 9 });
    assert_eq!(story.status(), "online");
}

#[test]
fn new_daemon_adopts_running_instances() {
    let alive = |inc| Event::Recovered(Recovered::Alive { inc, pid: 101 });
    let nothing = || Event::Recovered(Recovered::Nothing);
    let waits = Policy { wait_ready: true, ..policy() };

    let mut story = Story::running(policy());
    let before = story.instance.clone();
    assert_eq!(story.dispatch(alive(1)), []);
    assert_eq!(story.instance, before, "a healthy app is none the wiser");

    // The daemon died after it read the app's `ready`.
    let mut story = Story::running(Policy { lateness: Lateness::Fail, ..waits.clone() });
    story.dispatch(alive(1));
    assert_eq!(story.at(3000).transitions(Event::Tick), [Transition::ReadyTimeout(LateAction::Accepted), Transition::Online]);
    // Without a set time it gets more time, but the wait is bounded.
    for (found_at, taken_at) in [(100, 60_000), (7000, 67_000), (600_000, 660_000)] {
        let mut story = Story::running(waits.clone());
        if found_at > 3000 {
            assert_eq!(story.at(3000).transitions(Event::Tick), [Transition::ReadyTimeout(LateAction::KeepsRunning)]);
        }
        story.at(found_at).dispatch(alive(1));
        if found_at < 3000 {
            assert_eq!(story.at(3000).transitions(Event::Tick), [Transition::ReadyTimeout(LateAction::KeepsRunning)]);
        }
        assert_eq!(story.at(taken_at - 1).dispatch(Event::Tick), []);
        assert_eq!(
            story.at(taken_at).transitions(Event::Tick),
            [Transition::ReadyTimeout(LateAction::Accepted), Transition::Online],
            "{found_at}"
        );
    }

    let mut story = Story::new(policy());
    story.dispatch(Event::Start(user("start")));
    assert_eq!(story.transitions(alive(1)), [Transition::Launched, Transition::Online]);

    // The request never reached the keeper: leftovers are swept, then a new number is used.
    let mut story = Story::new(policy());
    story.dispatch(Event::Start(user("start")));
    assert_eq!(story.dispatch(nothing()), [KILL_SWEEP]);
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);
    assert_eq!((story.instance.counters.restarts, story.instance.exits.len()), (0, 0));

    let mut story = Story::running(policy());
    story.at(5000).dispatch(nothing());
    assert_eq!(story.instance.exits[0].ending, ProcessEnding::Unknown);
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);

    // A stop continues where it was, with its old deadline.
    let mut story = Story::running(policy());
    story.dispatch(Event::Stop(user("stop")));
    assert_eq!(story.at(900).dispatch(alive(1)), [ASK]);
    assert_eq!(story.instance.deadline_ms(), Some(1600));
    story.at(1600).dispatch(Event::Tick);
    assert_eq!(story.dispatch(alive(1)), [KILL]);
    story.dispatch(Event::Recovered(Recovered::Ended { inc: 1, pid: 101, exit: killed() }));
    assert_eq!(story.dispatch(Event::Recovered(Recovered::Ended { inc: 1, pid: 101, exit: killed() })), [KILL_SWEEP]);
    assert_eq!(story.dispatch(nothing()), [KILL_SWEEP]);
    assert_eq!(story.instance.exits.len(), 1);

    // The journal has `Down`, but the process is alive.
    let mut story = Story::new(policy());
    story.instance.inc = 1;
    assert_eq!(story.dispatch(alive(1)), [ASK]);
    // The journal has `Up`, but knows no process.
    let mut story = Story::new(policy());
    story.instance = Instance { inc: 1, wanted: DesiredState::Up, state: InstanceState::Backoff { until_ms: 9 }, ..story.instance };
    assert_eq!(story.dispatch(alive(1)), []);
    assert_eq!(story.status(), "online");
    // A leftover of an older number.
    let mut story = Story::running(policy());
    story.instance.inc = 5;
    assert_eq!(story.dispatch(alive(1)), [ASK]);
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 6 }]);
}

#[test]
fn out_of_memory_kill_is_recorded_as_the_cause() {
    let mut story = Story::running(policy());
    story.dispatch(Event::Exited { inc: 1, exit: ExitReport { oom: true, ..killed() } });
    assert_eq!(story.instance.exits[0].cause, ExitCause::OutOfMemory);
}

#[test]
fn journal_of_an_older_version_is_readable() {
    let since = r#"{"mono_ms":5,"wall_ms":5}"#;
    for (text, state) in [
        (
            format!(r#"{{"Spawning":{{"inc":1,"since":{since}}}}}"#),
            InstanceState::Spawning { inc: 1, since: Now::at(5), automatic: false, ready: false, superseded: None },
        ),
        (
            format!(r#"{{"Starting":{{"inc":1,"pid":2,"since":{since},"ready_deadline_ms":9}}}}"#),
            InstanceState::Starting { inc: 1, pid: 2, since: Now::at(5), ready_deadline_ms: Some(9), late: false, adopted: false },
        ),
    ] {
        assert_eq!(serde_json::from_str::<InstanceState>(&text).unwrap(), state);
    }
}

#[test]
fn handover_continues_the_instance_with_another_pid() {
    let followed = |inc, pid| Event::Followed { inc, pid };
    const FOLLOW: Effect = Effect::Follow { inc: 1, pid: 150 };
    let mut story = Story::running(policy());
    let before = story.instance.clone();
    for nothing in [followed(1, 101), followed(0, 150), followed(2, 150)] {
        assert_eq!(story.dispatch(nothing), []);
        assert_eq!(story.instance, before);
    }
    assert_eq!(story.dispatch(followed(1, 150)), [FOLLOW]);
    assert_eq!((story.instance.pid(), story.instance.inc, story.status(), story.instance.counters.restarts), (Some(150), 1, "online", 0));
    assert!(story.instance.is_former(1, 101) && !story.instance.is_former(1, 150) && !story.instance.is_former(2, 101));
    // The new main process gets the stop request, and its exit ends the incarnation.
    assert_eq!(story.dispatch(Event::Restart(user("restart"))), [ASK]);
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    assert_eq!(story.instance.exits.last().map(|exit| exit.pid), Some(150));
    assert!(!story.instance.is_former(1, 101));
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);

    // During a stop, the new main process gets the request too, in each phase.
    let mut story = Story::running(policy());
    story.dispatch(Event::Stop(user("stop")));
    assert_eq!(story.dispatch(followed(1, 150)), [FOLLOW, ASK]);
    story.at(1600).dispatch(Event::Tick);
    assert_eq!(story.dispatch(followed(1, 151)), [Effect::Follow { inc: 1, pid: 151 }, KILL]);
    story.dispatch(Event::Exited { inc: 1, exit: killed() });
    assert_eq!(story.dispatch(followed(1, 152)), []);
    let mut story = Story::running(Policy { drain_timeout_ms: Some(5000), ..policy() });
    story.dispatch(Event::StopGently(user("stop")));
    assert_eq!(story.dispatch(followed(1, 150)), [FOLLOW, Effect::Drain { inc: 1 }]);

    // The handover comes before the spawn is confirmed; the process may still have to become ready.
    let mut story = Story::new(Policy { wait_ready: true, ..policy() });
    story.dispatch(Event::Start(user("start")));
    assert_eq!(story.dispatch(followed(1, 150)), [FOLLOW]);
    assert_eq!(story.status(), "launching");
    assert_eq!(story.dispatch(Event::Spawned { inc: 1, pid: 101 }), []);
    assert_eq!(story.transitions(Event::Ready { inc: 1 }), [Transition::Online]);
    assert_eq!(story.instance.pid(), Some(150));

    // The daemon died before it informed the keeper, which reports the former process: alive or
    // exited, it gets `Follow` again.
    for found in [Recovered::Alive { inc: 1, pid: 101 }, Recovered::Ended { inc: 1, pid: 101, exit: exit(3) }] {
        let mut story = Story::running(policy());
        story.dispatch(followed(1, 150));
        assert_eq!(story.dispatch(Event::Recovered(found.clone())), [FOLLOW]);
        assert_eq!((story.instance.pid(), story.status(), story.instance.exits.len()), (Some(150), "online", 0));
        story.dispatch(Event::Stop(user("stop")));
        assert_eq!(story.dispatch(Event::Recovered(found)), [FOLLOW, ASK]);
    }
}

#[test]
fn failed_instance_is_stopped_and_restarted_by_policy() {
    let fail = || Event::Fail(Origin::policy(PolicyName::Health));
    let mut story = Story::running(policy());
    assert_eq!(story.at(5000).dispatch(fail()), [crate::lifecycle::stop::stop_request(&story.policy, 1)]);
    // It does not obey.
    assert_eq!(story.at(6600).dispatch(Event::Tick), [crate::lifecycle::stop::kill(&story.policy, 1)]);
    story.dispatch(Event::Exited { inc: 1, exit: killed() });
    assert_eq!(story.dispatch(Event::TreeGone { inc: 1 }), [Effect::Spawn { inc: 2 }]);
    let last = story.instance.exits.last().unwrap();
    assert_eq!(last.cause, ExitCause::KilledAfterTimeout(Origin::policy(PolicyName::Health)));
    assert_eq!((story.instance.counters.restarts, story.instance.counters.unstable), (1, 0));
    // A process that fails early is unstable, and finally the policy gives up.
    let mut story = Story::running(Policy { max_restarts: 2, ..policy() });
    for inc in 1..=2 {
        story.dispatch(fail());
        story.dispatch(Event::Exited { inc, exit: exit(0) });
        story.dispatch(Event::TreeGone { inc });
        story.dispatch(Event::Spawned { inc: inc + 1, pid: 1 });
    }
    assert_eq!(story.instance.state, InstanceState::Errored);
    // Without automatic restarts it stays down; an instance that does not run cannot fail.
    let mut story = Story::running(Policy { autorestart: false, ..policy() });
    story.dispatch(fail());
    story.dispatch(Event::Exited { inc: 1, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 1 });
    assert_eq!((&story.instance.state, story.instance.wanted), (&InstanceState::Stopped, DesiredState::Down));
    assert_eq!(story.dispatch(fail()), []);
}

#[test]
fn restart_budget_counts_restarts_of_any_cause() {
    let budget = crate::app::RestartBudget { n: 2, window_ms: 10_000 };
    let mut story = Story::running(Policy { budget: Some(budget), ..policy() });
    let crash = |story: &mut Story, inc: u32| {
        story.dispatch(Event::Exited { inc, exit: exit(1) });
        story.dispatch(Event::TreeGone { inc });
        story.dispatch(Event::Spawned { inc: inc + 1, pid: 1 });
    };
    crash(story.at(5000), 1);
    // A restart by a policy counts, too.
    story.at(6000).dispatch(Event::Restart(Origin::policy(PolicyName::Memory)));
    story.dispatch(Event::Exited { inc: 2, exit: exit(0) });
    story.dispatch(Event::TreeGone { inc: 2 });
    story.dispatch(Event::Spawned { inc: 3, pid: 1 });
    assert!(!story.instance.may_restart(&story.policy, Now::at(14_999)) && story.instance.may_restart(&story.policy, Now::at(15_000)));
    crash(story.at(15_000), 3);
    assert!(matches!(story.instance.state, InstanceState::Running { inc: 4, .. }));
    crash(story.at(15_500), 4);
    assert_eq!(story.instance.state, InstanceState::Errored);
    // A user's command resets the history.
    story.at(15_600).dispatch(Event::Start(user("start")));
    story.dispatch(Event::Spawned { inc: 5, pid: 1 });
    crash(story.at(15_700), 5);
    assert!(matches!(story.instance.state, InstanceState::Running { inc: 6, .. }), "{:?}", story.instance.state);
}
