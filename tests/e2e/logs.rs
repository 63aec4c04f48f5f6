//! Log files and `logs`.

use std::os::unix::fs::FileTypeExt;
use std::process::Stdio;
use std::time::Duration;

use ostler_testkit::{Foreground, Home, fixture, kill, needs_program, needs_root, skip};
use rustix::process::Signal;
use serde_json::Value;

use crate::setup::{ecosystem, home, home_as_pm2, send_line, start_echo_app, start_fixture};

/// Checks the past lines and a new line, in PM2's form or in ostler's own.
fn prints_tail_and_new_lines(home: &Home, is_pm2: bool) {
    start_echo_app(home, "p", "");
    (1..=30).for_each(|i| send_line(home, "p", &format!("old {i}")));
    home.wait_log("p-out.log", "old 30");
    let follower = Foreground::open(home.cmd("logs p --lines 3").command());
    let tail = follower.until("old 30");
    assert!(tail.iter().any(|line| line.ends_with("old 28")) && !tail.iter().any(|line| line.ends_with("old 27")), "{tail:?}");
    send_line(home, "p", "new one");
    let line = follower.until("new one").pop().unwrap();
    assert!(line.ends_with("| new one") == is_pm2 && line.contains("0|p") == is_pm2, "{line:?}");
    if !is_pm2 {
        let (time, rest) = line.split_at("13:14:58.120".len());
        assert!(time.split([':', '.']).all(|part| part.parse::<u16>().is_ok()) && rest.ends_with(" p   new one"), "{line:?}");
    }
}

#[test]
fn logs_print_tail_and_then_new_lines() {
    prints_tail_and_new_lines(&home(), false);
    prints_tail_and_new_lines(&home_as_pm2(), true);
}

#[test]
fn past_lines_of_all_logs_are_ordered_by_their_times() {
    let home = home();
    for name in ["one", "two"] {
        start_fixture(&home, name, "--no-autorestart", "exit 0");
        home.wait_status(name, "stopped");
    }
    let write = |file: &str, lines: &str| home.write(&home.dir().join("logs").join(file).display().to_string(), lines);
    write("one-out.log", "2026-11-24T10:00:00Z: first\n2026-11-24T10:00:02Z: third\n    at main (/srv/one.js:1:1)\n");
    write("two-out.log", "{\"time\":1795514401000,\"msg\":\"second\"}\n");
    write("two-error.log", "2026-11-24T10:00:03Z: fourth\n");
    let lines = home.ok("logs one two --nostream").stdout;
    let has = |line: &str, parts: [&str; 3]| parts.iter().all(|part| line.contains(part));
    let expected = [
        [":00:00.000 ", "one", "   first"],
        [":00:01.000 ", "two", "second"],
        [":00:02.000 ", "one", "   third"],
        ["", "one", "    at main"],
        [":00:03.000 ", "two", " ! fourth"],
    ];
    assert_eq!(lines.lines().count(), expected.len(), "{lines}");
    assert!(lines.lines().zip(expected).all(|(line, parts)| has(line, parts)), "{lines}");
    // The date is in its own column, and is not repeated.
    assert!(!lines.contains("10:00:00Z") && !lines.contains("last 15 lines"), "{lines}");
    // `--raw` prints the lines in the same order, without any change.
    let raw = home.run("logs one two --nostream --raw");
    assert!(raw.stdout.starts_with("2026-11-24T10:00:00Z: first\n{\"time\"") && raw.stderr == "2026-11-24T10:00:03Z: fourth\n", "{raw}");
    home.ok("logs one --nostream --format").says("app=one id=0 type=out message=2026-11-24T10:00:00Z: first");
}

#[test]
fn a_restart_is_marked_between_the_lines() {
    let home = home();
    start_echo_app(&home, "p", "");
    start_echo_app(&home, "other", "");
    let pid = home.app("p").pid();
    let follower = Foreground::open(home.cmd("logs p --lines 0").command());
    let mut heard = 0;
    home.wait_until("the line is followed", || {
        send_line(&home, "p", "before");
        heard = std::iter::from_fn(|| follower.out.recv_timeout(Duration::from_millis(100)).ok()).count();
        heard > 0
    });
    kill(home.app("other").pid(), Signal::KILL);
    kill(pid, Signal::KILL);
    home.wait_app("p", "another process", |item| item.pid() != pid && item.status() == "online");
    let marker = follower.until("restarted").pop().unwrap();
    assert_eq!(marker, format!("── p restarted: SIGKILL, pid {pid} → {} ──", home.app("p").pid()));
    let again = home.app("p").pid();
    home.ok("restart p");
    let marker = follower.until("restarted").pop().unwrap();
    assert_eq!(marker, format!("── p restarted by `restart`: pid {again} → {} ──", home.app("p").pid()));
    home.ok("stop p");
    follower.until("p stopped by `stop`");
}

