//! `events`.

use ostler_core::lifecycle::{PolicyName, ProcessEnding};
use ostler_proto::event::{Event, EventCause, EventKind, Health, LimitKind, LostProcesses};

use super::{assert_fits, data, golden_at_each_width, golden_in_colours_and_ascii, many_widths};
use crate::render::face::EventColumns;
use crate::render::{View, event_line};

/// Returns each kind of event.
fn each_kind() -> Vec<Event> {
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
        (EventKind::ClockMoved { by_ms: -10_920_000 }, EventCause::System),
    ];
    let of_an_app = happened.map(|happened| (Some("a\u{1b}pi".to_owned()), happened));
    let of_the_manager = of_the_manager.map(|(what, cause)| (None, (None, what, cause, None)));
    (1..)
        .zip(of_an_app.into_iter().chain(of_the_manager))
        .map(|(seq, (app, (id, what, cause, status)))| {
            let (before, after) = status.unzip();
            Event { epoch: 1, seq, at_ms: data::NOW_MS + seq, app, id, kind: what, cause, before, after }
        })
        .collect()
}

#[test]
fn each_event_is_printed_on_one_line() {
    let events = each_kind();
    golden_in_colours_and_ascii("events", &View::played(data::NOW_MS, None), |view| {
        events.iter().map(|event| event_line(event, view) + "\n").collect()
    });
}

/// Returns the events of an app in a crash loop, in the middle of those of another app.
fn crash_loop(app: &str) -> Vec<Event> {
    let policy = || EventCause::policy(PolicyName::Autorestart, "exited with code 1".to_owned());
    let mut kinds = Vec::new();
    for pid in 1..=16 {
        let ending = ProcessEnding::Code(1);
        kinds.push((EventKind::Exit { pid, ending, uptime_ms: 480 + u64::from(pid.cast_unsigned()) }, EventCause::App));
        if pid < 16 {
            kinds.push((EventKind::Restarting { delay_ms: 0 }, policy()));
            kinds.push((EventKind::Launched { pid: pid + 1 }, policy()));
            kinds.push((EventKind::Online { pid: pid + 1 }, policy()));
        }
    }
    kinds.push((EventKind::Errored { unstable: 16 }, EventCause::policy(PolicyName::MaxRestarts, "16 unstable restarts".to_owned())));
    let event = |(seq, (kind, cause)): (u64, (EventKind, EventCause))| Event {
        epoch: 1,
        seq,
        at_ms: data::NOW_MS - 100_000 + seq * 500,
        app: Some(app.into()),
        id: Some(9),
        kind,
        cause,
        before: None,
        after: None,
    };
    (1..).zip(kinds).map(event).collect()
}

fn compact(events: &[Event], is_each: bool, view: &View) -> String {
    let user = |uid: u32| (uid == 1000).then(|| "deploy".to_owned());
    EventColumns::default().past(&events.iter().collect::<Vec<_>>(), is_each, &user, view)
}

#[test]
fn compact_events_fit_and_match_golden_files() {
    let mut events = data::events();
    let yesterday = |mut event: Event| {
        event.at_ms -= 86_400_000;
        event
    };
    let old: Vec<Event> = events.clone().into_iter().take(3).map(yesterday).collect();
    events.splice(0..0, old);
    events.extend(crash_loop("mailer"));
    golden_at_each_width("own-events", |view| compact(&events, false, view));
    golden_at_each_width("own-events-kinds", |view| compact(&each_kind(), true, view));
}

#[test]
fn compact_events_are_never_wider_than_the_terminal() {
    let renamed = |mut events: Vec<Event>, name: &str| {
        for event in &mut events {
            event.app = event.app.as_ref().map(|_| name.to_owned());
            if let EventKind::ReloadFailed { why, .. } | EventKind::UpdateFailed { why } = &mut event.kind {
                name.clone_into(why);
            }
            event.at_ms -= if event.seq % 2 == 0 { 86_400_000 } else { 0 };
        }
        events
    };
    for name in data::hostile_names() {
        let crashes = renamed(crash_loop(&name), &name);
        let all = [renamed(each_kind(), &name), crashes.clone()].concat();
        // Only repeats differ if they are not folded, and the last of them are the longest.
        let last = &crashes[crashes.len() - 9..];
        for width in many_widths() {
            for (events, is_each) in [(all.as_slice(), false), (last, true)] {
                assert_fits(&compact(events, is_each, &View::played(data::NOW_MS, Some(width))), width);
            }
        }
    }
}

#[test]
fn repeats_are_folded_unless_each_event_is_requested() {
    let events = crash_loop("mailer");
    let view = View::played(data::NOW_MS, None);
    let folded = compact(&events, false, &view);
    assert!(folded.lines().count() == 2 && folded.contains("16 × exited with code 1 after about 489 ms, by itself, restarted each time"));
    assert_eq!(compact(&events, true, &view).lines().count(), events.len());
}

#[test]
fn requested_exits_are_marked_as_stops_and_not_as_failures() {
    let view = View::played(data::NOW_MS, None);
    let marked = |cause: EventCause| {
        let kind = EventKind::Exit { pid: 5, ending: ProcessEnding::Signal { signal: 15, core: false }, uptime_ms: 850 };
        let event =
            Event { epoch: 1, seq: 1, at_ms: data::NOW_MS, app: Some("api".into()), id: Some(0), kind, cause, before: None, after: None };
        let line = compact(&[event], true, &view);
        (line.contains('○'), line.contains('✗'))
    };
    for name in [PolicyName::Autoscale, PolicyName::Cron, PolicyName::MaxLifetime, PolicyName::Reload, PolicyName::Watch] {
        assert_eq!(marked(EventCause::policy(name.clone(), None)), (true, false), "{name}");
    }
    assert_eq!(marked(EventCause::User { command: "reload".into(), uid: 7, pid: 9, on_behalf_of: None }), (true, false));
    for name in [PolicyName::Memory, PolicyName::Health, PolicyName::Watchdog, PolicyName::Unknown("other".into())] {
        assert_eq!(marked(EventCause::policy(name.clone(), None)), (false, true), "{name}");
    }
    assert_eq!(marked(EventCause::App), (false, true));
}
