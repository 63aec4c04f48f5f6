//! The apps' lines as `runtime` prints them.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::Stdio;

use ostler_testkit::{Home, fixture, kill, process_table};
use rustix::process::Signal;
use serde_json::Value;

use crate::setup::{apps_file, home, runtime};

/// Writes to both streams, and exits.
fn speaker(home: &Home) -> String {
    home.write("speaker.sh", "#!/bin/sh\necho to out\necho to err >&2\n")
}

/// Returns the lines without the daemon's own lines.
fn of_apps(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).filter(|line| !line.contains(": PM2 log: ")).collect()
}

#[test]
fn line_formats_match_pm2() {
    let home = home();
    let words = format!("{} --no-autorestart", speaker(&home));
    for form in ["", " --raw"] {
        let ended = runtime(&home, &format!("{words}{form}")).end(&home);
        assert_eq!((of_apps(&ended.out), of_apps(&ended.err)), (vec!["to out"], vec!["to err"]), "{form}");
    }
    let mut ended = runtime(&home, &format!("{words} --formatted")).end(&home);
    ended.out.sort();
    assert_eq!((of_apps(&ended.out), of_apps(&ended.err)), (vec!["0|speaker  | to err", "0|speaker  | to out"], vec![]));

    let ended = runtime(&home, &format!("{words} --format")).end(&home);
    let pair = |kind: &str, text: &str| {
        let line = ended.out.iter().find(|line| line.contains(&format!(" type={kind} "))).unwrap();
        let (date, rest) = line.strip_prefix("timestamp=").unwrap().split_once(' ').unwrap();
        assert_eq!((date.len(), rest), (24, format!("app=speaker id=0 type={kind} message={text}").as_str()));
    };
    pair("out", "to out");
    pair("error", "to err");

    let ended = runtime(&home, &format!("{words} --json")).end(&home);
    let objects = |lines: &[String]| lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    let lines = objects(&ended.out);
    assert_eq!(lines.len(), 2);
    for (kind, text) in [("out", "to out"), ("err", "to err")] {
        let line = lines.iter().find(|line| line["type"] == kind).unwrap();
        assert_eq!((&line["message"], &line["process_id"], &line["app_name"]), (&text.into(), &0.into(), &"speaker".into()));
    }
    let events: Vec<_> = objects(&ended.err).into_iter().filter(|object| object["type"] == "process_event").collect();
    assert!(["online", "exit"].iter().all(|status| events.iter().any(|event| event["status"] == *status)), "{events:?}");
}

/// Raw lines equal those of the log files: with their date, or as JSON, if the app is configured
/// for it.
#[test]
fn raw_lines_equal_the_log_files() {
    let home = home();
    let script = speaker(&home);
    let file = apps_file(
        &home,
        &[&format!(
            "{{\"name\": \"a\", \"script\": \"{script}\", \"autorestart\": false, \"log_date_format\": \"[D]\"}}, \
             {{\"name\": \"b\", \"script\": \"{script}\", \"autorestart\": false, \"log_type\": \"json\"}}, \
             {{\"name\": \"c\", \"script\": \"{script}\", \"autorestart\": false, \"out_file\": \"/dev/null\"}}"
        )],
    );
    let ended = runtime(&home, &file).end(&home);
    let mut out = of_apps(&ended.out);
    out.sort_unstable();
    assert_eq!((out[0], out[1]), ("D: to out", "to out"), "{out:?}");
    assert!(out[2].starts_with("{\"message\":\"to out\"") && out.len() == 3, "{out:?}");
    assert_eq!(home.log("a-out.log"), "D: to out\n");
    assert!(home.log("b-error.log").starts_with("{\"message\":\"to err\""));
    assert!(!home.dir().join("logs/c-out.log").exists());
}