#[test]
fn followers_see_new_apps_truncation_and_rotation() {
    let home = home();
    start_echo_app(&home, "p", "");
    let follower = Foreground::open(home.cmd("logs --raw --lines 5").command());
    follower.until("listening");
    send_line(&home, "p", "before flush");
    follower.until("before flush");
    home.ok("flush p");
    send_line(&home, "p", "after flush");
    follower.until("after flush");
    assert_eq!(home.log("p-out.log"), "after flush\n");
    start_fixture(&home, "late", "-f", "count 1");
    follower.until("00000001");
}

#[test]
fn logs_wait_for_an_app_that_does_not_exist_yet() {
    let home = home();
    start_echo_app(&home, "p", "");
    let follower = Foreground::open(home.cmd("logs p late --raw").command());
    follower.until("listening");
    send_line(&home, "p", "the other one is shown");
    follower.until("the other one is shown");
    start_fixture(&home, "late", "-f", "count 1");
    follower.until("00000001");
    home.run("logs nothing --since 1h --until 1m").code(4);
}

#[test]
fn nostream_exits_and_accepts_namespaces() {
    let home = home();
    start_echo_app(&home, "p", "--namespace red");
    send_line(&home, "p", "in red");
    home.wait_log("p-out.log", "in red");
    home.ok("logs red --nostream").says("in red");
    home.ok("logs /^p/ --nostream").says("in red");
    home.ok("logs 0 --nostream").says("in red");
    home.run("logs nothing --nostream").code(4);
}

#[test]
fn followed_lines_are_valid_json() {
    let home = home();
    start_echo_app(&home, "p", "");
    let follower = Foreground::open(home.cmd("logs p --json").command());
    let mut found = None;
    // Without a tail the test cannot know when following begins, so it repeats the line until it
    // appears.
    home.wait_until("the line is followed", || {
        send_line(&home, "p", "a \"quoted\" line");
        let lines = std::iter::from_fn(|| follower.out.recv_timeout(Duration::from_millis(200)).ok());
        let values = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap_or_else(|_| panic!("not JSON: {line:?}")));
        found = values.take(20).find(|value| value["message"].as_str().is_some_and(|text| text.contains("quoted")));
        found.is_some()
    });
    let line = found.unwrap();
    assert_eq!((&line["type"], &line["app_name"], &line["process_id"]), (&"out".into(), &"p".into(), &0.into()));
}

#[test]
fn log_date_format_prefixes_every_line() {
    let home = home();
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "d", "script": "{}", "args": "lines 500 0 40", "autorestart": false, "log_date_format": "YYYY-MM-DD HH:mm:ss.SSS Z""#,
            fixture()
        ),
    );
    home.ok(format!("start {file}"));
    home.wait_log("d-out.log", "00000500 ");
    home.wait_until("the last line is whole", || home.log("d-out.log").ends_with('\n'));
    let log = home.log("d-out.log");
    assert_eq!(log.lines().count(), 500);
    for (line, number) in log.lines().zip(1..) {
        let (date, text) = line.split_at("2026-11-21 03:58:11.123 +00:00".len());
        assert!(date.starts_with("20") && date.ends_with("+00:00") && text.starts_with(&format!(": {number:08} ")), "{line:?}");
    }
}

