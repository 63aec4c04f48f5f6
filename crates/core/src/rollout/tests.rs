//! Stories, one per rule, and random sequences of events.

use proptest::prelude::*;

use super::{ReplicaState, Rollout, RolloutEffect, RolloutEvent, RolloutOutcome, RolloutPhase};

fn rolling(replicas: usize, batch: u32) -> Rollout {
    Rollout::new(&vec![false; replicas], batch, 0, false)
}

fn states(rollout: &Rollout) -> Vec<ReplicaState> {
    rollout.replicas.iter().map(|replica| replica.state).collect()
}

fn bad(replica: usize) -> RolloutEvent {
    RolloutEvent::Failed(replica, "exited with code 1".into())
}

#[test]
fn rollout_starts_the_first_alone_then_in_batches() {
    let mut rollout = rolling(4, 2);
    assert_eq!(rollout.begin(), [RolloutEffect::Launch(0)]);
    // The old processes finish in parallel and in any order.
    assert_eq!(rollout.step(RolloutEvent::Ready(0), 1), [RolloutEffect::Promote(0), RolloutEffect::Launch(1), RolloutEffect::Launch(2)]);
    assert_eq!(rollout.step(RolloutEvent::Ready(2), 3), []);
    assert_eq!(rollout.step(RolloutEvent::Ready(1), 4), [RolloutEffect::Promote(1), RolloutEffect::Promote(2), RolloutEffect::Launch(3)]);
    assert_eq!(rollout.step(RolloutEvent::Gone(2), 5), []);
    assert_eq!(rollout.step(RolloutEvent::Ready(3), 7), [RolloutEffect::Promote(3)]);
    for replica in [1, 3] {
        assert_eq!(rollout.step(RolloutEvent::Gone(replica), 8), []);
        assert_eq!(rollout.outcome(), None);
    }
    assert_eq!(rollout.step(RolloutEvent::Gone(0), 9), []);
    assert_eq!(rollout.outcome(), Some(&RolloutOutcome::Done));
}

#[test]
fn failed_first_replica_discards_the_release() {
    let mut rollout = rolling(3, 2);
    assert_eq!(rollout.begin(), [RolloutEffect::Launch(0)]);
    assert_eq!(rollout.step(bad(0), 1), [RolloutEffect::Discard(0)]);
    assert!(matches!(rollout.outcome(), Some(RolloutOutcome::Failed(fault)) if fault.replica == 0));
    assert_eq!(states(&rollout), [ReplicaState::Failed, ReplicaState::Waiting, ReplicaState::Waiting]);
}

#[test]
fn late_fault_rolls_back_if_the_rollout_is_reversible() {
    for reversible in [true, false] {
        let mut rollout = Rollout { reversible, ..rolling(3, 2) };
        for (event, effects) in [
            (RolloutEvent::Ready(0), vec![RolloutEffect::Promote(0), RolloutEffect::Launch(1), RolloutEffect::Launch(2)]),
            (RolloutEvent::Gone(0), vec![]),
            (RolloutEvent::Ready(1), vec![]),
        ] {
            let _ = rollout.begin();
            assert_eq!(rollout.step(event, 1), effects);
        }
        let effects = rollout.step(bad(2), 2);
        assert_eq!(effects[..2], [RolloutEffect::Discard(1), RolloutEffect::Discard(2)]);
        if !reversible {
            assert_eq!((effects.len(), states(&rollout)[0]), (2, ReplicaState::Done));
            assert!(rollout.outcome().is_some());
            continue;
        }
        assert_eq!(effects[2..], [RolloutEffect::LaunchOld(0)]);
        assert_eq!(rollout.step(RolloutEvent::Ready(0), 3), [RolloutEffect::Promote(0)]);
        assert_eq!(rollout.step(RolloutEvent::Gone(0), 4), []);
        assert_eq!(states(&rollout), [ReplicaState::Reverted, ReplicaState::Waiting, ReplicaState::Failed]);
        assert!(matches!(rollout.outcome(), Some(RolloutOutcome::Failed(fault)) if fault.replica == 2));
    }
}

