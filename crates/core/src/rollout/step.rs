//! Step function of a rollout.

use super::{ReplicaState, Rollout, RolloutEffect, RolloutEvent, RolloutFault, RolloutOutcome, RolloutPhase};

impl Rollout {
    /// Begins the rollout and returns the first effects.
    pub fn begin(&mut self) -> Vec<RolloutEffect> {
        let mut effects = Vec::new();
        self.begin_next_batch(&mut effects);
        effects
    }

    /// Handles an event and returns the effects. Total: an old or repeated event changes nothing.
    pub fn step(&mut self, event: RolloutEvent, now_ms: u64) -> Vec<RolloutEffect> {
        let mut effects = Vec::new();
        if self.outcome().is_some() {
            return effects;
        }
        match event {
            RolloutEvent::Ready(replica) => self.on_ready(replica, now_ms, &mut effects),
            RolloutEvent::Failed(replica, reason) => self.on_failed(replica, reason, &mut effects),
            RolloutEvent::Gone(replica) => self.on_gone(replica),
            RolloutEvent::Overruled(replica) => self.on_overruled(replica, &mut effects),
            RolloutEvent::Tick => self.on_tick(now_ms, &mut effects),
        }
        self.begin_next_batch(&mut effects);
        effects
    }

    fn state(&self, replica: usize) -> Option<ReplicaState> {
        self.replicas.get(replica).map(|replica| replica.state)
    }

    fn set(&mut self, replica: usize, state: ReplicaState) {
        if let Some(replica) = self.replicas.get_mut(replica) {
            replica.state = state;
        }
    }

    fn all_in(&self, state: ReplicaState) -> Vec<usize> {
        self.replicas.iter().enumerate().filter(|(_, replica)| replica.state == state).map(|(index, _)| index).collect()
    }

    fn any_in(&self, states: &[ReplicaState]) -> bool {
        self.replicas.iter().any(|replica| states.contains(&replica.state))
    }

    fn on_ready(&mut self, replica: usize, now_ms: u64, effects: &mut Vec<RolloutEffect>) {
        match self.state(replica) {
            Some(ReplicaState::Starting) => self.set(replica, ReplicaState::Ready),
            Some(ReplicaState::Reverting) => return self.promote(replica, ReplicaState::Returning, ReplicaState::Reverted, effects),
            _ => return,
        }
        if self.any_in(&[ReplicaState::Starting]) {
            return;
        }
        let is_first = !self.any_in(&[ReplicaState::Done, ReplicaState::Retiring]);
        if is_first && self.canary_ms > 0 {
            self.phase = RolloutPhase::Watching { until_ms: now_ms.saturating_add(self.canary_ms) };
        } else {
            self.promote_batch(effects);
        }
    }

    fn promote_batch(&mut self, effects: &mut Vec<RolloutEffect>) {
        for replica in self.all_in(ReplicaState::Ready) {
            self.promote(replica, ReplicaState::Retiring, ReplicaState::Done, effects);
        }
    }

    fn promote(&mut self, replica: usize, on_its_way: ReplicaState, done: ReplicaState, effects: &mut Vec<RolloutEffect>) {
        if self.replicas.get(replica).is_some_and(|replica| replica.in_place) {
            self.set(replica, done);
        } else {
            self.set(replica, on_its_way);
            effects.push(RolloutEffect::Promote(replica));
        }
    }

    fn on_gone(&mut self, replica: usize) {
        match self.state(replica) {
            // Another replica failed in the meantime, so this replica has to return, too.
            Some(ReplicaState::Retiring) if self.reversible && matches!(self.phase, RolloutPhase::Returning { .. }) => {
                self.set(replica, ReplicaState::ToRevert);
            }
            Some(ReplicaState::Retiring) => self.set(replica, ReplicaState::Done),
            Some(ReplicaState::Returning) => self.set(replica, ReplicaState::Reverted),
            _ => {}
        }
    }

