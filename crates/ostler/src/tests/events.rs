//! `events`.

use ostler_core::lifecycle::{PolicyName, ProcessEnding};
use ostler_proto::event::{Event, EventCause, EventKind, Health, LimitKind, LostProcesses};

use super::{data, golden_in_colours_and_ascii};
use crate::render::{View, event_line};

#[test]
fn each_event_is_printed_on_one_line() {
    let user = || EventCause::User { command: "stop".into(), uid: 7, pid: 9, on_behalf_of: Some("alice".into()) };
    let status = |before: &str, after: &str| Some((before.to_owned(), after.to_owned()));
    let happened = [
        (Some(3), EventKind::Waiting, user(), None),
        (Some(3), EventKind::Launched { pid: 5 }, user(), status("stopped", "launching")),
        (Some(3), EventKind::Online { pid: 5 }, EventCause::App, status("launching", "online")),
        (
            Some(3),
            EventKind::Health { state: Health::Unhealthy },
            EventCause::policy(PolicyName::Health, "HTTP 503".to_owned()),
            status("online", "online"),
        ),
        (
            Some(3),
            EventKind::LimitExceeded { limit: LimitKind::Memory, warning: false },
            EventCause::policy(PolicyName::Memory, "uses 9 bytes".to_owned()),
            status("online", "online"),
        ),
        (
            Some(3),
            EventKind::Exit { pid: 5, ending: ProcessEnding::Signal { signal: 11, core: true }, uptime_ms: 850 },
            EventCause::App,
            status("online", "waiting restart"),
        ),
        (Some(3), EventKind::Restarting { delay_ms: 1_500 }, EventCause::policy("restart".into(), None), None),
        (Some(0), EventKind::CouldNotStart { why: "exec".into(), errno: 2 }, EventCause::System, status("launching", "errored")),
        (Some(0), EventKind::Stopped, user(), status("stopping", "stopped")),
        (
            None,
            EventKind::ReloadFailed { release: 2, why: "exited".into() },
            EventCause::policy(PolicyName::Watch, "a.js".to_owned()),
            None,
        ),
        (Some(0), EventKind::Deleted, EventCause::Shutdown, None),
        (None, EventKind::Scaled { from: 1, to: 3 }, EventCause::policy(PolicyName::Autoscale, "uses 90 % of a core".to_owned()), None),
        (
            Some(0),
            EventKind::RunMissed { due_ms: data::NOW_MS - 90_000 },
            EventCause::policy(PolicyName::Cron, None),
            status("stopped", "stopped"),
        ),
        (Some(0), EventKind::SetAside { file: Some("/h/set-aside/a.json".into()) }, EventCause::policy(PolicyName::Recovery, None), None),
    ];
    let of_the_manager = [
        (EventKind::Recovered { lost: LostProcesses::Daemon, running: 2, ended: 1 }, EventCause::policy(PolicyName::Recovery, None)),
        (EventKind::Recovered { lost: LostProcesses::Keeper, running: 1, ended: 0 }, EventCause::policy(PolicyName::Recovery, None)),
        (EventKind::Recovered { lost: LostProcesses::Both, running: 0, ended: 2 }, EventCause::policy(PolicyName::Recovery, None)),
        (EventKind::Recovered { lost: LostProcesses::All, running: 2, ended: 0 }, EventCause::policy(PolicyName::Recovery, None)),
        (EventKind::UpdateBegun, user()),
        (EventKind::UpdateFailed { why: "exec: no\u{1b} memory".into() }, user()),
        (EventKind::Updated { version: "1.2.3".into(), running: 2, ended: 0 }, user()),
        (EventKind::ListSaved { instances: 2 }, user()),
    ];
    let of_an_app = happened.map(|happened| (Some("a\u{1b}pi".to_owned()), happened));
    let of_the_manager = of_the_manager.map(|(what, cause)| (None, (None, what, cause, None)));
    let events: Vec<Event> = (1..)
        .zip(of_an_app.into_iter().chain(of_the_manager))
        .map(|(seq, (app, (id, what, cause, status)))| {
            let (before, after) = status.unzip();
            Event { epoch: 1, seq, at_ms: data::NOW_MS + seq, app, id, kind: what, cause, before, after }
        })
        .collect();
    golden_in_colours_and_ascii("events", &View::played(data::NOW_MS, None), |view| {
        events.iter().map(|event| event_line(event, view) + "\n").collect()
    });
}
