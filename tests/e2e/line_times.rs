//! Receive times of lines that carry no date: two bursts with a pause, and everything that may
//! happen to log and daemon in between.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ostler_core::logs::line_times::{FileId, decode};
use ostler_sys::fs::facts::FileFacts;
use ostler_testkit::{Foreground, Home, Tmpfs, alive, kill, needs_root, set_mode, skip};
use rustix::process::Signal;
use serde_json::Value;

use crate::rotation::rotated;
use crate::setup::{home, home_as_pm2, json_lines, send_line, start_echo_app};
use crate::web::Web;

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Returns the log of the standard output of an app.
fn log_of(home: &Home, app: &str) -> PathBuf {
    home.dir().join(format!("logs/{app}-out.log"))
}

/// Returns the length up to which the times of a file are recorded.
fn recorded(home: &Home, log: &Path) -> Option<u64> {
    let FileFacts { dev, ino, born_ns, .. } = FileFacts::at(log).ok()?;
    let index = fs::read(home.dir().join("line-times").join(FileId { dev, ino, born_ns }.index_name())).ok()?;
    decode(&index).last().map(|entry| entry.length)
}

/// Waits until the times of all lines of a log are recorded.
#[track_caller]
fn wait_until_recorded(home: &Home, log: &Path) {
    home.wait_until("the lines are recorded", || recorded(home, log).is_some_and(|length| length == fs::metadata(log).unwrap().len()));
}

/// Returns a moment after all earlier lines and before all later ones. The time of the
/// first line after a rest is uncertain by up to a second.
fn moment(home: &Home) -> u64 {
    let at_ms = now_ms() + 20;
    passes(home, at_ms + 1100);
    at_ms
}

fn passes(home: &Home, at_ms: u64) {
    home.wait_until("the clock has passed that time", || now_ms() > at_ms);
}

/// Lets the app write these lines.
#[track_caller]
fn say(home: &Home, app: &str, lines: &[&str]) {
    for line in lines {
        send_line(home, app, line);
        home.wait_until("the line is in the log", || home.log(&format!("{app}-out.log")).lines().any(|seen| seen.ends_with(line)));
    }
}

/// Starts an app and lets it write a first burst. Returns a moment after it.
#[track_caller]
fn first_burst(home: &Home, options: &str) -> u64 {
    start_echo_app(home, "app", options);
    say(home, "app", &["first 1", "first 2"]);
    wait_until_recorded(home, &log_of(home, "app"));
    moment(home)
}

/// Returns the lines that `logs` shows with these options.
fn shown(home: &Home, options: &str) -> Vec<String> {
    let output = home.ok(format!("logs app --raw --nostream --lines 1000 {options}")).stdout;
    output.lines().map(str::to_owned).filter(|line| line.starts_with("first") || line.starts_with("second")).collect()
}

/// Checks that the moment divides the bursts, in all files of the log.
#[track_caller]
fn are_divided(home: &Home, at_ms: u64) {
    assert_eq!(shown(home, &format!("--since {at_ms}")), ["second 1", "second 2"]);
    assert_eq!(shown(home, &format!("--until {at_ms}")), ["first 1", "first 2"]);
}

/// Returns the lines of both bursts as objects.
fn objects(home: &Home, options: &str) -> Vec<Value> {
    let lines = json_lines(&home.ok(format!("logs app --json --nostream --lines 1000 {options}")).stdout);
    lines
        .into_iter()
        .filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with("first") || text.starts_with("second")))
        .collect()
}

fn time_ms(value: &Value) -> u64 {
    value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond().cast_unsigned()
}

#[test]
fn moment_between_two_bursts_divides_them() {
    let home = home();
    let begun_ms = now_ms();
    let at_ms = first_burst(&home, "");
    say(&home, "app", &["second 1", "second 2"]);
    are_divided(&home, at_ms);
    // Lines of the past have their times, with and without a search.
    for options in ["", "--grep s"] {
        let objects = objects(&home, options);
        let times: Vec<u64> = objects.iter().map(|object| time_ms(&object["timestamp"])).collect();
        assert!(times.is_sorted() && times.len() == 4 && times[1] < at_ms && times[2] > at_ms && times[0] > begun_ms, "{objects:?}");
        for object in objects {
            let between: Vec<u64> = object["received_between"].as_array().unwrap().iter().map(time_ms).collect();
            assert!(object["time_from"] == "received" && between[1] - between[0] <= 5000, "{object}");
        }
    }
}

