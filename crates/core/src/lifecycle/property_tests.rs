//! Random events in random order.

use proptest::prelude::*;

use super::tests::{exit, policy, user};
use super::*;
use crate::app::KillMode;
use crate::app::hooks::{Hook, HookPolicy, OnFailure};
use crate::lifecycle::command::CommandOutcome;
use crate::time::Now;

fn any_origin() -> impl Strategy<Value = Origin> {
    prop_oneof![Just(user("x")), Just(Origin::Resurrect), Just(Origin::policy(PolicyName::Cron))]
}

fn any_exit() -> impl Strategy<Value = ExitReport> {
    let ending = prop_oneof![
        (0..3).prop_map(ProcessEnding::Code),
        (1..16, any::<bool>()).prop_map(|(signal, core)| ProcessEnding::Signal { signal, core }),
        Just(ProcessEnding::Unknown),
    ];
    (ending, any::<bool>()).prop_map(|(ending, oom)| ExitReport { ending, oom })
}

/// Returns events whose numbers count back from the newest process: most are of that process.
fn any_event() -> impl Strategy<Value = Event> {
    let inc = prop_oneof![8 => Just(0_u32), 1 => 1..3_u32];
    let found = prop_oneof![
        (inc.clone(), 1..9).prop_map(|(inc, pid)| Recovered::Alive { inc, pid }),
        (inc.clone(), 1..9, any_exit()).prop_map(|(inc, pid, exit)| Recovered::Ended { inc, pid, exit }),
        Just(Recovered::Nothing),
    ];
    prop_oneof![
        any_origin().prop_map(Event::Start),
        any_origin().prop_map(Event::Stop),
        any_origin().prop_map(Event::Restart),
        (any_origin(), 0..9_000_u64).prop_map(|(origin, at_ms)| Event::RestartAt { origin, at_ms }),
        any_origin().prop_map(Event::Fail),
        any_origin().prop_map(Event::Delete),
        Just(Event::Reset),
        (inc.clone(), 1..9).prop_map(|(inc, pid)| Event::Spawned { inc, pid }),
        inc.clone().prop_map(|inc| Event::SpawnFailed { inc, failure: SpawnFailure { step: "exec".into(), errno: 2 } }),
        inc.clone().prop_map(|inc| Event::Ready { inc }),
        (inc.clone(), any_exit()).prop_map(|(inc, exit)| Event::Exited { inc, exit }),
        inc.clone().prop_map(|inc| Event::TreeGone { inc }),
        (inc.clone(), 1..9).prop_map(|(inc, pid)| Event::Followed { inc, pid }),
        any_origin().prop_map(Event::StopGently),
        any_origin().prop_map(Event::Retire),
        inc.clone().prop_map(|inc| Event::Drained { inc }),
        Just(Event::Hurry),
        (inc.clone(), 0..u64::MAX).prop_map(|(inc, until_ms)| Event::Extend { inc, until_ms }),
        Just(Event::Released),
        Just(Event::Unmet("db is stopped".into())),
        (
            inc.clone(),
            prop::sample::select(Hook::ALL.to_vec()),
            prop::sample::select(vec![CommandOutcome::Code(0), CommandOutcome::Code(1), CommandOutcome::Cancelled])
        )
            .prop_map(|(inc, hook, outcome)| Event::HookDone { inc, hook, outcome }),
        inc.prop_map(|inc| Event::Unprepared { inc, reason: "secret TOKEN: its command exited with code 1".into() }),
        Just(Event::Tick),
        found.prop_map(Event::Recovered),
    ]
}

/// Gives an event the number of its process.
fn numbered(mut event: Event, newest: u32) -> Event {
    if let Event::Spawned { inc, .. }
    | Event::SpawnFailed { inc, .. }
    | Event::Ready { inc }
    | Event::Exited { inc, .. }
    | Event::TreeGone { inc }
    | Event::Followed { inc, .. }
    | Event::Drained { inc }
    | Event::Extend { inc, .. }
    | Event::HookDone { inc, .. }
    | Event::Unprepared { inc, .. }
    | Event::Recovered(Recovered::Alive { inc, .. } | Recovered::Ended { inc, .. }) = &mut event
    {
        *inc = newest.saturating_sub(*inc);
    }
    event
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (any::<[bool; 7]>(), any::<[bool; 6]>(), prop::sample::select(vec![0, 1, 3, 16]), prop::sample::select(vec![0, 1, 1600, u64::MAX]))
        .prop_map(
            |(
                [autorestart, treekill, wait_ready, accept_ready_timeout, delays, grows, drains],
                [pre_start, post_start, pre_stop, post_stop, on_crash, depends],
                max_restarts,
                some_ms,
            )| Policy {
                hooks: HookPolicy {
                    pre_start: pre_start.then_some(OnFailure::Abort),
                    post_start: post_start.then_some(if grows { OnFailure::Abort } else { OnFailure::Continue }),
                    pre_stop,
                    post_stop,
                    on_crash,
                },
                depends_timeout_ms: depends.then_some(some_ms),
                autorestart,
                max_restarts,
                restart_delay_ms: if delays { some_ms } else { 0 },
                exp_backoff_ms: if grows { some_ms } else { 0 },
                kill_timeout_ms: some_ms,
                drain_timeout_ms: drains.then_some(some_ms),
                kill_mode: match (treekill, delays) {
                    (true, true) => KillMode::Tree,
                    (true, false) => KillMode::Mixed,
                    (false, _) => KillMode::Process,
                },
                wait_ready,
                listen_timeout_ms: some_ms,
                lateness: match (accept_ready_timeout, delays) {
                    (true, _) => Lateness::Accept,
                    (false, true) => Lateness::Fail,
                    (false, false) => Lateness::GoOn { at_most_ms: grows.then_some(some_ms) },
                },
                stop_exit_codes: vec![0],
                ..policy()
            },
        )
}

