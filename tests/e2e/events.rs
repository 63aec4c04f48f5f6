//! `events`: what happened and why. Each event appears once, even if the test kills processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use ostler_proto::control::{ClientFrame, DaemonFrame, PROTOCOL, Request, Response};
use ostler_proto::frame::{Decoder, encode};
use ostler_testkit::{Home, KilledOnDrop, kill, needs_program};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::setup::{events, home, json_lines, start_fixture};

/// Returns the names of this app's events.
fn words(events: &[Value], app: &str) -> Vec<String> {
    let word = |event: &Value| match &event["what"] {
        Value::String(word) => word.clone(),
        Value::Object(table) => table.keys().next().unwrap().clone(),
        other => panic!("{other}"),
    };
    events.iter().filter(|event| event["app"] == app).map(word).collect()
}

fn find<'a>(events: &'a [Value], app: &str, word: &str) -> &'a Value {
    let has = |event: &&Value| event["app"] == app && (event["what"] == word || !event["what"][word].is_null());
    events.iter().rfind(has).unwrap_or_else(|| panic!("no {word} of {app}: {events:#?}"))
}

/// Returns the events of the manager itself, the oldest first.
fn of_the_manager(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["app"].is_null()).collect()
}

/// Checks that the events have consecutive numbers of one ring.
#[track_caller]
fn each_once(events: &[Value]) {
    for pair in events.windows(2) {
        assert_eq!(pair[0]["epoch"], pair[1]["epoch"], "{pair:#?}");
        assert_eq!(pair[0]["seq"].as_u64().unwrap() + 1, pair[1]["seq"].as_u64().unwrap(), "{pair:#?}");
    }
}

/// A running `events --follow --json` and its output so far.
struct Follower {
    _child: KilledOnDrop,
    lines: Arc<Mutex<String>>,
}

impl Follower {
    fn of(home: &Home) -> Self {
        let mut child = home.cmd("events --follow --json").command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(String::new()));
        let (stdout, kept) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Self { _child: KilledOnDrop(child), lines }
    }

    fn events(&self) -> Vec<Value> {
        json_lines(&self.lines.lock().unwrap())
    }
}

#[test]
fn events_name_user_and_cause() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let pid = home.app("app").pid();
    kill(pid, Signal::KILL);
    home.wait_app("app", "started again", |item| item.pid() != pid && item.status() == "online");
    home.ok("stop app");
    let list = events(&home, "");
    each_once(&list);
    assert_eq!(
        words(&list, "app"),
        ["launched", "online", "exit", "restarting", "launched", "online", "stopping", "exit", "stopped"],
        "{list:#?}"
    );
    let own = rustix::process::getuid().as_raw();
    let by = |command: &str, event: &Value| {
        let user = &event["cause"]["user"];
        user["command"] == command && user["uid"] == own && user["pid"].as_i64().unwrap() > 1
    };
    assert!(by("start", &list[0]) && by("start", &list[1]), "{list:#?}");
    let crash = &list[2];
    assert_eq!((&crash["cause"], &crash["what"]["exit"]["pid"]), (&Value::from("app"), &Value::from(pid)));
    assert_eq!((crash["before"].as_str(), crash["after"].as_str()), (Some("online"), Some("waiting restart")), "{crash}");
    for event in &list[3..6] {
        assert_eq!(event["cause"]["policy"]["name"], "autorestart", "{event}");
        assert_eq!(event["cause"]["policy"]["detail"], "killed by SIGKILL", "{event}");
    }
    assert!(list[6..].iter().all(|event| by("stop", event)), "{list:#?}");
    home.ok("events").says("was killed by SIGKILL").says("by itself").says("by the policy `autorestart`").says("by `stop` (");
}

#[test]
fn reload_and_missing_program_are_logged() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("reload app");
    home.run(format!("start {} --name lost --interpreter none --cwd /", home.write("no-program", ""))).fails();
    let list = events(&home, "");
    each_once(&list);
    let reload: Vec<String> = words(&list, "app").into_iter().filter(|word| word.starts_with("reload")).collect();
    assert_eq!(reload, ["reload_begun", "reload_done"]);
    assert_eq!(find(&list, "app", "reload_begun")["cause"]["user"]["command"], "reload");
    let failed = find(&list, "lost", "could_not_start");
    assert_eq!((&failed["cause"], &failed["after"]), (&Value::from("system"), &Value::from("errored")), "{failed}");
    home.ok("events lost").says("could not be started");
}

