//! Markers between followed lines: restarts, exits and stops of the shown apps. Pure.

use std::collections::BTreeMap;

use ostler_client::words::{event_phrase, span};
use ostler_core::lifecycle::ProcessEnding;
use ostler_core::message;
use ostler_proto::event::{Event, EventCause, EventKind};

use crate::text::shown;

/// Marker, without the name of the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub app: String,
    pub id: Option<u32>,
    pub text: String,
    /// Whether the app failed.
    pub is_failure: bool,
}

/// Process of an instance, and the last process if no other has followed yet.
#[derive(Debug, Default)]
struct InstanceProcess {
    pid: Option<i32>,
    exited: Option<ExitedProcess>,
}

#[derive(Debug)]
struct ExitedProcess {
    pid: i32,
    /// How it exited, or the command that stopped it.
    how: String,
    is_failure: bool,
    is_stopped: bool,
}

/// Processes of the shown instances, as far as events have named them.
#[derive(Debug, Default)]
pub(super) struct Processes {
    instances: BTreeMap<u32, InstanceProcess>,
}

impl Processes {
    /// Adds an instance, with its process if it has one.
    pub(super) fn add(&mut self, id: u32, pid: i32) {
        let known = self.instances.entry(id).or_default();
        if known.pid.is_none() && known.exited.is_none() && pid > 0 {
            known.pid = Some(pid);
        }
    }

    /// Takes an event of a shown instance. Returns the marker that it causes.
    pub(super) fn apply(&mut self, event: &Event) -> Option<Marker> {
        let (text, is_failure) = match event.id {
            Some(id) => of_instance(self.instances.get_mut(&id)?, event)?,
            None => of_app(&event.kind)?,
        };
        Some(Marker { app: event.app.clone()?, id: event.id, text, is_failure })
    }

    /// Returns true if this instance, or one of its app, is shown.
    pub(super) fn contains(&self, id: u32) -> bool {
        self.instances.contains_key(&id)
    }
}

/// Returns the text of a marker, and whether the app failed.
fn of_instance(instance: &mut InstanceProcess, event: &Event) -> Option<(String, bool)> {
    match &event.kind {
        EventKind::Exit { pid, ending, uptime_ms } => {
            // During a reload, two processes exist. The exit of the other one is no news.
            if instance.pid.is_some_and(|known| known != *pid) {
                return None;
            }
            let exited = ExitedProcess::new(*pid, *ending, &event.cause);
            instance.pid = None;
            if event.after.as_deref() == Some("stopped") {
                return Some(exited.ended(Some(*uptime_ms)));
            }
            instance.exited = Some(exited);
            None
        }
        EventKind::Stopped => instance.exited.take().map(|exited| exited.ended(None)),
        EventKind::Launched { pid } => match instance.exited.take() {
            Some(exited) => {
                instance.pid = Some(*pid);
                Some((exited.restarted(*pid), exited.is_failure))
            }
            None if instance.pid.is_none() => {
                instance.pid = Some(*pid);
                Some((message!("started: pid {pid}", pid), false))
            }
            // A reload starts a second process.
            None => None,
        },
        EventKind::Replaced { pid } => {
            let old = instance.pid.replace(*pid).filter(|old| old != pid);
            Some((old.map_or_else(|| message!("reloaded: pid {pid}", pid), |old| message!("reloaded: pid {old} → {pid}", old, pid)), false))
        }
        EventKind::Errored { unstable } => {
            let text = match *unstable {
                0 | 1 => message!("gave up"),
                crashes => message!("gave up after {crashes} crashes", crashes),
            };
            let text = match instance.exited.take() {
                Some(exited) => message!("{text}: {exit}", text, exit = exited.how),
                None => text,
            };
            Some((text, true))
        }
        EventKind::CouldNotStart { .. } => Some((event_phrase(&event.kind), true)),
        EventKind::Deleted => Some((message!("deleted"), false)),
        _ => None,
    }
}

fn of_app(kind: &EventKind) -> Option<(String, bool)> {
    matches!(kind, EventKind::ReloadFailed { .. }).then(|| (event_phrase(kind), true))
}

impl ExitedProcess {
    fn new(pid: i32, ending: ProcessEnding, cause: &EventCause) -> Self {
        let is_own = matches!(cause, EventCause::App | EventCause::System);
        let how = match cause {
            EventCause::User { command, .. } => message!("by `{command}`", command = shown(command)),
            EventCause::Policy { name, .. } => message!("by the policy `{policy}`", policy = shown(name.word())),
            EventCause::Shutdown => message!("by the shutdown of the daemon"),
            EventCause::App | EventCause::System => match ending {
                ProcessEnding::Code(code) => message!("exit code {code}", code),
                ProcessEnding::Signal { signal, .. } => ostler_sys::process::signal::name(signal),
                ProcessEnding::Unknown | ProcessEnding::SpawnFailed { .. } => message!("exit unknown"),
            },
        };
        Self { pid, how, is_failure: is_own && ending != ProcessEnding::Code(0), is_stopped: !is_own }
    }