proptest! {
    /// Sends events in any order, also impossible ones, with a changing policy. Nothing panics, no
    /// spawn happens while a process may live, and a stop has a near deadline. A deleted instance stays
    /// deleted, and the journal returns the written state.
    #[test]
    fn any_sequence_of_events_keeps_the_invariants(turns in prop::collection::vec((any_event(), any_policy(), 0..2_000_u64), 1..60)) {
        let mut instance = Instance::new(Now::at(0));
        let mut now = 0;
        for (event, policy, later) in turns {
            now += later;
            let before = instance.clone();
            let event = numbered(event, instance.inc);
            let effects = instance.step(&policy, event.clone(), Now::at(now));
            let spawns = effects.iter().filter(|effect| matches!(effect, Effect::Spawn { .. })).count();
            prop_assert!(spawns <= 1);
            if spawns == 1 {
                let is_spawning = matches!(instance.state, InstanceState::Spawning { inc, .. } if inc == instance.inc);
                // A start in preparation already has its number.
                let was_prepared = matches!(before.state, InstanceState::Preparing { inc, .. } if inc == instance.inc);
                let has_own_number = was_prepared || instance.inc == before.inc + 1;
                prop_assert!(is_spawning && has_own_number, "{event:?}: {:?}", instance.state);
                // The old process is gone: it was at rest, or this event reports its exit.
                let over = !before.may_have_processes()
                    || matches!(event, Event::TreeGone { .. } | Event::SpawnFailed { .. })
                    || (!policy.owns_tree() && matches!(event, Event::Exited { .. } | Event::Recovered(_)));
                prop_assert!(over, "{event:?} in {:?}", before.state);
            }
            if let InstanceState::Stopping { deadline_ms, .. } = instance.state
                && !matches!(before.state, InstanceState::Stopping { .. })
            {
                prop_assert!(deadline_ms <= stop::rekill_deadline(&policy, now), "{event:?}: {:?}", instance.state);
            }
            let keeps_running =
                matches!(instance.state, InstanceState::Starting { .. } | InstanceState::Completing { .. } | InstanceState::Running { .. });
            prop_assert!(!keeps_running || instance.wanted == DesiredState::Up, "{event:?}: {:?}", instance.state);
            if before.wanted == DesiredState::Gone {
                prop_assert_eq!(instance.wanted, DesiredState::Gone);
                prop_assert_eq!(spawns, 0);
            }
            prop_assert!(instance.exits.len() <= policy::EXITS_KEPT);
            let text = serde_json::to_string(&instance).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Instance>(&text).unwrap(), &instance);
        }
    }

    /// After a stop command, if processes obey, any instance comes to rest from any state.
    #[test]
    fn stop_brings_any_instance_to_rest(turns in prop::collection::vec((any_event(), 0..2_000_u64), 0..40), policy in any_policy(), gone in any::<bool>(), gently in any::<bool>()) {
        let mut instance = Instance::new(Now::at(0));
        let mut now = 0;
        for (event, later) in turns {
            now += later;
            let event = numbered(event, instance.inc);
            let _ = instance.step(&policy, event, Now::at(now));
        }
        let last = match (gone, gently) {
            (true, true) => Event::Retire(user("x")),
            (true, false) => Event::Delete(user("x")),
            (false, true) => Event::StopGently(user("x")),
            (false, false) => Event::Stop(user("x")),
        };
        let mut effects = instance.step(&policy, last, Now::at(now));
        for _ in 0..10 {
            let answer = match instance.state {
                InstanceState::Preparing { .. } | InstanceState::Completing { .. } | InstanceState::Leaving { .. } | InstanceState::Clearing { .. } => {
                    let (inc, hook) = instance.hook().unwrap();
                    Event::HookDone { inc, hook, outcome: CommandOutcome::Cancelled }
                }
                InstanceState::Spawning { inc, .. } => Event::Spawned { inc, pid: 1 },
                InstanceState::Draining { inc, .. } => Event::Drained { inc },
                InstanceState::Stopping { inc, leader_gone: false, .. } => Event::Exited { inc, exit: exit(0) },
                InstanceState::Stopping { inc, leader_gone: true, .. } => Event::TreeGone { inc },
                InstanceState::Stopped
                | InstanceState::Waiting { .. }
                | InstanceState::Starting { .. }
                | InstanceState::Running { .. }
                | InstanceState::Backoff { .. }
                | InstanceState::Errored
                | InstanceState::Gone => break,
            };
            effects.extend(instance.step(&policy, answer, Now::at(now)));
        }
        prop_assert!(instance.settled(), "{:?}", instance.state);
        let spawned = effects.iter().any(|effect| matches!(effect, Effect::Spawn { .. }));
        prop_assert!(!spawned);
    }
}