#[test]
fn events_are_filtered_by_app_and_time() {
    let home = home();
    start_fixture(&home, "one", "", "hold");
    start_fixture(&home, "two", "", "hold");
    assert!(words(&events(&home, "--app one"), "two").is_empty());
    assert_eq!(words(&events(&home, "one"), "one"), ["launched", "online"]);
    assert_eq!(words(&events(&home, "--since 1h two"), "two"), ["launched", "online"]);
    assert!(events(&home, "--since 0s --app 0").len() <= 2);
    home.run("events --since soon").code(2).says("--since");
    // Events of a deleted app remain.
    home.ok("delete two");
    assert!(words(&events(&home, "two"), "two").contains(&"deleted".to_owned()));
    home.ok("events all 1").says("two");
    for command in ["events nosuch", "events one --app nosuch", "events 99 --json"] {
        let output = home.run(command).code(4);
        assert!(output.stderr.contains("error: no app "), "{output}");
    }
}

/// An app that does not exist may be started later.
#[test]
fn follower_of_an_unknown_app_gets_its_later_events() {
    let home = home();
    start_fixture(&home, "one", "", "hold");
    let mut child =
        home.cmd("events --follow --json late").command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map(KilledOnDrop).unwrap();
    let mut warning = String::new();
    BufReader::new(child.0.stderr.take().unwrap()).read_line(&mut warning).unwrap();
    assert!(warning.contains("no app is named late yet"), "{warning}");
    start_fixture(&home, "late", "", "hold");
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(words(&json_lines(&line), "late"), ["launched"]);
}

#[test]
fn repeated_crashes_are_one_line() {
    let home = home();
    start_fixture(&home, "loop", "--max-restarts 5 --restart-delay 1", "exit 1");
    home.wait_status("loop", "errored");
    let folded = home.ok("events loop").says(" × exited with code 1 after about ").says("restarted each time").stdout;
    let (exits, each) = (events(&home, "loop").len(), home.ok("events loop --all").stdout);
    assert!(folded.lines().count() < exits && each.lines().count() == exits, "{folded}\n{each}");
    // New events of a follower are never folded.
    assert_eq!(home.ok("events loop --json").stdout.lines().count(), exits);
}

#[test]
fn follower_gets_each_event_once_across_daemon_death() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let follower = Follower::of(&home);
    home.wait_until("it follows", || !follower.events().is_empty());
    for round in 0..6 {
        let pid = home.app("app").pid();
        let daemon = home.daemon_pid();
        // If a process exits without a running daemon, the next daemon reports it. In the other
        // rounds the daemon dies during a restart.
        if round % 2 == 0 {
            kill(daemon, Signal::KILL);
            kill(pid, Signal::KILL);
        } else {
            kill(pid, Signal::KILL);
            kill(daemon, Signal::KILL);
        }
        home.wait_app("app", "started again", |item| item.pid() != pid && item.status() == "online");
    }
    home.ok("stop app");
    assert_complete(&home, &follower, 6);
}

#[test]
fn follower_gets_each_event_once_across_daemon_and_keeper_death() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let follower = Follower::of(&home);
    home.wait_until("it follows", || !follower.events().is_empty());
    for _ in 0..3 {
        let pid = home.app("app").pid();
        home.kill_both();
        home.wait_until("the anchor has become the keeper", || home.run("ping").all().contains("pong"));
        kill(pid, Signal::KILL);
        home.wait_app("app", "started again", |item| item.pid() != pid && item.status() == "online");
        home.kill_daemon();
    }
    home.ok("stop app");
    assert_complete(&home, &follower, 3);
}

