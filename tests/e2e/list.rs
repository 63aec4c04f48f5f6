//! `list`, `jlist`, `id`, `pid`, `ping`: read-only commands.

use std::process::{Command, Stdio};

use ostler_testkit::{needs_cgroup, needs_program, proc_number};
use serde_json::Value;

use crate::setup::{home, home_as_pm2, start_fixture};

#[test]
fn read_only_commands_start_no_daemon() {
    let home = home();
    for command in
        ["list", "ls", "status", "jlist", "prettylist", "id x", "pid x", "describe x", "logs --nostream", "env 0", "why x", "--version"]
    {
        home.run(command);
        assert!(home.processes().is_empty(), "{command} started {:?}", home.processes());
    }
    home.run("ping").code(3);
    assert!(home.processes().is_empty());
}

#[test]
fn ping_as_pm2_starts_a_daemon() {
    let home = home_as_pm2();
    home.ok("ping").says("{ msg: 'pong' }");
    let keeper = home.keeper_pid();
    let title = home.processes().into_iter().find(|p| p.pid == keeper).unwrap().cmdline;
    assert!(title.starts_with("PM2 v") && title.contains("God Daemon") && title.contains(home.dir().to_str().unwrap()), "{title}");
}

#[test]
fn cpu_is_correct_from_the_first_call() {
    // PM2 differs: a busy loop is shown as 0, 100, 0 %.
    let home = home();
    start_fixture(&home, "busy", "", "busy");
    home.wait_app("busy", "measurable", |item| item.0["monit"]["cpu"].as_f64().unwrap() > 0.0);
    for call in 0..6 {
        let table = home.ok("list").stdout;
        let row = table.lines().find(|line| line.starts_with("busy ")).unwrap();
        let cpu: f64 = row.split_whitespace().find_map(|word| word.strip_suffix('%')).unwrap().parse().unwrap();
        assert!(cpu > 3.0, "call {call} shows {cpu} % for a busy loop");
    }
}

#[test]
fn memory_covers_the_whole_tree() {
    let home = home();
    start_fixture(&home, "one", "", "hold");
    start_fixture(&home, "seven", "-f", "family 2 2");
    home.wait_until("eight processes run", || home.app_processes().len() == 8);
    let memory = |name: &str| home.app(name).0["monit"]["memory"].as_u64().unwrap();
    home.wait_until("seven processes weigh more than four", || memory("seven") > 4 * memory("one"));
}

#[test]
fn json_output_is_valid_json() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    for command in ["list --json", "jlist", "describe app --json", "id app --json", "pid app --json", "ping --json"] {
        let output = home.ok(command);
        let parsed: Result<Value, _> = serde_json::from_str(output.stdout.trim());
        assert!(parsed.is_ok(), "{command} is not JSON\n{output}");
    }
}

#[test]
fn prettylist_is_valid_javascript() {
    needs_program!("node");
    let home = home();
    home.cmd("start sleep --name app -- 1000").env("ODD", "it's \"quoted\" \\ \n new").run().ok();
    let file = home.write("list.txt", home.ok("prettylist").stdout);
    let code = format!(
        "const fs = require('fs'); const list = eval('(' + fs.readFileSync('{file}', 'utf8') + ')'); console.log(list.length, list[0].name)"
    );
    let output = Command::new("node").args(["-e", &code]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 app\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn closed_reader_is_not_an_error() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    for words in ["list", "jlist", "prettylist", "describe app"] {
        let mut child = home.cmd(words).command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.stderr.is_empty(), "{words} says {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn odd_names_are_shown_and_found() {
    let home = home();
    for name in ["with blank", "漢字", "🚀 rocket", "-dash", "a/b", "über", "50%", "{x}"] {
        home.ok(["start", "sleep", "-f", &format!("--name={name}"), "--", "1000"]);
        assert_eq!(home.app(name).status(), "online");
        home.ok("list").says(name);
        let output = home.ok(["id", name]);
        assert_ne!(output.stdout.trim(), "[]", "{name}");
    }
}

#[test]
fn pm2_table_is_aligned_and_has_its_columns() {
    let home = home_as_pm2();
    start_fixture(&home, "app", "", "hold");
    let output = home.ok("list");
    for column in ["id", "name", "namespace", "version", "mode", "pid", "uptime", "↺", "status", "cpu", "mem", "user", "watching"] {
        assert!(output.stdout.contains(&format!("│ {column} ")), "no column {column}\n{output}");
    }
    let widths: Vec<usize> =
        output.stdout.lines().filter(|line| line.starts_with(['┌', '│', '├', '└'])).map(|line| line.chars().count()).collect();
    assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "crooked table\n{output}");
}

/// An unknown child of the keeper may be an orphan of any app, so ostler would read all cgroups.
/// The anchor is a known child.
#[test]
fn list_reads_one_file_per_process() {
    needs_cgroup!();
    const APPS: u64 = 40;
    let home = home();
    start_fixture(&home, "app", &format!("-i {APPS} -f"), "hold");
    home.wait_until("the anchor is there", || home.anchor_pid() > 0);
    let daemon = home.daemon_pid();
    let is_process = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let processes = || std::fs::read_dir("/proc").unwrap().filter(|entry| is_process(&entry.as_ref().unwrap().file_name())).count() as u64;
    home.wait_until("a list reads one file of each process, and little else", || {
        let (read, most) = (proc_number(daemon, "io", "syscr"), processes());
        home.ok("list");
        proc_number(daemon, "io", "syscr") - read < most.max(processes()) + APPS / 2
    });
}

#[test]
fn list_shows_only_the_named_apps() {
    let home = home();
    start_fixture(&home, "api", "", "hold");
    start_fixture(&home, "worker", "", "hold");
    let listed = home.ok("list api").says("1 app: 1 online");
    assert!(listed.stdout.contains("\napi ") && !listed.stdout.contains("worker"), "{listed}");
    assert_eq!(home.ok("list worker --json").json().as_array().unwrap().len(), 1);
    assert_eq!(home.ok("list worker --quiet").stdout, "1\n");
    home.run("list wokrer").code(4).says("did you mean `worker`?");
    home.ok("list api worker").says("2 apps: 2 online");
}
