//! `events`.

use ostler_core::lifecycle::{Ending, PolicyName};
use ostler_proto::event::{Cause, Event, Health, Limit, What};

use super::{data, golden_in_colours_and_ascii};
use crate::render::{View, event_line};

#[test]
fn one_line_each() {
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
    ];
    let events: Vec<Event> = (1..)
        .zip(happened)
        .map(|(seq, (id, what, cause, status))| {
            let (before, after) = status.unzip();
            Event { epoch: 1, seq, at_ms: data::NOW_MS + seq, app: "a\u{1b}pi".into(), id, what, cause, before, after }
        })
        .collect();
    golden_in_colours_and_ascii("events", &View::played(data::NOW_MS, None), |view| {
        events.iter().map(|event| event_line(event, view) + "\n").collect()
    });
}
