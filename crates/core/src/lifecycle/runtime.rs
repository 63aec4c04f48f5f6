//! The main process of a container: its output, the meaning of each signal, when it exits, and its
//! exit code.

use serde::{Deserialize, Serialize};

use crate::lifecycle::{DesiredState, ExitCause, Instance, InstanceState, ProcessEnding};

/// Form of the apps' lines on the container's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerLogFormat {
    /// As in the app's own log files.
    #[default]
    Raw,
    /// `0|api  | line`, everything on standard output.
    Labelled,
    /// `timestamp=… app=api id=0 type=out message=line`, everything on standard output.
    Pairs,
    /// One JSON object per line, everything on standard output.
    Json,
}

/// Behaviour of a runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeSpec {
    /// Form of the lines.
    pub form: ContainerLogFormat,
    /// Whether labels have colours.
    pub color: bool,
    /// Whether it keeps running after all apps have exited.
    pub stays: bool,
    /// Signals that it forwards to the main processes of all apps.
    pub forward: Vec<i32>,
    /// Signals that stop everything; a second signal stops immediately.
    pub stop: Vec<i32>,
    /// Time after which the remaining processes are killed.
    pub stop_timeout_ms: Option<u64>,
}

/// Meaning of a signal to the first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalAction {
    /// Stop everything.
    Stop,
    /// Send it to every app.
    Forward,
    /// Reopen the logs.
    ReloadLogs,
    /// Ignore it.
    Nothing,
}

/// SIGUSR2 on every supported platform.
const USR2: i32 = 12;

impl RuntimeSpec {
    /// Returns the meaning of this signal. A signal that stops is never forwarded.
    pub fn meaning(&self, signal: i32) -> SignalAction {
        match signal {
            _ if self.stop.contains(&signal) => SignalAction::Stop,
            _ if self.forward.contains(&signal) => SignalAction::Forward,
            USR2 => SignalAction::ReloadLogs,
            _ => SignalAction::Nothing,
        }
    }
}

/// State of an instance, to decide whether the runtime still has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// It runs, or will run.
    Up,
    /// It ended by itself for the last time: its exit code, or 128 + n for a signal.
    Ended(u8),
    /// A user stopped it, or it was never started.
    Down,
}

/// Returns the state of an instance. `returns`: something other than its restart policy (a
/// schedule) will start it again.
pub fn life(instance: &Instance, returns: bool) -> RunStatus {
    let rests = matches!(instance.state, InstanceState::Stopped | InstanceState::Errored | InstanceState::Gone);
    if instance.wanted == DesiredState::Up && instance.state != InstanceState::Errored || !rests {
        return RunStatus::Up;
    }
    match instance.exits.last() {
        Some(exit) if !matches!(exit.cause, ExitCause::Requested(_) | ExitCause::KilledAfterTimeout(_)) => {
            match (exit_code(exit.ending), &instance.state) {
                (_, InstanceState::Stopped) if returns => RunStatus::Up,
                // It failed repeatedly, so the exit code of the last run does not matter.
                (0, InstanceState::Errored) => RunStatus::Ended(1),
                (code, _) => RunStatus::Ended(code),
            }
        }
        _ => RunStatus::Down,
    }
}

/// Returns the exit code as a shell reports it.
pub fn exit_code(ending: ProcessEnding) -> u8 {
    match ending {
        ProcessEnding::Code(code) => u8::try_from(code & 0xff).unwrap_or(1),
        ProcessEnding::Signal { signal, .. } => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        ProcessEnding::SpawnFailed { .. } => 127,
        ProcessEnding::Unknown => 1,
    }
}

/// Result of a runtime whose apps have all exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeResult {
    /// Exit code of the runtime.
    pub code: u8,
    /// Whether a user stopped or deleted the last instance, perhaps to start another soon.
    pub by_hand: bool,
}

