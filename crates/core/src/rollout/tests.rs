//! Stories, one per rule; and any sequence of news.

use proptest::prelude::*;

use super::{Effect, Event, Outcome, Phase, PlaceState, Rollout};

fn rolling(places: usize, batch: u32) -> Rollout {
    Rollout::new(&vec![false; places], batch, 0, false)
}

fn states(rollout: &Rollout) -> Vec<PlaceState> {
    rollout.places.iter().map(|place| place.state).collect()
}

fn bad(place: usize) -> Event {
    Event::Failed(place, "exited with code 1".into())
}

#[test]
fn the_first_alone_then_in_batches() {
    let mut rollout = rolling(4, 2);
    assert_eq!(rollout.begin(), [Effect::Launch(0)]);
    // The old processes finish at the same time, whatever their order.
    assert_eq!(rollout.step(Event::Ready(0), 1), [Effect::Promote(0), Effect::Launch(1), Effect::Launch(2)]);
    assert_eq!(rollout.step(Event::Ready(2), 3), []);
    assert_eq!(rollout.step(Event::Ready(1), 4), [Effect::Promote(1), Effect::Promote(2), Effect::Launch(3)]);
    assert_eq!(rollout.step(Event::Gone(2), 5), []);
    assert_eq!(rollout.step(Event::Ready(3), 7), [Effect::Promote(3)]);
    for place in [1, 3] {
        assert_eq!(rollout.step(Event::Gone(place), 8), []);
        assert_eq!(rollout.outcome(), None);
    }
    assert_eq!(rollout.step(Event::Gone(0), 9), []);
    assert_eq!(rollout.outcome(), Some(&Outcome::Done));
}

#[test]
fn a_bad_release_changes_nothing() {
    let mut rollout = rolling(3, 2);
    assert_eq!(rollout.begin(), [Effect::Launch(0)]);
    assert_eq!(rollout.step(bad(0), 1), [Effect::Discard(0)]);
    assert!(matches!(rollout.outcome(), Some(Outcome::Failed(fault)) if fault.place == 0));
    assert_eq!(states(&rollout), [PlaceState::Failed, PlaceState::Waiting, PlaceState::Waiting]);
}

#[test]
fn a_late_fault_takes_the_others_back_where_there_is_a_way_back() {
    for reversible in [true, false] {
        let mut rollout = Rollout { reversible, ..rolling(3, 2) };
        for (event, effects) in [
            (Event::Ready(0), vec![Effect::Promote(0), Effect::Launch(1), Effect::Launch(2)]),
            (Event::Gone(0), vec![]),
            (Event::Ready(1), vec![]),
        ] {
            let _ = rollout.begin();
            assert_eq!(rollout.step(event, 1), effects);
        }
        let effects = rollout.step(bad(2), 2);
        assert_eq!(effects[..2], [Effect::Discard(1), Effect::Discard(2)]);
        if !reversible {
            assert_eq!((effects.len(), states(&rollout)[0]), (2, PlaceState::Done));
            assert!(rollout.outcome().is_some());
            continue;
        }
        assert_eq!(effects[2..], [Effect::LaunchOld(0)]);
        assert_eq!(rollout.step(Event::Ready(0), 3), [Effect::Promote(0)]);
        assert_eq!(rollout.step(Event::Gone(0), 4), []);
        assert_eq!(states(&rollout), [PlaceState::Reverted, PlaceState::Waiting, PlaceState::Failed]);
        assert!(matches!(rollout.outcome(), Some(Outcome::Failed(fault)) if fault.place == 2));
    }
}

#[test]
fn a_canary_is_watched_beside_all_the_old_ones() {
    let mut rollout = Rollout { canary_ms: 5000, ..rolling(2, 1) };
    let _ = rollout.begin();
    assert_eq!(rollout.step(Event::Ready(0), 1000), []);
    assert_eq!(rollout.deadline_ms(), Some(6000));
    assert_eq!(rollout.step(Event::Tick, 5999), []);
    let mut died = rollout.clone();
    assert_eq!(died.step(bad(0), 3000), [Effect::Discard(0)]);
    assert!(died.outcome().is_some());
    assert_eq!(rollout.step(Event::Tick, 6000), [Effect::Promote(0), Effect::Launch(1)]);
    assert_eq!(rollout.step(Event::Gone(0), 6001), []);
    // Only the first one is.
    assert_eq!(rollout.step(Event::Ready(1), 7000), [Effect::Promote(1)]);
}

#[test]
fn what_cannot_run_twice_is_restarted_and_started_again_after_a_fault() {
    let mut rollout = Rollout::new(&[true, true], 2, 0, true);
    assert_eq!(rollout.begin(), [Effect::Launch(0)]);
    assert_eq!(rollout.step(Event::Ready(0), 1), [Effect::Launch(1)]);
    assert_eq!(rollout.step(bad(1), 2), [Effect::LaunchOld(0), Effect::LaunchOld(1)]);
    assert_eq!(rollout.step(Event::Ready(0), 3), []);
    assert_eq!(rollout.step(Event::Ready(1), 4), []);
    assert_eq!(states(&rollout), [PlaceState::Reverted, PlaceState::Reverted]);
    assert!(rollout.outcome().is_some());
}