#[test]
fn canary_is_watched_beside_all_old_processes() {
    let mut rollout = Rollout { canary_ms: 5000, ..rolling(2, 1) };
    let _ = rollout.begin();
    assert_eq!(rollout.step(RolloutEvent::Ready(0), 1000), []);
    assert_eq!(rollout.deadline_ms(), Some(6000));
    assert_eq!(rollout.step(RolloutEvent::Tick, 5999), []);
    let mut died = rollout.clone();
    assert_eq!(died.step(bad(0), 3000), [RolloutEffect::Discard(0)]);
    assert!(died.outcome().is_some());
    assert_eq!(rollout.step(RolloutEvent::Tick, 6000), [RolloutEffect::Promote(0), RolloutEffect::Launch(1)]);
    assert_eq!(rollout.step(RolloutEvent::Gone(0), 6001), []);
    // Only the first one is watched.
    assert_eq!(rollout.step(RolloutEvent::Ready(1), 7000), [RolloutEffect::Promote(1)]);
}

#[test]
fn in_place_replicas_restart_and_roll_back_after_a_fault() {
    let mut rollout = Rollout::new(&[true, true], 2, 0, true);
    assert_eq!(rollout.begin(), [RolloutEffect::Launch(0)]);
    assert_eq!(rollout.step(RolloutEvent::Ready(0), 1), [RolloutEffect::Launch(1)]);
    assert_eq!(rollout.step(bad(1), 2), [RolloutEffect::LaunchOld(0), RolloutEffect::LaunchOld(1)]);
    assert_eq!(rollout.step(RolloutEvent::Ready(0), 3), []);
    assert_eq!(rollout.step(RolloutEvent::Ready(1), 4), []);
    assert_eq!(states(&rollout), [ReplicaState::Reverted, ReplicaState::Reverted]);
    assert!(rollout.outcome().is_some());
}

#[test]
fn rollout_skips_replicas_overruled_by_the_user() {
    let mut rollout = rolling(3, 2);
    let _ = rollout.begin();
    assert_eq!(rollout.step(RolloutEvent::Overruled(0), 1), [RolloutEffect::Discard(0), RolloutEffect::Launch(1)]);
    assert_eq!(rollout.step(RolloutEvent::Ready(0), 2), []);
    assert_eq!(rollout.step(RolloutEvent::Overruled(2), 2), []);
    assert_eq!(rollout.step(RolloutEvent::Overruled(1), 3), [RolloutEffect::Discard(1)]);
    assert_eq!(rollout.outcome(), Some(&RolloutOutcome::Overruled));
}

#[test]
fn batch_does_not_wait_for_overruled_replicas() {
    let mut rollout = rolling(3, 2);
    let _ = rollout.begin();
    let _ = rollout.step(RolloutEvent::Ready(0), 1);
    let _ = rollout.step(RolloutEvent::Gone(0), 1);
    assert_eq!(rollout.step(RolloutEvent::Ready(1), 2), []);
    assert_eq!(rollout.step(RolloutEvent::Overruled(2), 2), [RolloutEffect::Discard(2), RolloutEffect::Promote(1)]);
}

/// Process that serves in a replica, according to the effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serving {
    Old,
    New,
    Nobody,
}

/// World that performs and checks the effects.
struct World {
    serving: Vec<Serving>,
    /// Candidate beside it: true if it has the new release.
    beside: Vec<Option<bool>>,
    going: Vec<bool>,
}