/// Checks that the follower saw every known event, and this many crashes, each once.
#[track_caller]
fn assert_complete(home: &Home, follower: &Follower, crashes: usize) {
    home.wait_until("it knows of the end", || words(&follower.events(), "app").last().is_some_and(|word| word == "stopped"));
    let (seen, known) = (follower.events(), events(home, ""));
    each_once(&seen);
    assert_eq!(seen, known);
    let count = |word: &str| words(&seen, "app").iter().filter(|seen| *seen == word).count();
    assert_eq!((count("exit"), count("stopped")), (crashes + 1, 1), "{seen:#?}");
    assert_eq!((count("launched"), count("online")), (crashes + 1, crashes + 1), "{seen:#?}");
}

#[test]
fn event_numbers_continue_after_keeper_death_and_update() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let keeper = home.keeper_pid();
    kill(keeper, Signal::KILL);
    home.wait_until("another keeper", || home.keeper_pid() != keeper);
    home.kill_daemon();
    home.ok("restart app");
    home.ok("update");
    home.ok("stop app");
    let list = events(&home, "");
    each_once(&list);
    assert_eq!((list[0]["seq"].as_u64(), words(&list, "app").last().map(String::as_str)), (Some(1), Some("stopped")));
}

#[test]
fn next_daemon_reports_running_and_exited_apps() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    start_fixture(&home, "other", "--no-autorestart", "hold");
    start_fixture(&home, "stopped", "", "hold");
    home.ok("stop stopped");
    let newest = |what: Value| {
        home.wait_until("it is reported", || {
            let list = events(&home, "");
            each_once(&list);
            of_the_manager(&list).last().is_some_and(|event| event["what"] == what && event["cause"]["policy"]["name"] == "recovery")
        });
    };
    home.kill_daemon();
    newest(json!({ "recovered": { "lost": "daemon", "running": 2, "ended": 0 } }));
    let keeper = home.keeper_pid();
    kill(keeper, Signal::KILL);
    home.wait_until("another keeper", || home.keeper_pid() != keeper);
    newest(json!({ "recovered": { "lost": "keeper", "running": 2, "ended": 0 } }));
    home.kill_both();
    home.wait_until("the anchor has become the keeper", || home.run("ping").all().contains("pong"));
    newest(json!({ "recovered": { "lost": "both", "running": 2, "ended": 0 } }));
    // The process that exited without a daemon is counted, and has its own event.
    let (daemon, other) = (home.daemon_pid(), home.app("other").pid());
    kill(daemon, Signal::STOP);
    kill(other, Signal::KILL);
    kill(daemon, Signal::KILL);
    newest(json!({ "recovered": { "lost": "daemon", "running": 1, "ended": 1 } }));
    assert_eq!(find(&events(&home, ""), "other", "exit")["cause"], "app");
    home.ok("events").says("the daemon restarted: 1 instance keeps running, 1 had exited, by the policy `recovery`");
    assert!(of_the_manager(&events(&home, "app")).is_empty(), "it was asked for one app");
    home.kill_all_three();
    home.wait_until("a daemon answers", || home.run("list").all().contains("app"));
    newest(json!({ "recovered": { "lost": "all", "running": 1, "ended": 0 } }));
}

#[test]
fn update_resurrect_and_scale_have_causes() {
    needs_program!("sleep");
    let home = home();
    home.ok("start sleep --name app -i 2 -- 1000");
    home.ok("scale app 3");
    home.ok("save");
    home.ok("update");
    let told = |events: &[Value], what: &Value, command: &str| {
        events.iter().filter(|event| event["what"] == *what && event["cause"]["user"]["command"] == command).count()
    };
    let updated = json!({ "updated": { "version": env!("CARGO_PKG_VERSION"), "running": 3, "ended": 0 } });
    home.wait_until("the new daemon tells of it", || told(&events(&home, ""), &updated, "update") == 1);
    let list = events(&home, "");
    each_once(&list);
    for (what, command) in [
        (json!({ "scaled": { "from": 2, "to": 3 } }), "scale"),
        (json!({ "list_saved": { "instances": 3 } }), "save"),
        (json!("update_begun"), "update"),
    ] {
        assert_eq!(told(&list, &what, command), 1, "{what}: {list:#?}");
    }
    assert_eq!(of_the_manager(&list).len(), 3, "an update is no accident: {list:#?}");
    home.kill_daemon();
    home.wait_until("the next one is one", || of_the_manager(&events(&home, "")).last().unwrap()["what"]["recovered"]["lost"] == "daemon");
}