#[test]
fn lines_that_the_daemon_writes_have_receive_times() {
    // A combined file has no dates, and this date cannot be read.
    for options in ["--log-date-format x", "-l both.log"] {
        let home = home();
        let at_ms = first_burst(&home, options);
        say(&home, "app", &["second 1", "second 2"]);
        let since = home.ok(format!("logs app --raw --nostream --since {at_ms}")).stdout;
        assert!(since.contains("second 1") && since.contains("second 2") && !since.contains("first"), "{options}: {since}");
    }
}

#[test]
fn stack_trace_has_the_time_of_its_message() {
    let home = home();
    start_echo_app(&home, "app", "");
    let times = |home: &Home| -> Vec<(String, Value)> {
        let lines = json_lines(&home.ok("logs app --json --nostream --out --lines 10").stdout);
        lines.iter().map(|line| (line["message"].as_str().unwrap().trim().to_owned(), line["time_from"].clone())).collect()
    };
    say(&home, "app", &["2026-11-24T10:00:00Z failed", "at once"]);
    wait_until_recorded(&home, &log_of(&home, "app"));
    let known = times(&home);
    assert!(known.contains(&("at once".into(), "line".into())), "{known:?}");
    // A line without a date that comes later does not belong to that message.
    passes(&home, now_ms() + 2500);
    say(&home, "app", &["later"]);
    let known = times(&home);
    assert!(known.contains(&("later".into(), "received".into())) && known.contains(&("at once".into(), "line".into())), "{known:?}");
}

#[test]
fn times_survive_rotation_and_compression() {
    for (compress, options) in [(false, ""), (true, ""), (true, "--log-date-format x")] {
        let home = home();
        home.ok(["multiset", &format!("log_rotate:max_size 2K log_rotate:check_interval 1 log_rotate:compress {compress}")].as_slice());
        start_echo_app(&home, "app", options);
        say_through(&home, options, "first 1");
        wait_until_recorded(&home, &log_of(&home, "app"));
        let at_ms = moment(&home);
        let end = if compress { ".gz" } else { ".log" };
        // A long line makes the log large enough.
        say_through(&home, options, &format!("second {}", "x".repeat(3000)));
        home.wait_until("it is rotated", || rotated(&home, "app-out").iter().any(|name| name.ends_with(end)));
        say_through(&home, options, "second 2");
        let words = |options: &str| -> Vec<String> {
            let objects = objects(&home, options);
            assert!(objects.iter().all(|object| object["time_from"] == "received"), "{objects:?}");
            objects.iter().map(|object| object["message"].as_str().unwrap().chars().take(8).collect()).collect()
        };
        let messages = |since: &str| if options.is_empty() { words(since) } else { dated(&home, since) };
        assert_eq!(messages(&format!("--since {at_ms}")), ["second x", "second 2"], "{compress} {options}");
        assert_eq!(messages(&format!("--until {at_ms}")), ["first 1"], "{compress} {options}");
        assert_eq!(messages("").len(), 3);
        // One index for each file.
        let files = fs::read_dir(home.dir().join("line-times")).unwrap().count();
        assert!(files <= 3, "{files} indexes");
    }
}

/// Lets the app write a line, whose form in the log may differ.
fn say_through(home: &Home, options: &str, line: &str) {
    send_line(home, "app", line);
    let expected = if options.is_empty() { line.to_owned() } else { format!("x: {line}") };
    let texts = || {
        rotated(home, "app-out").iter().filter_map(|name| crate::rotation::try_text(home, name)).collect::<String>()
            + &home.log("app-out.log")
    };
    home.wait_until("the line is in a log", || texts().lines().any(|seen| seen == expected));
}