#[test]
fn log_type_json_writes_one_object_per_line() {
    let home = home();
    let file = ecosystem(
        &home,
        &format!(r#""name": "j", "script": "{}", "args": "lines 300 0 40", "autorestart": false, "log_type": "json""#, fixture()),
    );
    home.ok(format!("start {file}"));
    home.wait_until("all lines are there", || home.log("j-out.log").lines().count() == 300);
    for (line, number) in home.log("j-out.log").lines().zip(1..) {
        let value: Value = serde_json::from_str(line).unwrap();
        assert!(value["message"].as_str().unwrap().starts_with(&format!("{number:08}")), "{line}");
        assert_eq!((&value["type"], &value["app_name"], &value["process_id"]), (&"out".into(), &"j".into(), &0.into()));
    }
    home.wait_log("j-error.log", "\"err\"");
}

/// Joins the objects of a JSON log into one text per line of the app.
fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (mut whole, mut open) = (Vec::new(), String::new());
    for line in lines {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {}", &line[..line.len().min(200)]));
        open.push_str(object["message"].as_str().unwrap());
        if object["partial"] != true {
            whole.push(std::mem::take(&mut open));
        }
    }
    assert_eq!(open, "");
    whole
}

#[test]
fn three_megabyte_line_stays_one_line() {
    let home = home();
    let script = home.write("long.sh", "#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' '\"'\necho\necho next\nexec sleep 1000\n");
    let expected = ["\"".repeat(3_000_000), "next".to_owned()];
    for (name, options) in [("plain", ""), ("dated", "--time"), ("json", "--log-type json")] {
        home.ok(format!("start {script} -f --name {name} {options}"));
        home.wait_log(&format!("{name}-out.log"), "next");
        let log = home.log(&format!("{name}-out.log"));
        match name {
            "json" => assert!(joined(log.lines()) == expected, "{name}"),
            _ => assert_eq!(log.lines().count(), 2, "{name}"),
        }
    }
    let raw = home.ok("logs plain --raw --nostream --out --lines 2").stdout;
    assert!(raw.lines().any(|line| line == expected[0]), "no newline is added");
    let labelled = home.ok("logs plain --nostream --out --lines 2").stdout;
    assert!(labelled.lines().any(|line| line.ends_with(&expected[0])), "nor here");
    for name in ["plain", "json"] {
        let json = home.ok(format!("logs {name} --json --nostream --out --lines 20")).stdout;
        assert!(joined(json.lines()) == expected, "{name}");
    }
}

#[test]
fn combined_merged_and_custom_log_files_are_written() {
    let home = home();
    let script = home.write("both.sh", "#!/bin/sh\necho to out $NODE_APP_INSTANCE\necho to err >&2\nexec sleep 1000\n");
    let dir = home.work().join("new/logs/here").to_string_lossy().into_owned();
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "m", "script": "{script}", "instances": 2, "exec_mode": "fork", "merge_logs": true,
            "out_file": "{dir}/o.log", "error_file": "new/e.log", "log_file": "{dir}/all.log""#
        ),
    );
    home.ok(format!("start {file}"));
    home.wait_file("new/logs/here/o.log", "to out 0");
    home.wait_file("new/logs/here/o.log", "to out 1");
    home.wait_until("errors are merged", || home.read("new/e.log") == "to err\nto err\n");
    home.wait_until("all is in the combined file", || home.read("new/logs/here/all.log").lines().count() == 4);
}

#[test]
fn disabled_logs_create_no_file() {
    let home = home();
    start_fixture(&home, "null", "-o /dev/null -e /dev/null", "report");
    start_fixture(&home, "off", "-f --disable-logs", "hold");
    assert_eq!(home.app("null").text("pm_out_log_path"), "/dev/null");
    home.ok("restart all");
    assert!(!home.dir().join("logs/off-out.log").exists() && !home.dir().join("logs/null-out.log").exists());
    home.ok("flush");
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device(), "flush replaced /dev/null");
}

/// Checks that the daemon's own log has both lines of the app, each once.
fn has_lines_once(home: &Home, name: &str) {
    for stream in ["out", "err"] {
        let line = format!("{stream} of {name}");
        let log = || home.daemon_log();
        home.wait_until(&format!("{line} is in the log"), || log().contains(&line));
        assert_eq!(log().matches(&line).count(), 1, "{}", log());
    }
}

