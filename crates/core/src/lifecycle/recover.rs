//! Adoption: compares what a fresh daemon finds with the journal.

use super::origin::{Origin, PolicyName};
use super::policy::PATIENCE_MS;
use super::process::Ended;
use super::state::{AfterStop, DesiredState, Instance, InstanceState, ProcessEnding};
use super::step::StepContext;
use super::{Effect, ExitReport, Recovered};
use crate::lifecycle::stop;

/// Exit of a process that vanished without a report.
const LOST: ExitReport = ExitReport { ending: ProcessEnding::Unknown, oom: false };

impl Instance {
    pub(super) fn on_recovered(&mut self, found: Recovered, turn: &mut StepContext<'_>) {
        match found {
            Recovered::Alive { inc, pid } if inc == self.inc => self.found_alive(pid, turn),
            Recovered::Alive { inc, pid } => {
                // The protocol prevents this, but a lost or damaged journal can cause it.
                self.inc = self.inc.max(inc);
                self.adopt_unexpected(inc, pid, turn);
            }
            Recovered::Ended { inc, pid, exit } if inc == self.inc => self.found_ended(pid, &exit, turn),
            // An older incarnation that was already handled. The newest never reached the keeper,
            // or is lost with it.
            Recovered::Ended { .. } => self.found_nothing(turn),
            Recovered::Nothing => self.found_nothing(turn),
        }
    }

    fn found_alive(&mut self, found_pid: i32, turn: &mut StepContext<'_>) {
        if self.follow_again(found_pid, turn) {
            return self.repeat_request(turn);
        }
        match &mut self.state {
            InstanceState::Spawning { since, .. } => {
                let since = *since;
                self.launched(found_pid, since, true, turn);
            }
            InstanceState::Starting { .. } => self.doubt_start(turn),
            InstanceState::Completing { .. } | InstanceState::Running { .. } | InstanceState::Leaving { ended: false, .. } => {}
            InstanceState::Draining { .. } => self.repeat_request(turn),
            InstanceState::Stopping { pid, leader_gone, .. } => {
                *pid = found_pid;
                *leader_gone = false;
                self.repeat_request(turn);
            }
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Leaving { ended: true, .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => self.adopt_unexpected(self.inc, found_pid, turn),
        }
    }

    /// Bounds the wait for readiness: the previous daemon may have read `ready` and died, or the
    /// channel may be lost.
    fn doubt_start(&mut self, turn: &StepContext<'_>) {
        if let InstanceState::Starting { ready_deadline_ms, adopted, .. } = &mut self.state {
            *adopted = true;
            ready_deadline_ms.get_or_insert(turn.now.mono_ms.saturating_add(PATIENCE_MS));
        }
    }

    /// Follows the main process once more: the app had handed over, but the keeper did not get that
    /// and still reports the former process.
    fn follow_again(&mut self, found_pid: i32, turn: &mut StepContext<'_>) -> bool {
        let Some(pid) = self.pid().filter(|_| self.is_former(self.inc, found_pid)) else { return false };
        self.doubt_start(turn);
        turn.effect(Effect::Follow { inc: self.inc, pid });
        true
    }

    /// Adopts a running process of this instance that the journal does not know.
    fn adopt_unexpected(&mut self, inc: u32, pid: i32, turn: &mut StepContext<'_>) {
        let since = self.counters.last_start.unwrap_or(turn.now);
        self.state = InstanceState::Running { inc, pid, since };
        if self.wanted != DesiredState::Up || inc != self.inc {
            self.ask_to_end(Origin::policy(PolicyName::Recovery), AfterStop::Settle { automatic: true }, turn);
        }
    }

    fn found_ended(&mut self, pid: i32, exit: &ExitReport, turn: &mut StepContext<'_>) {
        if self.follow_again(pid, turn) {
            return self.repeat_request(turn);
        }
        match self.state {
            InstanceState::Spawning { inc, .. }
            | InstanceState::Starting { inc, .. }
            | InstanceState::Completing { inc, .. }
            | InstanceState::Running { inc, .. }
            | InstanceState::Leaving { inc, ended: false, .. }
            | InstanceState::Draining { inc, .. }
            | InstanceState::Stopping { inc, leader_gone: false, .. } => self.on_exited(inc, Some(pid), exit, turn),
            InstanceState::Stopping { leader_gone: true, .. } => self.sweep_again(turn),
            // The journal knows this exit; only the ack was lost. The daemon recovers hooks
            // separately.
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Leaving { ended: true, .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => {}
        }
    }

    fn found_nothing(&mut self, turn: &mut StepContext<'_>) {
        match &mut self.state {
            // The request never reached the keeper, or it failed and the answer was lost: repeat
            // it. With a lost keeper the process may even have run and exited unseen. So its
            // possible leftovers are swept first, and the next process gets a new number. Late
            // messages of the first process must not be attributed to the second.
            InstanceState::Spawning { inc, since, superseded, automatic, .. } => {
                let automatic = superseded.take().map_or(*automatic, |origin| !origin.is_user());
                let ended = Ended { inc: *inc, pid: 0, since: *since, was_ready: false };
                self.sweep_then(&ended, true, Origin::policy(PolicyName::Recovery), AfterStop::Settle { automatic }, turn);
            }
            InstanceState::Starting { inc, .. }
            | InstanceState::Completing { inc, .. }
            | InstanceState::Running { inc, .. }
            | InstanceState::Leaving { inc, ended: false, .. }
            | InstanceState::Draining { inc, .. }
            | InstanceState::Stopping { inc, leader_gone: false, .. } => {
                let inc = *inc;
                self.on_exited(inc, None, &LOST, turn);
            }
            InstanceState::Stopping { leader_gone: true, .. } => self.sweep_again(turn),
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Leaving { ended: true, .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => {}
        }
    }

    /// Sweeps once more: the result of the previous sweep is lost with the old daemon.
    fn sweep_again(&mut self, turn: &mut StepContext<'_>) {
        if let InstanceState::Stopping { inc, killed, .. } = self.state {
            turn.effect(stop::sweep(turn.policy, inc, killed));
        }
    }
}
