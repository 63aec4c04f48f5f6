//! `events`.

use ostler_core::lifecycle::{Ending, PolicyName};
use ostler_proto::event::{Cause, Event, Health, Limit, Lost, What};

use super::{data, golden_in_colours_and_ascii};
use crate::render::{View, event_line};

#[test]
fn each_event_is_printed_on_one_line() {
    let user = || Cause::User { command: "stop".into(), uid: 7, pid: 9, on_behalf_of: Some("alice".into()) };
    let status = |before: &str, after: &str| Some((before.to_owned(), after.to_owned()));
    let happened = [
        (Some(3), What::Waiting, user(), None),
        (Some(3), What::Launched { pid: 5 }, user(), status("stopped", "launching")),
        (Some(3), What::Online { pid: 5 }, Cause::App, status("launching", "online")),
        (
            Some(3),
            What::Health { state: Health::Unhealthy },
            Cause::policy(PolicyName::Health, "HTTP 503".to_owned()),
            status("online", "online"),
        ),
        (
            Some(3),
            What::LimitExceeded { limit: Limit::Memory, warning: false },
            Cause::policy(PolicyName::Memory, "uses 9 bytes".to_owned()),
            status("online", "online"),
        ),
        (
            Some(3),
            What::Exit { pid: 5, ending: Ending::Signal { signal: 11, core: true }, uptime_ms: 850 },
            Cause::App,
            status("online", "waiting restart"),
        ),
        (Some(3), What::Restarting { delay_ms: 1_500 }, Cause::policy("restart".into(), None), None),
        (Some(0), What::CouldNotStart { why: "exec".into(), errno: 2 }, Cause::System, status("launching", "errored")),
        (Some(0), What::Stopped, user(), status("stopping", "stopped")),
        (None, What::ReloadFailed { release: 2, why: "exited".into() }, Cause::policy(PolicyName::Watch, "a.js".to_owned()), None),
        (Some(0), What::Deleted, Cause::Shutdown, None),
        (None, What::Scaled { from: 1, to: 3 }, Cause::policy(PolicyName::Autoscale, "uses 90 % of a core".to_owned()), None),
        (Some(0), What::RunMissed { due_ms: data::NOW_MS - 90_000 }, Cause::policy(PolicyName::Cron, None), status("stopped", "stopped")),
        (Some(0), What::SetAside { file: Some("/h/set-aside/a.json".into()) }, Cause::policy(PolicyName::Recovery, None), None),
    ];
    let of_the_manager = [
        (What::Recovered { lost: Lost::Daemon, running: 2, ended: 1 }, Cause::policy(PolicyName::Recovery, None)),
        (What::Recovered { lost: Lost::Keeper, running: 1, ended: 0 }, Cause::policy(PolicyName::Recovery, None)),
        (What::Recovered { lost: Lost::Both, running: 0, ended: 2 }, Cause::policy(PolicyName::Recovery, None)),
        (What::Recovered { lost: Lost::All, running: 2, ended: 0 }, Cause::policy(PolicyName::Recovery, None)),
        (What::UpdateBegun, user()),
        (What::UpdateFailed { why: "exec: no\u{1b} memory".into() }, user()),
        (What::Updated { version: "1.2.3".into(), running: 2, ended: 0 }, user()),
        (What::ListSaved { instances: 2 }, user()),
    ];
    let of_an_app = happened.map(|happened| (Some("a\u{1b}pi".to_owned()), happened));
    let of_the_manager = of_the_manager.map(|(what, cause)| (None, (None, what, cause, None)));
    let events: Vec<Event> = (1..)
        .zip(of_an_app.into_iter().chain(of_the_manager))
        .map(|(seq, (app, (id, what, cause, status)))| {
            let (before, after) = status.unzip();
            Event { epoch: 1, seq, at_ms: data::NOW_MS + seq, app, id, what, cause, before, after }
        })
        .collect();
    golden_in_colours_and_ascii("events", &View::played(data::NOW_MS, None), |view| {
        events.iter().map(|event| event_line(event, view) + "\n").collect()
    });
}