#[test]
fn dev_stdout_of_background_daemon_is_its_log() {
    let home = home();
    let script = home.write("both.sh", "#!/bin/sh\necho out of $1\necho err of $1 >&2\nexec sleep 1000\n");
    let paths = [("/dev/stdout", "/dev/stderr"), ("/proc/self/fd/1", "/proc/self/fd/2"), ("/dev/fd/1", "/dev/stdout")];
    // The caller's own output is a pipe here.
    for (number, (out, error)) in paths.into_iter().enumerate() {
        for (kind, option) in [("direct", ""), ("piped", "--time")] {
            let name = format!("{kind}{number}");
            home.ok(format!("start {script} -f --name {name} {option} -o {out} -e {error} -- {name}"));
            has_lines_once(&home, &name);
        }
    }
    // The follower's own output is a file: it must not follow itself.
    let file = std::fs::File::create(home.work().join("seen")).unwrap();
    let mut follower = home.cmd("logs --raw").command().stdout(file).spawn().unwrap();
    home.wait_file("seen", "out of piped2");
    start_fixture(&home, "more", "-f", "count 5");
    home.wait_file("seen", "00000005");
    drop(follower.kill());
    drop(follower.wait());
    assert_eq!(home.read("seen").matches("00000005").count(), 1);
    home.ok("flush direct0");
    assert!(home.daemon_log().contains("out of direct0"), "flush of an app emptied the daemon's log");
}

#[test]
fn dev_stdout_of_daemon_started_from_terminal_is_its_log() {
    needs_program!("script");
    let home = home();
    let app = home.write("both.sh", "#!/bin/sh\necho out of $1\necho err of $1 >&2\nexec sleep 1000\n");
    let command = home.cmd(format!("start {app} --name t -o /dev/stdout -e /dev/stderr -- t")).command();
    let words: Vec<String> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy().into()).collect();
    let mut terminal = std::process::Command::new("script");
    terminal.args(["-qec", &words.join(" "), "/dev/null"]).env_clear();
    terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(home.work());
    // The terminal closes with the command.
    assert!(terminal.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success());
    has_lines_once(&home, "t");
    home.ok("restart t");
    home.wait_status("t", "online");
}

#[test]
fn logs_can_go_to_the_output_of_process_1() {
    needs_root!();
    let home = home();
    let app = home.write("both.sh", "#!/bin/sh\necho out of $1\necho err of $1 >&2\nexec sleep 1000\n");
    let start = |name: &str, option: &str| {
        let command = home.cmd(format!("start {app} -f --name {name} {option} -o /proc/1/fd/1 -e /proc/1/fd/2 -- {name}")).command();
        let words: Vec<String> =
            std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy().into()).collect();
        words.join(" ")
    };
    // A container whose process 1 is a shell. Some shells redirect their own descriptors for a
    // command, but not in a subshell.
    let script = format!("({} >&3 2>&3)\n({} >&3 2>&3)\nexec sleep 1000\n", start("direct", ""), start("piped", "--time"));
    let inside = home.write("init.sh", format!("#!/bin/sh\nexec 3>>{}\n{script}", home.work().join("cli").display()));
    let any = home.cmd("ping").command();
    let mut container = std::process::Command::new("unshare");
    container.args(["--pid", "--fork", "--kill-child", "--mount-proc", &inside]).env_clear();
    container.envs(any.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(home.work());
    let file = |name: &str| std::fs::File::create(home.work().join(name)).unwrap();
    let mut container = container.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
    home.wait_until("both apps have said it, or there are no containers", || {
        (home.read("stdout").contains("out of piped") && home.read("stderr").contains("err of piped"))
            || container.try_wait().unwrap().is_some()
    });
    let no_containers = container.try_wait().unwrap().is_some();
    let (out, error) = (home.read("stdout"), home.read("stderr"));
    drop(container.kill());
    drop(container.wait());
    if no_containers {
        skip!("this machine does not permit containers: {error}");
    }
    for name in ["direct", "piped"] {
        assert_eq!(out.matches(&format!("out of {name}")).count(), 1, "{out}");
        assert_eq!(error.matches(&format!("err of {name}")).count(), 1, "{error}");
    }
}

#[test]
fn reload_logs_reopens_a_renamed_file() {
    let home = home();
    start_echo_app(&home, "p", "--time");
    send_line(&home, "p", "first");
    home.wait_log("p-out.log", "first");
    let log = home.dir().join("logs/p-out.log");
    std::fs::rename(&log, log.with_extension("log.1")).unwrap();
    home.ok("reloadLogs");
    send_line(&home, "p", "second");
    home.wait_log("p-out.log", "second");
    assert!(!home.log("p-out.log").contains("first") && home.log("p-out.log.1").contains("first"));
}