/// Returns the beginnings of lines with a date that cannot be read.
fn dated(home: &Home, options: &str) -> Vec<String> {
    let lines = json_lines(&home.ok(format!("logs app --json --nostream --out --lines 1000 {options}")).stdout);
    let texts = lines.iter().filter_map(|line| line["message"].as_str()?.strip_prefix("x: ")).filter(|line| *line != "listening");
    texts.map(|text| text.chars().take(8).collect()).collect()
}

#[test]
fn times_survive_the_daemon() {
    let home = home();
    let at_ms = first_burst(&home, "");
    let daemon = home.daemon_pid();
    kill(daemon, Signal::KILL);
    home.wait_until("another daemon runs", || !alive(daemon) && home.run("ping").code == 0);
    say(&home, "app", &["second 1", "second 2"]);
    are_divided(&home, at_ms);
}

/// A daemon that is stopped sees nothing. Afterwards it knows an interval, and claims no more.
#[test]
fn stopped_daemon_claims_only_an_interval() {
    let home = home();
    let at_ms = first_burst(&home, "");
    passes(&home, at_ms + 2500);
    let daemon = home.daemon_pid();
    kill(daemon, Signal::STOP);
    let first_ms = moment(&home);
    say(&home, "app", &["second 1"]);
    passes(&home, now_ms() + 2500);
    say(&home, "app", &["second 2"]);
    kill(daemon, Signal::CONT);
    wait_until_recorded(&home, &log_of(&home, "app"));
    assert_eq!(home.daemon_pid(), daemon);
    for object in objects(&home, "--grep second") {
        let between: Vec<u64> = object["received_between"].as_array().unwrap().iter().map(time_ms).collect();
        assert!(between[0] <= first_ms && between[1] >= first_ms, "{object}, and not around {first_ms}");
    }
    assert_eq!(shown(&home, &format!("--since {at_ms}")), ["second 1", "second 2"]);
}

#[test]
fn flushed_log_begins_anew() {
    let home = home();
    let at_ms = first_burst(&home, "");
    home.ok("flush app");
    say(&home, "app", &["second 1", "second 2"]);
    assert_eq!(shown(&home, &format!("--since {at_ms}")), ["second 1", "second 2"]);
    assert!(shown(&home, &format!("--until {at_ms}")).is_empty());
    assert!(objects(&home, "").iter().all(|object| object["time_from"] == "received" && time_ms(&object["timestamp"]) > at_ms));
}

/// Each line has the clock's time in its text, where ostler does not look for it. Its interval
/// contains that time, over rotations, pauses and killed daemons.
#[test]
fn intervals_contain_the_true_times() {
    let home = home();
    home.ok(["multiset", "log_rotate:max_size 3K log_rotate:check_interval 1 log_rotate:retain all log_rotate:compress true"].as_slice());
    let script = home.write(
        "ticks.sh",
        "#!/bin/sh\nn=0\nwhile [ $n -lt 300 ]; do echo \"tick $n $(date +%s%3N)\"; n=$((n + 1)); [ $((n % 60)) = 0 ] && sleep 1.5; done\necho end\nexec sleep 1000\n",
    );
    home.ok(format!("start {script} --name app"));
    for _ in 0..2 {
        let lines = || objects_of(&home, "tick").len();
        let before = lines();
        home.wait_until("it writes", || lines() > before + 20);
        let daemon = home.daemon_pid();
        kill(daemon, Signal::KILL);
        home.wait_until("another daemon runs", || !alive(daemon) && home.run("ping").code == 0);
    }
    home.wait_until("it has written everything", || home.ok("logs app --raw --nostream --out --lines 1").stdout.contains("end"));
    // A file that is just being compressed or rotated may be missing.
    home.wait_until("all lines are found", || objects_of(&home, "tick").len() == 300);
    let lines: Vec<(u64, Value)> = objects_of(&home, "tick").into_iter().map(|line| (written_ms(&line), line)).collect();
    let mut exact = 0;
    for (at, (written, line)) in lines.iter().enumerate() {
        let Some(between) = line["received_between"].as_array() else { continue };
        // The line was written before the next one. The time of a file comes from a coarse clock.
        let next = lines.get(at + 1).map_or(u64::MAX, |(written, _)| *written);
        assert!(time_ms(&between[0]) <= next && time_ms(&between[1]) + 20 >= *written, "written between {written} and {next}: {line}");
        exact += usize::from(line["time_from"] == "received");
    }
    assert!(exact > 200, "{exact} of 300 times are known");
}