    fn on_failed(&mut self, replica: usize, reason: String, effects: &mut Vec<RolloutEffect>) {
        match self.state(replica) {
            // A replica that failed after its promotion cannot be discarded; the restart policy
            // handles it.
            Some(ReplicaState::Starting | ReplicaState::Ready | ReplicaState::Retiring | ReplicaState::Done) => {}
            Some(ReplicaState::Reverting) => {
                // Neither release runs here, so the present process is kept.
                self.discard(replica, effects);
                return self.set(replica, ReplicaState::Done);
            }
            _ => return,
        }
        // One fault ends the rollout; a failure during the rollback changes nothing.
        if matches!(self.phase, RolloutPhase::Returning { .. }) {
            return;
        }
        self.phase = RolloutPhase::Returning { fault: RolloutFault { replica, reason } };
        for index in 0..self.replicas.len() {
            match self.replicas[index].state {
                ReplicaState::Starting | ReplicaState::Ready if self.replicas[index].in_place => {
                    self.set(index, if self.reversible { ReplicaState::ToRevert } else { ReplicaState::Failed });
                }
                ReplicaState::Starting | ReplicaState::Ready => {
                    self.discard(index, effects);
                    self.set(index, if index == replica { ReplicaState::Failed } else { ReplicaState::Waiting });
                }
                ReplicaState::Done if self.reversible => self.set(index, ReplicaState::ToRevert),
                _ => {}
            }
        }
    }

    fn discard(&mut self, replica: usize, effects: &mut Vec<RolloutEffect>) {
        if self.replicas.get(replica).is_some_and(|replica| !replica.in_place) {
            effects.push(RolloutEffect::Discard(replica));
        }
    }

    fn on_overruled(&mut self, replica: usize, effects: &mut Vec<RolloutEffect>) {
        let Some(state) = self.state(replica) else { return };
        if matches!(state, ReplicaState::Starting | ReplicaState::Ready | ReplicaState::Reverting) {
            self.discard(replica, effects);
        }
        self.set(replica, ReplicaState::TakenOver);
        // The others of its batch may have waited for this replica only.
        if matches!(self.phase, RolloutPhase::Advancing) && !self.any_in(&[ReplicaState::Starting]) {
            self.promote_batch(effects);
        }
        if matches!(self.phase, RolloutPhase::Watching { .. }) && !self.any_in(&[ReplicaState::Ready]) {
            self.phase = RolloutPhase::Advancing;
        }
    }

    fn on_tick(&mut self, now_ms: u64, effects: &mut Vec<RolloutEffect>) {
        if let RolloutPhase::Watching { until_ms } = self.phase
            && until_ms <= now_ms
        {
            self.phase = RolloutPhase::Advancing;
            self.promote_batch(effects);
        }
    }

    /// Begins the next batch if no replica is in progress; ends the rollout if none is left.
    fn begin_next_batch(&mut self, effects: &mut Vec<RolloutEffect>) {
        if self.any_in(&[ReplicaState::Starting, ReplicaState::Ready, ReplicaState::Reverting]) {
            return;
        }
        // The next batch does not wait for processes that only finish their requests; they all
        // finish in parallel. Only the end of the rollout waits.
        let somebody_goes = self.any_in(&[ReplicaState::Retiring, ReplicaState::Returning]);
        match &self.phase {
            RolloutPhase::Returning { fault } => {
                let fault = fault.clone();
                let next = self.next_batch(ReplicaState::ToRevert, self.batch);
                if next.is_empty() && !somebody_goes {
                    self.phase = RolloutPhase::Complete(RolloutOutcome::Failed(fault));
                }
                for replica in next {
                    self.set(replica, ReplicaState::Reverting);
                    effects.push(RolloutEffect::LaunchOld(replica));
                }
            }
            RolloutPhase::Advancing => {
                let is_first = !self.any_in(&[ReplicaState::Done, ReplicaState::Retiring]);
                let next = self.next_batch(ReplicaState::Waiting, if is_first { 1 } else { self.batch });
                if next.is_empty() && !somebody_goes {
                    let done = self.any_in(&[ReplicaState::Done]) || self.replicas.is_empty();
                    self.phase = RolloutPhase::Complete(if done { RolloutOutcome::Done } else { RolloutOutcome::Overruled });
                }
                for replica in next {
                    self.set(replica, ReplicaState::Starting);
                    effects.push(RolloutEffect::Launch(replica));
                }
            }
            RolloutPhase::Watching { .. } | RolloutPhase::Complete(_) => {}
        }
    }

    fn next_batch(&self, state: ReplicaState, size: u32) -> Vec<usize> {
        let mut next = self.all_in(state);
        next.truncate(size as usize);
        next
    }
}