#[test]
fn users_win() {
    let mut rollout = rolling(3, 2);
    let _ = rollout.begin();
    assert_eq!(rollout.step(Event::Overruled(0), 1), [Effect::Discard(0), Effect::Launch(1)]);
    assert_eq!(rollout.step(Event::Ready(0), 2), []);
    assert_eq!(rollout.step(Event::Overruled(2), 2), []);
    assert_eq!(rollout.step(Event::Overruled(1), 3), [Effect::Discard(1)]);
    assert_eq!(rollout.outcome(), Some(&Outcome::Overruled));
}

#[test]
fn a_batch_does_not_wait_for_who_left_it() {
    let mut rollout = rolling(3, 2);
    let _ = rollout.begin();
    let _ = rollout.step(Event::Ready(0), 1);
    let _ = rollout.step(Event::Gone(0), 1);
    assert_eq!(rollout.step(Event::Ready(1), 2), []);
    assert_eq!(rollout.step(Event::Overruled(2), 2), [Effect::Discard(2), Effect::Promote(1)]);
}

/// What runs in a place, as the effects say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serving {
    Old,
    New,
    Nobody,
}

/// A world that obeys, and checks what it is told to do.
struct World {
    serving: Vec<Serving>,
    /// A candidate beside it: of the new release?
    beside: Vec<Option<bool>>,
    going: Vec<bool>,
}

impl World {
    fn perform(&mut self, rollout: &Rollout, effect: Effect) -> Result<(), TestCaseError> {
        match effect {
            Effect::Launch(place) | Effect::LaunchOld(place) => {
                let is_new = matches!(effect, Effect::Launch(_));
                let free = self.beside[place].is_none() && !self.going[place];
                prop_assert!(rollout.places[place].in_place || free, "two candidates in {place}");
                if rollout.places[place].in_place {
                    self.serving[place] = Serving::Nobody;
                }
                self.beside[place] = Some(is_new);
            }
            Effect::Promote(place) => {
                let Some(is_new) = self.beside[place].take() else {
                    return Err(TestCaseError::fail(format!("nobody to promote in {place}")));
                };
                self.serving[place] = if is_new { Serving::New } else { Serving::Old };
                self.going[place] = true;
            }
            Effect::Discard(place) => {
                prop_assert!(self.beside[place].take().is_some(), "nobody to discard in {place}");
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_old_release_serves_until_the_new_one_is_ready(
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
                if let Effect::Launch(place) | Effect::LaunchOld(place) = effect {
                    prop_assert!(!left[place], "launched in spite of a user");
                }
            }
            for (serving, in_place) in world.serving.iter().zip(&in_place) {
                prop_assert!(*in_place || *serving != Serving::Nobody);
            }
            let beside = (0..count).filter(|&place| !in_place[place] && world.beside[place].is_some()).count();
            prop_assert!(beside <= batch.max(1) as usize, "{beside} candidates at once");
            if rollout.outcome().is_some() {
                break;
            }
            let text = serde_json::to_string(&rollout).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Rollout>(&text).unwrap(), &rollout);
            now += 100;
            let event = match news.next() {
                Some((place, _)) if place >= count => Event::Tick,
                Some((place, 0..=1)) => {
                    // The owner tells a fault only of what it launched or promoted.
                    if rollout.places[place].in_place && world.beside[place].is_some() { world.beside[place] = None; }
                    bad(place)
                }
                Some((place, 2)) => { left[place] = true; if in_place[place] { world.beside[place] = None; } Event::Overruled(place) }
                // Then everything goes well.
                _ => {
                    tail += 1;
                    prop_assert!(tail < 400, "never over: {rollout:?}");
                    if let Some(place) = (0..count).find(|&place| world.going[place]) {
                        world.going[place] = false;
                        Event::Gone(place)
                    } else if let Some(place) = (0..count).find(|&place| world.beside[place].is_some()
                        && matches!(rollout.places[place].state, PlaceState::Starting | PlaceState::Reverting)) {
                        if in_place[place] {
                            let is_new = world.beside[place].take();
                            world.serving[place] = if is_new == Some(true) { Serving::New } else { Serving::Old };
                        }
                        Event::Ready(place)
                    } else {
                        Event::Tick
                    }
                }
            };
            effects = rollout.step(event, now);
        }
        // In the end nothing is half done, and the verdict is true.
        for place in 0..count {
            prop_assert!(in_place[place] || world.beside[place].is_none(), "a candidate is left in {place}: {rollout:?}");
            let state = rollout.places[place].state;
            if !left[place] && !in_place[place] {
                let expected = match state {
                    PlaceState::Done => Serving::New,
                    PlaceState::Failed | PlaceState::Waiting | PlaceState::Reverted => Serving::Old,
                    other => return Err(TestCaseError::fail(format!("ended in {other:?}"))),
                };
                prop_assert_eq!(world.serving[place], expected);
            }
        }
        if rollout.outcome() == Some(&Outcome::Done) {
            prop_assert!(rollout.places.iter().all(|place| matches!(place.state, PlaceState::Done | PlaceState::Left)));
        }
        let over = matches!(rollout.phase, Phase::Over(_));
        prop_assert!(over);
    }
}
