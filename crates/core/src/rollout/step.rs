//! The step function.

use super::{Effect, Event, Fault, Outcome, Phase, PlaceState, Rollout};

impl Rollout {
    /// The first things to do.
    pub fn begin(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.go_on(&mut effects);
        effects
    }

    /// Takes news and says what to do. Total: news that is old or repeated changes nothing.
    pub fn step(&mut self, event: Event, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.outcome().is_some() {
            return effects;
        }
        match event {
            Event::Ready(place) => self.on_ready(place, now_ms, &mut effects),
            Event::Failed(place, reason) => self.on_failed(place, reason, &mut effects),
            Event::Gone(place) => self.on_gone(place),
            Event::Overruled(place) => self.on_overruled(place, &mut effects),
            Event::Tick => self.on_tick(now_ms, &mut effects),
        }
        self.go_on(&mut effects);
        effects
    }

    fn state(&self, place: usize) -> Option<PlaceState> {
        self.places.get(place).map(|place| place.state)
    }

    fn set(&mut self, place: usize, state: PlaceState) {
        if let Some(place) = self.places.get_mut(place) {
            place.state = state;
        }
    }

    fn all_in(&self, state: PlaceState) -> Vec<usize> {
        self.places.iter().enumerate().filter(|(_, place)| place.state == state).map(|(index, _)| index).collect()
    }

    fn any_in(&self, states: &[PlaceState]) -> bool {
        self.places.iter().any(|place| states.contains(&place.state))
    }

    fn on_ready(&mut self, place: usize, now_ms: u64, effects: &mut Vec<Effect>) {
        match self.state(place) {
            Some(PlaceState::Starting) => self.set(place, PlaceState::Ready),
            Some(PlaceState::Reverting) => return self.promote(place, PlaceState::Returning, PlaceState::Reverted, effects),
            _ => return,
        }
        if self.any_in(&[PlaceState::Starting]) {
            return;
        }
        let is_first = !self.any_in(&[PlaceState::Done, PlaceState::Retiring]);
        if is_first && self.canary_ms > 0 {
            self.phase = Phase::Watching { until_ms: now_ms.saturating_add(self.canary_ms) };
        } else {
            self.promote_batch(effects);
        }
    }

    fn promote_batch(&mut self, effects: &mut Vec<Effect>) {
        for place in self.all_in(PlaceState::Ready) {
            self.promote(place, PlaceState::Retiring, PlaceState::Done, effects);
        }
    }

    fn promote(&mut self, place: usize, on_its_way: PlaceState, done: PlaceState, effects: &mut Vec<Effect>) {
        if self.places.get(place).is_some_and(|place| place.in_place) {
            self.set(place, done);
        } else {
            self.set(place, on_its_way);
            effects.push(Effect::Promote(place));
        }
    }

    fn on_gone(&mut self, place: usize) {
        match self.state(place) {
            // Something failed meanwhile: this place has to go back, too.
            Some(PlaceState::Retiring) if self.reversible && matches!(self.phase, Phase::Returning { .. }) => {
                self.set(place, PlaceState::ToRevert);
            }
            Some(PlaceState::Retiring) => self.set(place, PlaceState::Done),
            Some(PlaceState::Returning) => self.set(place, PlaceState::Reverted),
            _ => {}
        }
    }

    fn on_failed(&mut self, place: usize, reason: String, effects: &mut Vec<Effect>) {
        match self.state(place) {
            // What failed after it had taken over cannot be discarded; the restart policy looks after it.
            Some(PlaceState::Starting | PlaceState::Ready | PlaceState::Retiring | PlaceState::Done) => {}
            Some(PlaceState::Reverting) => {
                // Neither release wants to run here: the one that does is kept.
                self.discard(place, effects);
                return self.set(place, PlaceState::Done);
            }
            _ => return,
        }
        // One fault ends it; what fails on the way back changes nothing.
        if matches!(self.phase, Phase::Returning { .. }) {
            return;
        }
        self.phase = Phase::Returning { fault: Fault { place, reason } };
        for index in 0..self.places.len() {
            match self.places[index].state {
                PlaceState::Starting | PlaceState::Ready if self.places[index].in_place => {
                    self.set(index, if self.reversible { PlaceState::ToRevert } else { PlaceState::Failed });
                }
                PlaceState::Starting | PlaceState::Ready => {
                    self.discard(index, effects);
                    self.set(index, if index == place { PlaceState::Failed } else { PlaceState::Waiting });
                }
                PlaceState::Done if self.reversible => self.set(index, PlaceState::ToRevert),
                _ => {}
            }
        }
    }

    fn discard(&mut self, place: usize, effects: &mut Vec<Effect>) {
        if self.places.get(place).is_some_and(|place| !place.in_place) {
            effects.push(Effect::Discard(place));
        }
    }

    fn on_overruled(&mut self, place: usize, effects: &mut Vec<Effect>) {
        let Some(state) = self.state(place) else { return };
        if matches!(state, PlaceState::Starting | PlaceState::Ready | PlaceState::Reverting) {
            self.discard(place, effects);
        }
        self.set(place, PlaceState::Left);
        // The others of its batch may have waited for it alone.
        if matches!(self.phase, Phase::Advancing) && !self.any_in(&[PlaceState::Starting]) {
            self.promote_batch(effects);
        }
        if matches!(self.phase, Phase::Watching { .. }) && !self.any_in(&[PlaceState::Ready]) {
            self.phase = Phase::Advancing;
        }
    }

    fn on_tick(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if let Phase::Watching { until_ms } = self.phase
            && until_ms <= now_ms
        {
            self.phase = Phase::Advancing;
            self.promote_batch(effects);
        }
    }

    /// Begins the next batch when nothing is under way; ends when nothing is left.
    fn go_on(&mut self, effects: &mut Vec<Effect>) {
        if self.any_in(&[PlaceState::Starting, PlaceState::Ready, PlaceState::Reverting]) {
            return;
        }
        // The next batch does not wait for processes that only finish what they do: they finish all at the same time. The end does.
        let somebody_goes = self.any_in(&[PlaceState::Retiring, PlaceState::Returning]);
        match &self.phase {
            Phase::Returning { fault } => {
                let fault = fault.clone();
                let next = self.next_batch(PlaceState::ToRevert, self.batch);
                if next.is_empty() && !somebody_goes {
                    self.phase = Phase::Over(Outcome::Failed(fault));
                }
                for place in next {
                    self.set(place, PlaceState::Reverting);
                    effects.push(Effect::LaunchOld(place));
                }
            }
            Phase::Advancing => {
                let is_first = !self.any_in(&[PlaceState::Done, PlaceState::Retiring]);
                let next = self.next_batch(PlaceState::Waiting, if is_first { 1 } else { self.batch });
                if next.is_empty() && !somebody_goes {
                    let done = self.any_in(&[PlaceState::Done]) || self.places.is_empty();
                    self.phase = Phase::Over(if done { Outcome::Done } else { Outcome::Overruled });
                }
                for place in next {
                    self.set(place, PlaceState::Starting);
                    effects.push(Effect::Launch(place));
                }
            }
            Phase::Watching { .. } | Phase::Over(_) => {}
        }
    }

    fn next_batch(&self, state: PlaceState, size: u32) -> Vec<usize> {
        let mut next = self.all_in(state);
        next.truncate(size as usize);
        next
    }
}