#[test]
fn dropped_events_are_counted() {
    needs_program!("sleep");
    let home = home();
    home.ok("start sleep --name app -i 20 -- 1000");
    let first = events(&home, "");
    let after = first[0].clone();
    for _ in 0..3 {
        home.ok("restart app");
    }
    let known = events(&home, "");
    each_once(&known);
    let gone = known[0]["seq"].as_u64().unwrap() - after["seq"].as_u64().unwrap() - 1;
    assert!(gone > 0 && known.len() <= 256, "{} are known, {gone} are gone", known.len());
    let position =
        |event: &Value| ostler_proto::control::Position { epoch: event["epoch"].as_u64().unwrap(), seq: event["seq"].as_u64().unwrap() };
    let mut frames = Frames::subscribe(&home, Some(position(&after)));
    assert_eq!(frames.next(), Some(Response::Missed(ostler_proto::control::MissedEntries::Count(gone))));
    for event in &known {
        let Some(Response::Happened(told)) = frames.next() else { panic!("an event is missing") };
        assert_eq!(&serde_json::to_value(told).unwrap(), event);
    }
    // The ring is lost together with all processes that held it.
    home.kill_all_three();
    home.wait_until("a daemon answers", || home.run("list").all().contains("app"));
    let mut frames = Frames::subscribe(&home, Some(position(&after)));
    assert_eq!(frames.next(), Some(Response::Missed(ostler_proto::control::MissedEntries::Unknown)));
}

#[test]
fn slow_subscriber_is_notified_and_dropped() {
    needs_program!("sleep");
    let home = home();
    home.ok("start sleep --name app -i 20 -- 1000");
    let mut frames = Frames::subscribe(&home, None);
    let memory = || std::fs::read_to_string(format!("/proc/{}/status", home.daemon_pid())).unwrap();
    let kib = |text: &str| -> u64 {
        text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").trim().parse().unwrap()
    };
    home.ok("restart app");
    let before = kib(&memory());
    // More than the socket and the daemon keep for a client that does not read.
    for _ in 0..40 {
        home.ok("restart app");
    }
    let after = kib(&memory());
    assert!(after < before + 4096, "the daemon grew from {before} to {after} KiB");
    let mut last = None;
    let dropped = loop {
        match frames.next() {
            Some(Response::Happened(event)) => {
                assert!(last.is_none_or(|last| last + 1 == event.seq), "a gap after {last:?}");
                last = Some(event.seq);
            }
            Some(Response::FellBehind) => break frames.next(),
            other => panic!("neither an event nor the notice: {other:?}"),
        }
    };
    assert_eq!(dropped, None, "the connection is open");
    home.ok("list").says("app");
}

/// Raw responses to a subscription.
struct Frames {
    stream: std::os::unix::net::UnixStream,
    decoder: Decoder,
}

impl Frames {
    fn subscribe(home: &Home, after: Option<ostler_proto::control::Position>) -> Self {
        let mut stream = home.connect("ostler.sock");
        let hello = Request::Hello { protocol: PROTOCOL, version: "test".into(), read_only: true, on_behalf_of: None };
        stream.write_all(&encode(&ClientFrame { id: 0, request: hello })).unwrap();
        stream.write_all(&encode(&ClientFrame { id: 1, request: Request::Subscribe { after } })).unwrap();
        let mut frames = Self { stream, decoder: Decoder::default() };
        assert!(matches!(frames.next(), Some(Response::Hello { .. })));
        frames
    }

    /// Returns the next response; none if the connection has closed.
    fn next(&mut self) -> Option<Response> {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(frame) = self.decoder.take::<DaemonFrame>().unwrap() {
                return Some(frame.response);
            }
            match self.stream.read(&mut chunk).unwrap() {
                0 => return None,
                n => self.decoder.push(&chunk[..n]),
            }
        }
    }
}

#[test]
fn closed_reader_stops_events_follow() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut child = home.cmd("events --follow").command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    home.wait_until("it has ended", || child.try_wait().unwrap().is_some());
}