#[test]
fn log_file_that_is_container_output_is_written_once() {
    let home = home();
    for (out, error) in [("/proc/1/fd/1", "/proc/1/fd/2"), ("/dev/stdout", "/dev/stderr"), ("/proc/self/fd/1", "/proc/self/fd/2")] {
        for more in ["", ", \"instances\": 2", ", \"log_date_format\": \"[D]\"", ", \"log_file\": \"/dev/stdout\""] {
            let file = apps_file(
                &home,
                &[&format!(
                    "{{\"name\": \"a\", \"script\": \"{}\", \"args\": \"lines 300 0 6000\", \"autorestart\": false, \
                     \"out_file\": \"{out}\", \"error_file\": \"{error}\"{more}}}",
                    fixture()
                )],
            );
            let ended = runtime(&home, &file).end(&home);
            let (lines, errors) = (of_apps(&ended.out), of_apps(&ended.err));
            let count = if more.contains("instances") { 2 } else { 1 };
            assert_eq!((ended.code, lines.len(), errors.len()), (0, 300 * count, count), "{out} {more}: {errors:?}");
            assert!(lines.iter().all(|line| line.ends_with('x') && line.trim_start_matches("D: ").len() >= 5990), "{out} {more}");
            assert!(errors.iter().all(|line| line.ends_with("last words")), "{errors:?}");
        }
    }
    assert!(std::fs::read_dir(home.dir().join("logs")).map_or(0, Iterator::count) == 0, "no log file beside it");
}

/// Swapped streams, and together with other formats.
#[test]
fn streams_can_be_swapped_with_any_format() {
    let home = home();
    let script = speaker(&home);
    let members =
        format!("{{\"script\": \"{script}\", \"autorestart\": false, \"out_file\": \"/dev/stderr\", \"error_file\": \"/proc/1/fd/1\"}}");
    let ended = runtime(&home, &apps_file(&home, &[&members])).end(&home);
    assert_eq!((of_apps(&ended.out), of_apps(&ended.err)), (vec!["to err"], vec!["to out"]));
    let ended = runtime(&home, &format!("{script} --no-autorestart --formatted -o /dev/stdout -e /dev/stderr")).end(&home);
    assert_eq!((of_apps(&ended.out), of_apps(&ended.err)), (vec!["0|speaker  | to out"], vec!["0|speaker  | to err"]));
}

#[test]
fn no_line_is_lost_at_exit() {
    let home = home();
    let app = format!("\"script\": \"{}\", \"args\": \"lines 20000 1\", \"autorestart\": false", fixture());
    let file = apps_file(&home, &[&format!("{{\"name\": \"a\", {app}}}, {{\"name\": \"b\", {app}}}")]);
    for form in ["", "--json", "--formatted"] {
        let ended = runtime(&home, &format!("{file} {form}")).end(&home);
        assert_eq!((ended.code, of_apps(&ended.out).iter().filter(|line| line.contains("xxxx")).count()), (1, 40_000), "{form}");
    }
    // A single app writes to the container's output directly.
    let ended = runtime(&home, &format!("{} --no-autorestart -- lines 20000 1", fixture())).end(&home);
    assert_eq!((ended.code, ended.out.len(), of_apps(&ended.err)), (1, 20_000, vec!["last words"]));
}

/// Returns true if this process waits for the reader of a pipe.
fn waits_for_a_pipe(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|at| at.contains("pipe"))
}

/// Returns true if the pipe of this output is full. The number of bytes depends on their pieces:
/// each page that a write could not fill counts as a full page.
fn is_full(output: &std::process::ChildStdout) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let writes = std::fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", output.as_raw_fd())).unwrap();
    poll(&mut [PollFd::new(&writes, PollFlags::OUT)], Some(&rustix::time::Timespec::default())).unwrap() == 0
}

/// A reader that does not read only makes the app wait. When everything stops, ostler does not wait
/// for the reader.
#[test]
fn slow_reader_blocks_only_the_app() {
    let home = home();
    let app = format!("\"script\": \"{}\", \"autorestart\": false", fixture());
    let file = apps_file(
        &home,
        &[&format!("{{\"name\": \"a\", {app}, \"args\": \"flood 300000\"}}, {{\"name\": \"b\", {app}, \"args\": \"hold\"}}")],
    );
    let mut command = home.cmd(format!("runtime {file} --formatted")).command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    home.wait_until("it listens", || home.dir().join("ostler.sock").exists());
    home.wait_status("b", "online");
    let (flood, log) = (home.app("a").pid(), home.dir().join("logs/a-out.log"));
    let written = || std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let waits = || waits_for_a_pipe(flood);
    home.wait_until("the app waits", || {
        waits() && written() > 0 && {
            let before = written();
            home.ok("ping");
            before == written()
        }
    });
    // The daemon does not wait: it executes commands.
    home.ok("restart b");
    let (mut stdout, home_dir) = (child.stdout.take().unwrap(), home.dir().to_owned());
    let mut seen = 0;
    let mut piece = vec![0; 1 << 16];
    while seen < 300_000 {
        let count = stdout.read(&mut piece).unwrap();
        assert!(count > 0, "{seen} lines; {}", home_dir.display());
        seen += piece[..count].iter().filter(|byte| **byte == b'\n').count();
    }
    kill(i32::try_from(child.id()).unwrap(), Signal::TERM);
    drop(stdout);
    home.wait_until("it ends", || child.try_wait().unwrap().is_some());
}

