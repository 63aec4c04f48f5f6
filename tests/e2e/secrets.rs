//! `secrets`: the app gets the value, and nobody else ever sees it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ostler_testkit::{Home, alive, kill};
use rustix::process::Signal;

use crate::promise_1_daemon_killed::kill_daemon;
use crate::setup::home;

const VALUE: &str = "v4lue-of-the-s3cret";

/// Starts `sleep` with these secrets; the file of the config.
#[track_caller]
fn start(home: &Home, secrets: &str) -> String {
    let file = ecosystem(home, secrets);
    home.ok(format!("start {file}"));
    file
}

fn ecosystem(home: &Home, secrets: &str) -> String {
    home.write(
        "ecosystem.json",
        format!(r#"{{"apps": [{{"name": "api", "script": "sleep", "args": "1000", "restart_delay": 50, "max_restarts": 3, "secrets": {{{secrets}}}}}]}}"#),
    )
}

/// A file that only its owner can read.
fn secret_file(home: &Home, name: &str, text: &str) -> String {
    let path = home.write(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// What the process has.
fn variable(pid: i32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let start = format!("{name}=");
    environ
        .split(|byte| *byte == 0)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .find_map(|line| line.strip_prefix(&start))
        .map(str::to_owned)
}

fn holds(bytes: &[u8]) -> bool {
    bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes())
}

fn files(folder: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), out),
            Ok(kind) if kind.is_file() => out.push(entry.path()),
            _ => {}
        }
    }
}

/// Nothing that shows, keeps or tells has the value: every command that prints, every file, the journal, the manager's own environment.
#[track_caller]
fn nobody_knows(home: &Home) {
    home.ok("save");
    for command in
        ["jlist", "prettylist", "describe api", "env 0", "list --json", "describe api --json", "why api", "logs --nostream", "report"]
    {
        let output = home.run(command);
        assert!(!output.all().contains(VALUE), "{command} tells it\n{output}");
    }
    let mut found = Vec::new();
    files(home.dir(), &mut found);
    assert!(found.iter().any(|path| path.ends_with("dump.pm2")));
    for path in found {
        assert!(!holds(&fs::read(&path).unwrap_or_default()), "{} has it", path.display());
    }
    for pid in [home.keeper_pid(), home.daemon_pid()] {
        assert!(!holds(&fs::read(format!("/proc/{pid}/environ")).unwrap()), "the environment of {pid} has it");
        // Memory files: the journal among them.
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let is_memory = fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains("memfd"));
            assert!(!(is_memory && holds(&fs::read(entry.path()).unwrap_or_default())), "a memory file of {pid} has it");
        }
    }
}

#[test]
fn a_secret_from_a_file_reaches_the_app_and_nothing_else() {
    let home = home();
    let path = secret_file(&home, "db password", &format!("{VALUE}\n"));
    start(&home, &format!(r#""DB_PASSWORD": "{path}", "SAME": {{"file": "{path}"}}"#));
    let has_it = |home: &Home| {
        let pid = home.app("api").pid();
        assert_eq!(variable(pid, "DB_PASSWORD").as_deref(), Some(VALUE));
        assert_eq!(variable(pid, "SAME").as_deref(), Some(VALUE));
        nobody_knows(home);
        pid
    };
    let pid = has_it(&home);
    kill_daemon(&home);
    assert_eq!(has_it(&home), pid);
    kill(pid, Signal::KILL);
    home.wait_until("it is started again", || !alive(pid) && home.app("api").status() == "online");
    has_it(&home);
    home.ok("reload api");
    has_it(&home);
    // It is read anew at each start: also after a reboot, from what was saved.
    home.ok("kill");
    home.ok("resurrect");
    has_it(&home);
    fs::write(&path, "another").unwrap();
    home.ok("restart api");
    assert_eq!(variable(home.app("api").pid(), "DB_PASSWORD").as_deref(), Some("another"));
}

#[test]
fn what_cannot_be_read_is_a_failed_start_that_names_it() {
    let home = home();
    let folder = home.work();
    let fifo = folder.join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let big = secret_file(&home, "big", &"x".repeat(1 << 20));
    let nul = secret_file(&home, "nul", "a\0b");
    let empty = secret_file(&home, "empty", "\n");
    let cases = [
        ("/no/such/file".to_owned(), "No such file"),
        (folder.display().to_string(), "no file"),
        (fifo.display().to_string(), "no file"),
        (big, "64 KiB"),
        (nul, "NUL"),
        (empty, "is empty"),
    ];
    for (path, words) in cases {
        let file = ecosystem(&home, &format!(r#""TOKEN": "{path}""#));
        home.run(format!("start {file}")).fails().says("read secret TOKEN").says(words);
        // Of a first start that failed nothing is left.
        assert!(home.jlist().is_empty());
    }
    let file = ecosystem(&home, r#""TOKEN": {"credential": "token"}"#);
    home.run(format!("start {file}")).fails().says("read secret TOKEN").says("systemd");
}

#[test]
fn a_secret_that_is_away_for_a_while_is_waited_for() {
    let home = home();
    let path = secret_file(&home, "late", "before");
    let text = format!(
        r#"{{"apps": [{{"name": "api", "script": "sleep", "args": "1000", "restart_delay": 50, "max_restarts": 1000, "secrets": {{"TOKEN": "{path}"}}}}]}}"#
    );
    home.ok(format!("start {}", home.write("ecosystem.json", text)));
    fs::remove_file(&path).unwrap();
    kill(home.app("api").pid(), Signal::KILL);
    home.wait_until("its lack is told", || home.run("why api").stdout.contains("read secret TOKEN"));
    secret_file(&home, "late", VALUE);
    let item = home.wait_status("api", "online");
    assert_eq!(variable(item.pid(), "TOKEN").as_deref(), Some(VALUE));
}

#[test]
fn credentials_of_systemd() {
    let home = home();
    let folder = home.work().join("credentials");
    fs::create_dir(&folder).unwrap();
    secret_file(&home, "credentials/token", VALUE);
    let file = ecosystem(&home, r#""TOKEN": {"credential": "token"}"#);
    home.cmd(format!("start {file}")).env("CREDENTIALS_DIRECTORY", &folder).run().ok();
    assert_eq!(variable(home.app("api").pid(), "TOKEN").as_deref(), Some(VALUE));
    nobody_knows(&home);
    // The next daemon finds them, too.
    kill_daemon(&home);
    home.ok("restart api");
    assert_eq!(variable(home.app("api").pid(), "TOKEN").as_deref(), Some(VALUE));
}

#[test]
fn bad_sources_are_told_before_anything_starts() {
    let home = home();
    for (secrets, words) in [
        (r#""TOKEN": 5"#, "expected a path"),
        (r#""A B": "/x""#, "no name of a variable"),
        (r#""TOKEN": {"files": "/x"}"#, "did you mean `file`"),
        (r#""TOKEN": {"file": "/x", "credential": "y"}"#, "one of them"),
        (r#""TOKEN": {"credential": "../x"}"#, "name of a credential"),
        (r#""TOKEN": {"command": "x", "timeout": "soon"}"#, "timeout"),
    ] {
        let file = ecosystem(&home, secrets);
        home.run(format!("start {file}")).fails().says("secrets").says(words);
        assert!(home.processes().is_empty());
    }
    let open = home.write("open", VALUE);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let file = ecosystem(&home, &format!(r#""TOKEN": "{open}""#));
    home.ok(format!("validate {file}")).says("every user of this machine can read");
}