impl World {
    fn perform(&mut self, rollout: &Rollout, effect: RolloutEffect) -> Result<(), TestCaseError> {
        match effect {
            RolloutEffect::Launch(replica) | RolloutEffect::LaunchOld(replica) => {
                let is_new = matches!(effect, RolloutEffect::Launch(_));
                let free = self.beside[replica].is_none() && !self.going[replica];
                prop_assert!(rollout.replicas[replica].in_place || free, "two candidates in {replica}");
                if rollout.replicas[replica].in_place {
                    self.serving[replica] = Serving::Nobody;
                }
                self.beside[replica] = Some(is_new);
            }
            RolloutEffect::Promote(replica) => {
                let Some(is_new) = self.beside[replica].take() else {
                    return Err(TestCaseError::fail(format!("nobody to promote in {replica}")));
                };
                self.serving[replica] = if is_new { Serving::New } else { Serving::Old };
                self.going[replica] = true;
            }
            RolloutEffect::Discard(replica) => {
                prop_assert!(self.beside[replica].take().is_some(), "nobody to discard in {replica}");
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn old_release_serves_until_the_new_release_is_ready(
        in_place in prop::collection::vec(prop::bool::weighted(0.2), 0..6),
        batch in 0..4_u32,
        canary_ms in prop::sample::select(vec![0, 0, 1000]),
        reversible in any::<bool>(),
        news in prop::collection::vec((0..6_usize, 0..20_u8), 0..60),
    ) {
        let count = in_place.len();
        let mut rollout = Rollout::new(&in_place, batch, canary_ms, reversible);
        let mut world = World { serving: vec![Serving::Old; count], beside: vec![None; count], going: vec![false; count] };
        let mut left = vec![false; count];
        let mut effects = rollout.begin();
        let mut now = 0;
        let mut tail = 0;
        let mut news = news.into_iter();
        loop {
            for effect in std::mem::take(&mut effects) {
                world.perform(&rollout, effect)?;
                if let RolloutEffect::Launch(replica) | RolloutEffect::LaunchOld(replica) = effect {
                    prop_assert!(!left[replica], "launched in spite of a user");
                }
            }
            for (serving, in_place) in world.serving.iter().zip(&in_place) {
                prop_assert!(*in_place || *serving != Serving::Nobody);
            }
            let candidate_count = (0..count).filter(|&replica| !in_place[replica] && world.beside[replica].is_some()).count();
            prop_assert!(candidate_count <= batch.max(1) as usize, "{candidate_count} candidates at once");
            if rollout.outcome().is_some() {
                break;
            }
            let text = serde_json::to_string(&rollout).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Rollout>(&text).unwrap(), &rollout);
            now += 100;
            let event = match news.next() {
                Some((replica, _)) if replica >= count => RolloutEvent::Tick,
                Some((replica, 0..=1)) => {
                    // The owner reports a fault only of a process that it launched or promoted.
                    if rollout.replicas[replica].in_place && world.beside[replica].is_some() { world.beside[replica] = None; }
                    bad(replica)
                }
                Some((replica, 2)) => { left[replica] = true; if in_place[replica] { world.beside[replica] = None; } RolloutEvent::Overruled(replica) }
                // From then on nothing fails.
                _ => {
                    tail += 1;
                    prop_assert!(tail < 400, "never over: {rollout:?}");
                    if let Some(replica) = (0..count).find(|&replica| world.going[replica]) {
                        world.going[replica] = false;
                        RolloutEvent::Gone(replica)
                    } else if let Some(replica) = (0..count).find(|&replica| world.beside[replica].is_some()
                        && matches!(rollout.replicas[replica].state, ReplicaState::Starting | ReplicaState::Reverting)) {
                        if in_place[replica] {
                            let is_new = world.beside[replica].take();
                            world.serving[replica] = if is_new == Some(true) { Serving::New } else { Serving::Old };
                        }
                        RolloutEvent::Ready(replica)
                    } else {
                        RolloutEvent::Tick
                    }
                }
            };
            effects = rollout.step(event, now);
        }
        // In the end no replica is unfinished, and the verdict is true.
        for replica in 0..count {
            prop_assert!(in_place[replica] || world.beside[replica].is_none(), "a candidate is left in {replica}: {rollout:?}");
            let state = rollout.replicas[replica].state;
            if !left[replica] && !in_place[replica] {
                let expected = match state {
                    ReplicaState::Done => Serving::New,
                    ReplicaState::Failed | ReplicaState::Waiting | ReplicaState::Reverted => Serving::Old,
                    other => return Err(TestCaseError::fail(format!("ended in {other:?}"))),
                };
                prop_assert_eq!(world.serving[replica], expected);
            }
        }
        if rollout.outcome() == Some(&RolloutOutcome::Done) {
            prop_assert!(rollout.replicas.iter().all(|replica| matches!(replica.state, ReplicaState::Done | ReplicaState::TakenOver)));
        }
        let over = matches!(rollout.phase, RolloutPhase::Complete(_));
        prop_assert!(over);
    }
}
