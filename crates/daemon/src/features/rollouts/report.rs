//! Reports about reloads.

use std::collections::VecDeque;

use ostler_core::lifecycle::Origin;
use ostler_core::rollout::{ReplicaState, RolloutOutcome, RolloutPhase};
use ostler_proto::control::{FaultReport, Progress, ReplicaReport, RolloutReport, RolloutState};

use super::history::Release;
use super::{Rollouts, Running};
use crate::engine::{Ctx, FeatureAnswer, Input, RolloutNews};
use crate::state::store::rollouts::RolloutEnd;

impl Rollouts {
    /// Returns the reloads of one app, or of all: the past ones, then those in progress.
    pub(super) fn reports(&self, app: Option<&str>) -> Vec<RolloutReport> {
        let wanted = |name: &str| app.is_none_or(|app| app == name);
        let mut reports = Vec::new();
        for (name, list) in self.releases.iter().filter(|(name, _)| wanted(name)) {
            let current = list.iter().rposition(|release| release.end == RolloutEnd::Done);
            reports.extend(list.iter().enumerate().map(|(index, release)| past(name, release, Some(index) == current)));
            reports.extend(self.running.iter().filter(|running| running.app == *name).map(Running::report));
        }
        reports
    }

    /// Counts requests that the process of this slot did not finish. It may be the old process of a
    /// rollout.
    pub(super) fn on_cut(&mut self, ctx: &mut Ctx, id: u32, requests: u32, warning: &str) {
        let goes = |running: &&mut Running| running.replicas.iter().any(|replica| replica.going == Some(id));
        let Some(running) = self.running.iter_mut().find(goes) else { return };
        running.cut = running.cut.saturating_add(requests);
        ctx.state.journal.push(&running.record());
        running.send(&mut ctx.outbox.queue, Progress::Warning(warning.to_owned()));
    }
}

impl Running {
    /// Sends progress to the waiting caller.
    pub(super) fn send(&self, queue: &mut VecDeque<Input>, progress: Progress) {
        if let Some(ticket) = self.ticket {
            queue.push_back(Input::Answer(FeatureAnswer::Rollout { ticket, news: RolloutNews::Progress(progress) }));
        }
    }

    pub(super) fn report(&self) -> RolloutReport {
        let spec = self.replicas.first().map(|replica| &replica.new.app.spec);
        let (state, fault) = match &self.rollout.phase {
            RolloutPhase::Advancing => (RolloutState::Running, None),
            RolloutPhase::Watching { .. } => (RolloutState::Canary, None),
            RolloutPhase::Returning { fault } => (RolloutState::Returning, Some(fault)),
            RolloutPhase::Complete(RolloutOutcome::Done) => (RolloutState::Done, None),
            RolloutPhase::Complete(RolloutOutcome::Overruled) => (RolloutState::Overruled, None),
            RolloutPhase::Complete(RolloutOutcome::Failed(fault)) => (RolloutState::Failed, Some(fault)),
        };
        let fault = fault.map(|fault| FaultReport {
            id: self.replicas.get(fault.replica).map_or(0, |replica| replica.pm_id),
            reason: fault.reason.clone(),
            last_lines: self.fault_lines.clone(),
        });
        let replicas = self.replicas.iter().zip(&self.rollout.replicas);
        RolloutReport {
            app: self.app.clone(),
            release: self.release,
            version: spec.and_then(|spec| spec.version.clone()),
            script: spec.map(|spec| spec.script.clone()).unwrap_or_default(),
            command: match &self.origin {
                Origin::User { command, .. } => command.clone(),
                Origin::Policy(finding) => finding.to_string(),
                Origin::Resurrect => "resurrect".into(),
                Origin::Shutdown => "kill".into(),
            },
            started_ms: self.started.wall_ms,
            ended_ms: None,
            state,
            current: state == RolloutState::Done,
            replicas: replicas
                .map(|(replica, progress)| ReplicaReport { id: replica.pm_id, state: state_text(progress.state, progress.in_place).into() })
                .collect(),
            fault,
            cut: self.cut,
        }
    }
}

/// Returns the state of a replica in the words for users.
fn state_text(state: ReplicaState, in_place: bool) -> &'static str {
    match state {
        ReplicaState::Waiting => "waiting",
        ReplicaState::Starting => "starting",
        ReplicaState::Ready => "ready",
        ReplicaState::Retiring => "draining",
        ReplicaState::Done => "new",
        ReplicaState::Failed if in_place => "down",
        ReplicaState::Failed => "failed",
        ReplicaState::TakenOver => "left",
        ReplicaState::ToRevert | ReplicaState::Reverting | ReplicaState::Returning => "returning",
        ReplicaState::Reverted => "old",
    }
}

fn past(app: &str, release: &Release, current: bool) -> RolloutReport {
    let spec = &release.parts.app.spec;
    RolloutReport {
        app: app.to_owned(),
        release: release.number,
        version: spec.version.clone(),
        script: spec.script.clone(),
        command: release.command.clone(),
        started_ms: release.started.wall_ms,
        ended_ms: Some(release.ended.wall_ms),
        state: match release.end {
            RolloutEnd::Done => RolloutState::Done,
            RolloutEnd::Failed => RolloutState::Failed,
            RolloutEnd::Overruled => RolloutState::Overruled,
        },
        current,
        replicas: release.places.iter().map(|(id, state)| ReplicaReport { id: *id, state: state.clone() }).collect(),
        fault: release.fault.clone(),
        cut: release.cut,
    }
}