fn objects_of(home: &Home, word: &str) -> Vec<Value> {
    let lines = json_lines(&home.ok("logs app --json --nostream --out --lines 1000").stdout);
    lines.into_iter().filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with(word))).collect()
}

fn written_ms(line: &Value) -> u64 {
    line["message"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// As logrotate does it with the file of `ostler logrotate`.
#[test]
fn times_survive_a_rotation_by_renaming() {
    let home = home();
    let at_ms = first_burst(&home, "");
    let log = log_of(&home, "app");
    fs::rename(&log, log.with_file_name("app-out__2026-11-20_12-00-00.log")).unwrap();
    home.ok("reloadLogs");
    say(&home, "app", &["second 1", "second 2"]);
    are_divided(&home, at_ms);
    let objects = objects(&home, "");
    assert!(objects.len() == 4 && objects.iter().all(|object| object["time_from"] == "received"), "{objects:?}");
}

#[test]
fn log_truncated_by_another_program_begins_anew() {
    let home = home();
    let at_ms = first_burst(&home, "");
    let log = log_of(&home, "app");
    // As logrotate's `copytruncate` does it. The copy has no receive times, and claims none.
    fs::copy(&log, log.with_file_name("app-out__2026-11-20_12-00-00.log")).unwrap();
    fs::File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
    say(&home, "app", &["second 1", "second 2"]);
    wait_until_recorded(&home, &log);
    let objects = objects(&home, "");
    let words: Vec<&str> = objects.iter().map(|object| object["time_from"].as_str().unwrap_or("unknown")).collect();
    assert_eq!(words, ["unknown", "unknown", "received", "received"]);
    assert!(objects[0]["timestamp"].is_null() && time_ms(&objects[2]["timestamp"]) > at_ms);
}

#[test]
fn chart_click_shows_the_lines_of_that_moment() {
    let home = home();
    let at_ms = first_burst(&home, "");
    say(&home, "app", &["second 1", "second 2"]);
    let old = home.dir().join("logs/app-out__2026-11-20_12-00-00.log");
    fs::write(&old, "of unknown time\n").unwrap();
    fs::File::options().append(true).open(old).unwrap().set_modified(UNIX_EPOCH + Duration::from_millis(at_ms - 3_600_000)).unwrap();
    let web = Web::on(&home, "");
    let found = |query: &str| -> Vec<Value> { json_lines(&web.get(&format!("/api/logs/search?app=app&timed=1&{query}")).body) };
    let texts = |records: &[Value]| -> Vec<String> {
        records.iter().filter_map(|record| Some(record["hit"]["text"].as_str()?.to_owned())).collect()
    };
    let second = found(&format!("q=s&from={at_ms}&to={}", now_ms()));
    assert_eq!(texts(&second), ["second 2", "second 1"]);
    let hit = second.iter().find(|record| record["hit"].is_object()).unwrap()["hit"].clone();
    assert!(hit["time_from"] == "received" && time_ms(&hit["at"]) >= at_ms && hit["received_between"].is_array(), "{hit}");
    let first = found(&format!("q=first&from={}&to={at_ms}", at_ms - 60_000));
    assert_eq!(texts(&first), ["first 2", "first 1"]);
    let unknown = found("q=unknown&from=1000&to=9000000000000");
    assert_eq!((texts(&unknown).len(), &unknown.last().unwrap()["end"]["untimed"]), (0, &Value::from(1)));
    let past = web.get("/api/logs?app=app&lines=50").json();
    let line = past["lines"].as_array().unwrap().iter().find(|line| line["text"] == "second 2").unwrap().clone();
    assert!(line["time_from"] == "received" && time_ms(&line["at"]) >= at_ms, "{line}");
}

#[test]
fn pm2_gets_no_times_of_past_lines() {
    let home = home_as_pm2();
    start_echo_app(&home, "app", "");
    say(&home, "app", &["first 1"]);
    wait_until_recorded(&home, &home.dir().join("logs/app-out.log"));
    let follower = Foreground::open(home.cmd("logs app --json --lines 1 --out").command());
    let lines = follower.until("first 1");
    let line = lines.iter().find(|line| line.contains("first 1")).unwrap();
    let object: Value = serde_json::from_str(line.trim()).unwrap();
    assert!(object["timestamp"].is_null() && object.get("time_from").is_none(), "{object}");
}

/// The logs of an app with its own user are read with that user's rights. The index is the
/// daemon's.
#[test]
fn app_with_its_own_user_has_receive_times() {
    needs_root!();
    const USER: u32 = 54_321;
    let home = home();
    let folder = home.work().join("own");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(USER), Some(USER)).unwrap();
    set_mode(home.work(), 0o755);
    let log = folder.join("out.log");
    let script = home.write("own.sh", "#!/bin/sh\nwhile read -r line; do echo \"$line\"; done\n");
    home.ok(format!("start {script} --name own --uid {USER} --gid {USER} -o {} --no-autorestart", log.display()));
    let say = |line: &str| {
        home.ok(format!("send own {line}"));
        home.wait_until("the line is in the log", || fs::read_to_string(&log).unwrap_or_default().contains(line));
    };
    say("first");
    wait_until_recorded(&home, &log);
    let at_ms = moment(&home);
    say("second");
    let since = home.ok(format!("logs own --raw --nostream --since {at_ms}")).stdout;
    assert!(since.contains("second") && !since.contains("first"), "{since}");
    let meta = fs::metadata(home.dir().join("line-times")).unwrap();
    assert_eq!((std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::mode(&meta) & 0o777), (0, 0o700));
}

/// Without room for the index, nothing but the times is missing.
#[test]
fn full_disk_costs_only_the_times() {
    needs_root!();
    let home = home();
    let Some(disk) = Tmpfs::mount(&home.dir().join("line-times"), 16) else { skip!("no file system can be mounted") };
    let mut filler = fs::File::create(disk.path().join("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    start_echo_app(&home, "app", "");
    for line in ["first 1", "first 2"] {
        say(&home, "app", &[line]);
        passes(&home, now_ms() + 1500);
    }
    home.wait_until("it is reported", || home.daemon_log().contains("receive times of log lines are incomplete"));
    assert_eq!(home.daemon_log().matches("receive times of log lines are incomplete").count(), 1);
    assert_eq!((home.app("app").status(), home.app("app").restarts()), ("online", 0));
    assert_eq!(shown(&home, ""), ["first 1", "first 2"]);
    // With room again, times are recorded again. Lines from before may be of any time.
    drop(filler);
    fs::remove_file(disk.path().join("filler")).unwrap();
    let at_ms = moment(&home);
    say(&home, "app", &["second 1", "second 2"]);
    wait_until_recorded(&home, &log_of(&home, "app"));
    let words: Vec<Value> = objects(&home, "").iter().map(|object| object["time_from"].clone()).collect();
    assert_eq!(words, [Value::Null, Value::Null, "received".into(), "received".into()]);
    assert_eq!(shown(&home, &format!("--until {at_ms}")), ["first 1", "first 2"]);
}

#[test]
fn indexes_of_removed_logs_are_removed() {
    let home = home();
    home.ok(["multiset", "log_rotate:max_size 2K log_rotate:check_interval 1 log_rotate:retain 1"].as_slice());
    start_echo_app(&home, "app", "");
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..4 {
        say_through(&home, "", &format!("{number} {}", "x".repeat(3000)));
        home.wait_until("it is rotated", || {
            let names = rotated(&home, "app-out");
            names.len() == 1 && seen.insert(names[0].clone())
        });
    }
    home.wait_until("the index of each removed file is gone", || fs::read_dir(home.dir().join("line-times")).unwrap().count() <= 2);
}