#[test]
fn reader_that_never_reads_does_not_delay_exit() {
    let home = home();
    let app = format!("\"script\": \"{}\", \"args\": \"flood 3000000\"", fixture());
    let file = apps_file(&home, &[&format!("{{\"name\": \"a\", {app}}}, {{\"name\": \"b\", {app}}}")]);
    let mut command = home.cmd(format!("runtime {file}")).command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    home.wait_until("it listens", || home.dir().join("ostler.sock").exists());
    home.wait_status("a", "online");
    kill(i32::try_from(child.id()).unwrap(), Signal::TERM);
    home.wait_until("it ends", || child.try_wait().unwrap().is_some());
    assert_eq!(home.processes(), []);
}

/// Both apps share the output. The second app holds the lock of the output while it waits for room,
/// and the first app waits for the lock. The daemon waits for the first app first.
#[test]
fn full_shared_output_does_not_delay_exit() {
    let home = home();
    let go = home.work().join("go");
    let said = home.work().join("said");
    let script = home.write(
        "late.sh",
        format!(
            "#!/bin/sh\nwhile [ ! -e '{}' ]; do sleep 0.02; done\necho line\n: > '{}'\nexec sleep 1000\n",
            go.display(),
            said.display()
        ),
    );
    let file = apps_file(
        &home,
        &[&format!(
            "{{\"name\": \"a\", \"script\": \"{script}\"}}, {{\"name\": \"b\", \"script\": \"{}\", \"args\": \"flood 3000000\"}}",
            fixture()
        )],
    );
    let mut command = home.cmd(format!("runtime {file}")).command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    home.wait_until("it listens", || home.dir().join("ostler.sock").exists());
    home.wait_status("b", "online");
    let (output, flood) = (child.stdout.as_ref().unwrap(), home.app("b").pid());
    home.wait_until("the output is full", || is_full(output) && waits_for_a_pipe(flood));
    std::fs::write(&go, "").unwrap();
    home.wait_until("the other has a line", || said.exists());
    kill(i32::try_from(child.id()).unwrap(), Signal::TERM);
    home.wait_until("it ends", || child.try_wait().unwrap().is_some());
    assert_eq!(home.processes(), []);
}

#[test]
fn closed_output_does_not_stop_the_apps() {
    let home = home();
    let script = home.write("chatty.sh", "#!/bin/sh\nwhile :; do echo line; echo line >&2; sleep 0.01; done\n");
    let file =
        apps_file(&home, &[&format!("{{\"name\": \"a\", \"script\": \"{script}\"}}, {{\"name\": \"b\", \"script\": \"{script}\"}}")]);
    let mut command = home.cmd(format!("runtime {file}")).command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    home.wait_log("a-out.log", "line");
    drop((child.stdout.take(), child.stderr.take()));
    let lines = || home.log("a-out.log").lines().count();
    let before = lines();
    home.wait_until("it goes on", || lines() > before + 20);
    assert_eq!((home.app("a").restarts(), home.app("b").restarts()), (0, 0));
    let complaints = home.daemon_log().matches("no process reads").count();
    assert!(complaints <= 4, "told once per stream, not {complaints} times");
    kill(i32::try_from(child.id()).unwrap(), Signal::TERM);
    home.wait_until("it ends", || child.try_wait().unwrap().is_some());
    assert_eq!(home.processes(), []);
}

/// In a container any process may open `/proc/1/fd/1` and similar paths, so they must be the
/// container's output in process 1 itself.
#[test]
fn process_1_keeps_its_original_output() {
    let home = home();
    let front = runtime(&home, &format!("{} --name a -- hold", fixture()));
    home.wait_until("it listens", || home.dir().join("ostler.sock").exists());
    home.wait_status("a", "online");
    for (fd, text) in [(1, "a line for stdout"), (2, "a line for stderr")] {
        std::fs::write(format!("/proc/{}/fd/{fd}", front.pid()), format!("{text}\n")).unwrap();
        if fd == 1 {
            front.until(text)
        } else {
            front.err_until(text)
        };
    }
    home.wait_until("the starter is gone", || process_table().into_iter().filter(|p| p.ppid == front.pid()).count() == 2);
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
}
