//! What is told about reloads.

use ostler_core::lifecycle::Origin;
use ostler_core::rollout::{Outcome, Phase, PlaceState};
use ostler_proto::control::{FaultReport, PlaceReport, Progress, RolloutReport, RolloutState};

use super::Running;
use super::history::{End, Release};
use crate::control::Control;
use crate::store::Record;

impl Control {
    /// Reloads of one app, or of all: the remembered ones, then those under way.
    pub(crate) fn rollout_reports(&self, app: Option<&str>) -> Vec<RolloutReport> {
        let wanted = |name: &str| app.is_none_or(|app| app == name);
        let mut reports = Vec::new();
        for (name, list) in self.rollouts.releases.iter().filter(|(name, _)| wanted(name)) {
            let current = list.iter().rposition(|release| release.end == End::Done);
            reports.extend(list.iter().enumerate().map(|(index, release)| past(name, release, Some(index) == current)));
            reports.extend(self.rollouts.running.iter().filter(|running| running.app == *name).map(|running| self.report(running)));
        }
        reports
    }

    pub(super) fn report(&self, running: &Running) -> RolloutReport {
        let spec = running.lanes.first().map(|lane| &lane.new.app.spec);
        let (state, fault) = match &running.rollout.phase {
            Phase::Advancing => (RolloutState::Running, None),
            Phase::Watching { .. } => (RolloutState::Canary, None),
            Phase::Returning { fault } => (RolloutState::Returning, Some(fault)),
            Phase::Over(Outcome::Done) => (RolloutState::Done, None),
            Phase::Over(Outcome::Overruled) => (RolloutState::Overruled, None),
            Phase::Over(Outcome::Failed(fault)) => (RolloutState::Failed, Some(fault)),
        };
        let fault = fault.map(|fault| FaultReport {
            id: running.lanes.get(fault.place).map_or(0, |lane| lane.pm_id),
            reason: fault.reason.clone(),
            last_lines: running.fault_lines.clone(),
        });
        let places = running.lanes.iter().zip(&running.rollout.places);
        RolloutReport {
            app: running.app.clone(),
            release: running.release,
            version: spec.and_then(|spec| spec.version.clone()),
            script: spec.map(|spec| spec.script.clone()).unwrap_or_default(),
            command: match &running.origin {
                Origin::User { command, .. } => command.clone(),
                Origin::Policy(name) => name.clone(),
                Origin::Resurrect => "resurrect".into(),
                Origin::Shutdown => "kill".into(),
            },
            started_ms: running.started.wall_ms,
            ended_ms: None,
            state,
            current: state == RolloutState::Done,
            places: places.map(|(lane, place)| PlaceReport { id: lane.pm_id, state: word(place.state, place.in_place).into() }).collect(),
            fault,
            cut: running.cut,
        }
    }

    /// So many requests were not finished by the process of this slot; it may be the old one of a reload.
    pub(crate) fn tell_cut(&mut self, id: u32, cut: u32, warning: &Progress) {
        let goes = |running: &&mut Running| running.lanes.iter().any(|lane| lane.going == Some(id));
        let Some(running) = self.rollouts.running.iter_mut().find(goes) else { return };
        running.cut = running.cut.saturating_add(cut);
        let (number, record) = (running.number, Record::Rollout(Box::new(running.record())));
        self.ctx.journal.push(&record);
        self.tell_rollout(number, warning.clone());
    }
}

/// A place as users see it.
fn word(state: PlaceState, in_place: bool) -> &'static str {
    match state {
        PlaceState::Waiting => "waiting",
        PlaceState::Starting => "starting",
        PlaceState::Ready => "ready",
        PlaceState::Retiring => "draining",
        PlaceState::Done => "new",
        PlaceState::Failed if in_place => "down",
        PlaceState::Failed => "failed",
        PlaceState::Left => "left",
        PlaceState::ToRevert | PlaceState::Reverting | PlaceState::Returning => "returning",
        PlaceState::Reverted => "old",
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
            End::Done => RolloutState::Done,
            End::Failed => RolloutState::Failed,
            End::Overruled => RolloutState::Overruled,
        },
        current,
        places: release.places.iter().map(|(id, state)| PlaceReport { id: *id, state: state.clone() }).collect(),
        fault: release.fault.clone(),
        cut: release.cut,
    }
}