    fn restarted(&self, pid: i32) -> String {
        let pids = format!("pid {} → {pid}", self.pid);
        match self.is_stopped {
            true => message!("restarted {cause}: {pids}", cause = self.how, pids),
            false => message!("restarted: {exit}, {pids}", exit = self.how, pids),
        }
    }

    /// Returns the text for an exit that no start follows.
    fn ended(&self, uptime_ms: Option<u64>) -> (String, bool) {
        let text = match uptime_ms {
            _ if self.is_stopped => message!("stopped {cause}: pid {pid}", cause = self.how, pid = self.pid),
            None => message!("exited: {exit}, pid {pid}", exit = self.how, pid = self.pid),
            Some(ms) => message!("exited: {exit} after {duration}, pid {pid}", exit = self.how, duration = span(ms), pid = self.pid),
        };
        (text, self.is_failure)
    }
}

#[cfg(test)]
mod tests {
    use ostler_core::lifecycle::PolicyName;

    use super::*;

    fn user(command: &str) -> EventCause {
        EventCause::User { command: command.into(), uid: 0, pid: 9, on_behalf_of: None }
    }

    fn exit(pid: i32, ending: ProcessEnding) -> EventKind {
        EventKind::Exit { pid, ending, uptime_ms: 850 }
    }

    /// Returns the markers of these events of instance 0, whose process has pid 7.
    fn markers(events: Vec<(EventKind, EventCause, &str)>) -> Vec<String> {
        let mut processes = Processes::default();
        processes.add(0, 7);
        let event = |(kind, cause, after): (EventKind, EventCause, &str)| Event {
            epoch: 1,
            seq: 1,
            at_ms: 1,
            app: Some("shop".into()),
            id: Some(0),
            kind,
            cause,
            before: None,
            after: Some(after.to_owned()),
        };
        events.into_iter().filter_map(|row| processes.apply(&event(row))).map(|marker| marker.text).collect()
    }

    #[test]
    fn a_restart_has_one_marker_with_its_reason() {
        let code = ProcessEnding::Code;
        let policy = || EventCause::policy(PolicyName::Autorestart, "exited with code 1".to_owned());
        let (launched, online) = (|pid| EventKind::Launched { pid }, |pid| EventKind::Online { pid });
        let crash = vec![
            (exit(7, code(1)), EventCause::App, "waiting restart"),
            (EventKind::Restarting { delay_ms: 0 }, policy(), "waiting restart"),
            (launched(8), policy(), "launching"),
            (online(8), policy(), "online"),
        ];
        assert_eq!(markers(crash), ["restarted: exit code 1, pid 7 → 8"]);
        let by_user = vec![
            (EventKind::Stopping, user("restart"), "stopping"),
            (exit(7, code(0)), user("restart"), "launching"),
            (launched(8), user("restart"), "launching"),
        ];
        assert_eq!(markers(by_user), ["restarted by `restart`: pid 7 → 8"]);
        let watched = EventCause::policy(PolicyName::Watch, "a.js".to_owned());
        let watched = vec![(exit(7, code(0)), watched.clone(), "launching"), (launched(8), watched, "launching")];
        assert_eq!(markers(watched), ["restarted by the policy `watch`: pid 7 → 8"]);
        let reload = vec![
            (launched(8), user("reload"), "online"),
            (EventKind::Replaced { pid: 8 }, user("reload"), "online"),
            (exit(7, code(0)), user("reload"), "online"),
            (launched(10), user("reload"), "online"),
            (EventKind::Replaced { pid: 10 }, user("reload"), "online"),
            (exit(10, ProcessEnding::Signal { signal: 9, core: false }), EventCause::App, "waiting restart"),
            (launched(11), policy(), "launching"),
        ];
        let expected = ["reloaded: pid 7 → 8", "reloaded: pid 8 → 10", "restarted: SIGKILL, pid 10 → 11"];
        assert_eq!(markers(reload), expected);
    }

    #[test]
    fn an_end_without_restart_has_a_marker() {
        let code = ProcessEnding::Code;
        for (events, expected) in [
            (vec![(exit(7, code(0)), EventCause::App, "stopped")], "exited: exit code 0 after 850 ms, pid 7"),
            (
                vec![(exit(7, code(0)), EventCause::App, "stopping"), (EventKind::Stopped, EventCause::App, "stopped")],
                "exited: exit code 0, pid 7",
            ),
            (vec![(exit(7, code(0)), user("stop"), "stopped"), (EventKind::Stopped, user("stop"), "stopped")], "stopped by `stop`: pid 7"),
            (
                vec![(exit(7, code(1)), EventCause::App, "errored"), (EventKind::Errored { unstable: 16 }, EventCause::App, "errored")],
                "gave up after 16 crashes: exit code 1",
            ),
            (
                vec![(EventKind::CouldNotStart { why: "exec".into(), errno: 2 }, EventCause::System, "errored")],
                "could not be started: exec: No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(markers(events), [expected]);
        }
    }
}