/// Returns the result if everything has ended. The code is the common code of the apps, or 1 if the
/// codes differ.
pub fn runtime_result(lives: impl IntoIterator<Item = RunStatus>) -> Option<RuntimeResult> {
    let (mut code, mut by_hand, mut any) = (None, false, false);
    for life in lives {
        any = true;
        match life {
            RunStatus::Up => return None,
            RunStatus::Down => by_hand = true,
            RunStatus::Ended(one) => code = Some(if code.is_none_or(|other| other == one) { one } else { 1 }),
        }
    }
    Some(RuntimeResult { code: code.unwrap_or(0), by_hand: by_hand || !any })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{ExitRecord, Origin};
    use crate::time::Now;

    #[test]
    fn exit_code_is_the_common_code_of_the_apps_or_1() {
        use RunStatus::{Down, Ended, Up};
        type Case<'a> = (&'a [RunStatus], Option<(u8, bool)>);
        let cases: [Case<'_>; 10] = [
            (&[], Some((0, true))),
            (&[Up], None),
            (&[Ended(3)], Some((3, false))),
            (&[Ended(3), Ended(3)], Some((3, false))),
            (&[Ended(0), Ended(0)], Some((0, false))),
            (&[Ended(0), Ended(3)], Some((1, false))),
            (&[Ended(3), Ended(4)], Some((1, false))),
            (&[Ended(3), Up], None),
            (&[Down], Some((0, true))),
            (&[Ended(3), Down], Some((3, true))),
        ];
        for (lives, expected) in cases {
            assert_eq!(runtime_result(lives.iter().copied()).map(|over| (over.code, over.by_hand)), expected, "{lives:?}");
        }
    }

    #[test]
    fn exit_code_of_an_ending_follows_the_shell() {
        for (ending, code) in [
            (ProcessEnding::Code(0), 0),
            (ProcessEnding::Code(255), 255),
            (ProcessEnding::Code(256 + 7), 7),
            (ProcessEnding::Signal { signal: 9, core: false }, 137),
            (ProcessEnding::Signal { signal: 64, core: true }, 192),
            (ProcessEnding::SpawnFailed { errno: 2 }, 127),
            (ProcessEnding::Unknown, 1),
        ] {
            assert_eq!(exit_code(ending), code, "{ending:?}");
        }
    }

    #[test]
    fn life_of_an_instance_depends_on_state_and_cause() {
        let now = Now { mono_ms: 1, wall_ms: 1 };
        let user = || Origin::User { command: "stop".into(), uid: 0, pid: 1, on_behalf_of: None };
        let instance = |wanted, state, cause: Option<ExitCause>| {
            let exit =
                |cause| ExitRecord { inc: 1, pid: 1, started: now, ended: now, ending: ProcessEnding::Code(5), cause, last_lines: vec![] };
            Instance { wanted, state, inc: 1, exits: cause.into_iter().map(exit).collect(), ..Instance::new(now) }
        };
        let running = InstanceState::Running { inc: 1, pid: 1, since: now };
        let by_itself = || Some(ExitCause::Itself);
        let mut gave_up = instance(DesiredState::Down, InstanceState::Errored, by_itself());
        gave_up.exits[0].ending = ProcessEnding::Code(0);
        assert_eq!(life(&gave_up, false), RunStatus::Ended(1));
        for (instance, returns, expected) in [
            (instance(DesiredState::Up, running.clone(), None), false, RunStatus::Up),
            (instance(DesiredState::Up, InstanceState::Backoff { until_ms: 9 }, by_itself()), false, RunStatus::Up),
            (instance(DesiredState::Up, InstanceState::Stopped, by_itself()), false, RunStatus::Up),
            (instance(DesiredState::Down, InstanceState::Errored, by_itself()), false, RunStatus::Ended(5)),
            (instance(DesiredState::Down, InstanceState::Errored, by_itself()), true, RunStatus::Ended(5)),
            (instance(DesiredState::Down, InstanceState::Stopped, by_itself()), false, RunStatus::Ended(5)),
            (instance(DesiredState::Down, InstanceState::Stopped, by_itself()), true, RunStatus::Up),
            (instance(DesiredState::Down, InstanceState::Stopped, Some(ExitCause::Requested(user()))), true, RunStatus::Down),
            (instance(DesiredState::Down, InstanceState::Stopped, None), false, RunStatus::Down),
            (instance(DesiredState::Down, running, None), false, RunStatus::Up),
        ] {
            assert_eq!(life(&instance, returns), expected, "{instance:?}");
        }
    }

    #[test]
    fn signal_is_mapped_to_stop_forward_or_reload_logs() {
        let spec = RuntimeSpec { forward: vec![1, 15, 12], stop: vec![15, 2], ..RuntimeSpec::default() };
        for (signal, meaning) in
            [(15, SignalAction::Stop), (1, SignalAction::Forward), (12, SignalAction::Forward), (10, SignalAction::Nothing)]
        {
            assert_eq!(spec.meaning(signal), meaning);
        }
        assert_eq!(RuntimeSpec::default().meaning(12), SignalAction::ReloadLogs);
    }
}
