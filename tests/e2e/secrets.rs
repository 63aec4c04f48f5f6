//! `secrets`: only the app gets the value.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ostler_testkit::{Home, alive, fixture, free_port, kill, needs_root, paths_below, try_variable};
use rustix::process::Signal;

use crate::setup::{self, SeededRandom, home, start_in_background};

const VALUE: &str = "v4lue-of-the-s3cret";

/// Starts `sleep` with these secrets, and returns the path of the config file.
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

/// Writes a file that only its owner can read.
fn secret_file(home: &Home, name: &str, text: &str) -> String {
    let path = home.write(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn holds(bytes: &[u8]) -> bool {
    bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes())
}

/// Checks that the value appears nowhere: not in the output of any command, in any file, in the
/// journal, or in the manager's own environment.
#[track_caller]
fn assert_secret_is_hidden(home: &Home) {
    home.ok("save");
    for command in
        ["jlist", "prettylist", "describe api", "env 0", "list --json", "describe api --json", "why api", "logs --nostream", "report"]
    {
        let output = home.run(command);
        assert!(!output.all().contains(VALUE), "{command} tells it\n{output}");
    }
    let found: Vec<_> =
        paths_below(home.dir()).into_iter().filter(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file())).collect();
    assert!(found.iter().any(|path| path.ends_with("dump.pm2")));
    for path in found {
        assert!(!holds(&fs::read(&path).unwrap_or_default()), "{} has it", path.display());
    }
    for pid in [home.keeper_pid(), home.daemon_pid()] {
        assert!(!holds(&fs::read(format!("/proc/{pid}/environ")).unwrap()), "the environment of {pid} has it");
        // Memory files, including the journal.
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let is_memory = fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains("memfd"));
            assert!(!(is_memory && holds(&fs::read(entry.path()).unwrap_or_default())), "a memory file of {pid} has it");
        }
    }
}

#[test]
fn secret_from_file_reaches_only_the_app() {
    let home = home();
    let path = secret_file(&home, "db password", &format!("{VALUE}\n"));
    start(&home, &format!(r#""DB_PASSWORD": "{path}", "SAME": {{"file": "{path}"}}"#));
    let has_it = |home: &Home| {
        let pid = home.app("api").pid();
        // The kernel lets the parent continue an instant before it publishes the new environment.
        home.wait_until("the process has its environment", || try_variable(pid, "PATH").is_some());
        assert_eq!(try_variable(pid, "DB_PASSWORD").as_deref(), Some(VALUE));
        assert_eq!(try_variable(pid, "SAME").as_deref(), Some(VALUE));
        assert_secret_is_hidden(home);
        pid
    };
    let pid = has_it(&home);
    home.kill_daemon();
    assert_eq!(has_it(&home), pid);
    kill(pid, Signal::KILL);
    home.wait_until("it is started again", || !alive(pid) && home.app("api").status() == "online");
    has_it(&home);
    home.ok("reload api");
    has_it(&home);
    // The secret is read again at each start: also after a reboot, from the saved list.
    home.ok("kill");
    home.ok("resurrect");
    has_it(&home);
    fs::write(&path, "another").unwrap();
    home.ok("restart api");
    assert_eq!(try_variable(home.app("api").pid(), "DB_PASSWORD").as_deref(), Some("another"));
}

#[test]
fn unreadable_secret_fails_the_start_and_is_named() {
    let home = home();
    let folder = home.work();
    let fifo = folder.join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let big = secret_file(&home, "big", &"x".repeat(1 << 20));
    let nul = secret_file(&home, "nul", "a\0b");
    let empty = secret_file(&home, "empty", "\n");
    let cases = [
        ("/no/such/file".to_owned(), "No such file"),
        (folder.display().to_string(), "not a regular file"),
        (fifo.display().to_string(), "not a regular file"),
        (big, "64 KiB"),
        (nul, "NUL"),
        (empty, "is empty"),
    ];
    for (path, words) in cases {
        let file = ecosystem(&home, &format!(r#""TOKEN": "{path}""#));
        home.run(format!("start {file}")).fails().says("read secret TOKEN").says(words);
        // A failed first start leaves nothing in the list.
        assert!(home.jlist().is_empty());
    }
    let file = ecosystem(&home, r#""TOKEN": {"credential": "token"}"#);
    home.run(format!("start {file}")).fails().says("read secret TOKEN").says("systemd");
}

#[test]
fn missing_secret_is_retried() {
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
    assert_eq!(try_variable(item.pid(), "TOKEN").as_deref(), Some(VALUE));
}

#[test]
fn systemd_credentials_are_passed() {
    let home = home();
    let folder = home.work().join("credentials");
    fs::create_dir(&folder).unwrap();
    secret_file(&home, "credentials/token", VALUE);
    let file = ecosystem(&home, r#""TOKEN": {"credential": "token"}"#);
    home.cmd(format!("start {file}")).env("CREDENTIALS_DIRECTORY", &folder).run().ok();
    assert_eq!(try_variable(home.app("api").pid(), "TOKEN").as_deref(), Some(VALUE));
    assert_secret_is_hidden(&home);
    // The next daemon finds them, too.
    home.kill_daemon();
    home.ok("restart api");
    assert_eq!(try_variable(home.app("api").pid(), "TOKEN").as_deref(), Some(VALUE));
}

#[test]
fn invalid_sources_are_rejected_before_start() {
    let home = home();
    for (secrets, words) in [
        (r#""TOKEN": 5"#, "expected a path"),
        (r#""A B": "/x""#, "not a valid variable name"),
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

/// Returns a text as JSON.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Returns a command that logs each call to `log`, waits for the file `go`, and prints the secret.
fn slow_command(home: &Home) -> String {
    secret_file(home, "kept", &format!("{VALUE}\n"));
    json("echo asked >> log; while [ ! -e go ]; do sleep 0.01; done; cat kept")
}

/// Returns how often a line occurs in `log`.
fn count(home: &Home, line: &str) -> usize {
    home.lines("log").iter().filter(|found| *found == line).count()
}

/// Waits until the app is online, and checks that it has the value.
#[track_caller]
fn assert_app_has_token(home: &Home) -> i32 {
    let pid = home.wait_status("api", "online").pid();
    assert_eq!(try_variable(pid, "TOKEN").as_deref(), Some(VALUE), "{}", home.report());
    pid
}

/// From document 004: the saved list and all output have references to secrets, whatever their
/// source.
#[test]
fn secrets_are_never_saved_or_printed() {
    let home = home();
    let path = secret_file(&home, "db password", &format!("{VALUE}\n"));
    let shell = json("echo 'opened the safe' >&2; cat 'db password'");
    start(
        &home,
        &format!(r#""TOKEN": {{"command": ["cat", "{path}"]}}, "SAME": {{"command": {shell}, "timeout": "1m"}}, "FILE": "{path}""#),
    );
    let has_all = |home: &Home| {
        let pid = assert_app_has_token(home);
        assert_eq!(try_variable(pid, "SAME").as_deref(), Some(VALUE));
        assert_eq!(try_variable(pid, "FILE").as_deref(), Some(VALUE));
        assert_secret_is_hidden(home);
        pid
    };
    let pid = has_all(&home);
    home.wait_log("api-error.log", "opened the safe");
    home.ok("describe api").says("TOKEN (command), SAME (command), FILE (file)");
    home.kill_daemon();
    assert_eq!(has_all(&home), pid);
    kill(pid, Signal::KILL);
    home.wait_until("it is started again", || !alive(pid) && home.app("api").status() == "online");
    let pid = has_all(&home);
    home.ok("reload api");
    assert_ne!(has_all(&home), pid);
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    has_all(&home);
    // Each start reads the newest value.
    fs::write(&path, "another").unwrap();
    home.ok("restart api");
    assert_eq!(try_variable(home.app("api").pid(), "TOKEN").as_deref(), Some("another"));
}

#[test]
fn command_without_a_value_fails_the_start_and_is_named() {
    let home = home();
    secret_file(&home, "kept", VALUE);
    let cases = [
        ("cat kept; echo 'vault is sealed' >&2; exit 3", "10s", "secret TOKEN: its command exited with code 3"),
        ("cat kept; sleep 1000", "300ms", "secret TOKEN: its command timed out after 300 ms and was killed"),
        ("kill -9 $$; :", "10s", "secret TOKEN: its command was killed by signal 9"),
        // The daemon stops reading after 64 KiB, and does not wait for the rest.
        ("while cat kept; do :; done", "10m", "secret TOKEN: the output of its command is longer than 64 KiB"),
        ("head -c 1000000000 /dev/zero", "10m", "secret TOKEN: the output of its command is longer than 64 KiB"),
        ("true ;", "10s", "secret TOKEN: the output of its command is empty"),
        ("printf 'v4lue\\0'", "10s", "secret TOKEN: the output of its command contains a NUL byte"),
        ("/no/such/program", "10s", "secret TOKEN: its command cannot be started: exec /no/such/program"),
    ];
    for (command, timeout, words) in cases {
        let secret = format!(r#""OK": {{"command": "echo fine"}}, "TOKEN": {{"command": {}, "timeout": "{timeout}"}}"#, json(command));
        let text =
            format!(r#"{{"apps": [{{"name": "api", "script": "sleep", "args": "1000", "max_restarts": 1, "secrets": {{{secret}}}}}]}}"#);
        let file = home.write("ecosystem.json", text);
        home.run(format!("start {file}")).code(1).says(words);
        home.run("why api").says(words);
        assert!(home.log("api-out.log").is_empty(), "what it wrote is in the log");
        let told = String::from_utf8_lossy(&fs::read(home.dir().join("pm2.log")).unwrap()).into_owned();
        assert!(told.lines().any(|line| line.contains(words)), "{told}");
        // The restart policy continues until it gives up. No process was ever started without its
        // secret.
        home.wait_status("api", "errored");
        assert_secret_is_hidden(&home);
        assert!(home.app_processes().is_empty(), "{}", home.report());
        home.ok("delete api");
    }
    let sealed = home.log("api-error.log");
    assert!(sealed.contains("vault is sealed") && !sealed.contains(VALUE), "{sealed}");
}

#[test]
fn failing_secret_command_is_retried() {
    let home = home();
    let text = r#"{"apps": [{"name": "api", "script": "sleep", "args": "1000", "restart_delay": 50, "max_restarts": 1000,
        "secrets": {"TOKEN": {"command": "[ -e kept ] || echo 'not yet' >&2; cat kept"}}}]}"#;
    home.run(format!("start {}", home.write("ecosystem.json", text))).code(1).says("secret TOKEN: its command exited with code 1");
    home.run("why api").says("not yet");
    secret_file(&home, "kept", VALUE);
    assert_app_has_token(&home);
}

#[test]
fn secret_command_survives_daemon_death() {
    let home = home();
    let slow = slow_command(&home);
    // The first command is done and the second is running; the hook before them has finished.
    let secrets = format!(r#""FIRST": {{"command": "echo first >> log; cat kept"}}, "TOKEN": {{"command": {slow}, "timeout": "5m"}}"#);
    let text = format!(
        r#"{{"apps": [{{"name": "api", "script": "sleep", "args": "1000", "pre_start": "echo hook >> log", "secrets": {{{secrets}}}}}]}}"#
    );
    let mut start = start_in_background(&home, &format!("start {}", home.write("ecosystem.json", text)));
    for round in 1..4 {
        home.wait_until("the commands are asked", || count(&home, "asked") >= round && count(&home, "first") >= round);
        home.wait_until("the first has answered", || home.pids_with("echo first").is_empty());
        assert_eq!(home.app("api").status(), "launching");
        assert_secret_is_hidden(&home);
        if round < 3 {
            home.kill_daemon();
        } else {
            home.ok("update");
        }
    }
    home.write("go", "");
    start.wait().unwrap();
    let pid = assert_app_has_token(&home);
    assert_eq!(try_variable(pid, "FIRST").as_deref(), Some(VALUE));
    assert_eq!((count(&home, "hook"), home.app("api").restarts()), (1, 0), "{}", home.report());
    assert_secret_is_hidden(&home);
    home.wait_until("nothing of the commands is left", || home.app_processes().len() == 1);
}

#[test]
fn secret_command_survives_keeper_death() {
    let home = home();
    let slow = slow_command(&home);
    let file = ecosystem(&home, &format!(r#""TOKEN": {{"command": {slow}, "timeout": "5m"}}"#));
    let mut start = start_in_background(&home, &format!("start {file}"));
    home.wait_until("the command is asked", || count(&home, "asked") == 1);
    let keeper = home.keeper_pid();
    kill(keeper, Signal::KILL);
    home.wait_until("another keeper runs", || home.keeper_pid() != keeper);
    home.write("go", "");
    assert_app_has_token(&home);
    start.wait().unwrap();
    assert_secret_is_hidden(&home);
    // Daemon and keeper together.
    fs::remove_file(home.work().join("go")).unwrap();
    let asked = count(&home, "asked");
    let mut restart = start_in_background(&home, "restart api");
    home.wait_until("the command is asked", || count(&home, "asked") > asked);
    let state = || String::from_utf8_lossy(&fs::read(home.dir().join("ostler.state")).unwrap_or_default()).into_owned();
    home.wait_until("the state is on disk", || state().contains("captured"));
    home.kill_all_three();
    restart.wait().unwrap();
    home.write("go", "");
    home.run("resurrect");
    assert_app_has_token(&home);
    assert_secret_is_hidden(&home);
}

#[test]
fn app_never_starts_without_its_secret_across_daemon_deaths() {
    let home = home();
    secret_file(&home, "kept", VALUE);
    let app = json(r#"[ -n "$TOKEN" ] || echo missing >> log; exec sleep 1000"#);
    let text = format!(
        r#"{{"apps": [{{"name": "api", "script": "sh", "interpreter": "none", "args": ["-c", {app}], "instances": 2, "max_restarts": 1000,
        "secrets": {{"TOKEN": {{"command": "cat kept"}}, "MORE": {{"command": "sleep 0.05; cat kept"}}}}}}]}}"#
    );
    home.ok(format!("start {}", home.write("ecosystem.json", text)));
    let mut dice = SeededRandom(811);
    for _ in 0..12 {
        let mut restart = start_in_background(&home, "restart api");
        for _ in 0..dice.below(2000) {
            std::thread::yield_now();
        }
        home.kill_daemon();
        restart.wait().unwrap();
    }
    home.wait_until("all run", || home.all_online());
    for item in home.jlist() {
        assert_eq!(try_variable(item.pid(), "TOKEN").as_deref(), Some(VALUE));
        assert_eq!(try_variable(item.pid(), "MORE").as_deref(), Some(VALUE));
    }
    assert_eq!(count(&home, "missing"), 0);
    assert_secret_is_hidden(&home);
}

#[test]
fn stop_interrupts_a_secret_command() {
    let home = home();
    let slow = slow_command(&home);
    let file =
        ecosystem(&home, &format!(r#""TOKEN": {{"command": {slow}, "timeout": "5m"}}, "OTHER": {{"command": {slow}, "timeout": "5m"}}"#));
    let mut start = start_in_background(&home, &format!("start {file}"));
    home.wait_until("the commands are asked", || count(&home, "asked") == 2);
    home.ok("stop api");
    start.wait().unwrap();
    assert_eq!(home.app("api").status(), "stopped");
    assert!(home.app_processes().is_empty(), "{}", home.report());
    // A restart calls the commands again.
    let mut start = start_in_background(&home, "start api");
    home.wait_until("the commands are asked", || count(&home, "asked") == 4);
    let mut restart = start_in_background(&home, "restart api");
    home.wait_until("the commands are asked", || count(&home, "asked") == 6);
    home.write("go", "");
    start.wait().unwrap();
    restart.wait().unwrap();
    assert_app_has_token(&home);
    // Also if the daemon dies.
    fs::remove_file(home.work().join("go")).unwrap();
    let mut restart = start_in_background(&home, "restart api");
    home.wait_until("the commands are asked", || count(&home, "asked") == 8);
    let mut delete = start_in_background(&home, "delete api");
    home.kill_daemon();
    restart.wait().unwrap();
    delete.wait().unwrap();
    home.run("delete api");
    assert!(home.app_processes().is_empty(), "{}", home.report());
}

#[test]
fn daemonizing_secret_command_leaves_no_process() {
    let home = home();
    secret_file(&home, "kept", VALUE);
    let command = json("setsid sh -c 'sleep 7654' & setsid sleep 7654 & cat kept");
    start(&home, &format!(r#""TOKEN": {{"command": {command}}}"#));
    assert_app_has_token(&home);
    assert!(home.pids_with("7654").is_empty(), "{}", home.report());
}

#[test]
fn secret_commands_run_in_parallel_and_see_only_file_secrets() {
    let home = home();
    let path = secret_file(&home, "kept", VALUE);
    let waits_for = |mine: &str, other: &str| {
        json(&format!(
            "touch {mine}; while [ ! -e {other} ]; do sleep 0.01; done; echo \"$FILE ${{LEFT:-none}} $OSTLER_SECRET $OSTLER_APP $OSTLER_INSTANCE $MINE\""
        ))
    };
    let mut secrets = format!(
        r#""FILE": "{path}", "LEFT": {{"command": {}}}, "RIGHT": {{"command": {}}}"#,
        waits_for("left", "right"),
        waits_for("right", "left")
    );
    for number in 0..20 {
        secrets += &format!(r#", "S{number}": {{"command": "echo {number}; :"}}"#);
    }
    let text = format!(
        r#"{{"apps": [{{"name": "api", "script": "sleep", "args": "1000", "env": {{"MINE": "own"}}, "secrets": {{{secrets}}}}}]}}"#
    );
    home.ok(format!("start {}", home.write("ecosystem.json", text)));
    let pid = home.app("api").pid();
    assert_eq!(try_variable(pid, "RIGHT"), Some(format!("{VALUE} none RIGHT api 0 own")));
    for number in 0..20 {
        assert_eq!(try_variable(pid, &format!("S{number}")), Some(number.to_string()));
    }
    assert_secret_is_hidden(&home);
}

#[test]
fn failed_secret_command_rejects_the_new_release() {
    let home = home();
    secret_file(&home, "kept", VALUE);
    let port = free_port();
    let release = |command: &str| {
        let members = format!(
            r#""name": "api", "script": "{}", "args": "activated nonblocking", "listen": {port}, "secrets": {{"TOKEN": {{"command": "{command}"}}}}"#,
            fixture()
        );
        setup::ecosystem(&home, &members)
    };
    home.ok(format!("start {}", release("cat kept")));
    let pid = assert_app_has_token(&home);
    home.run(format!("reload {}", release("exit 4"))).code(1).says("secret TOKEN: its command exited with code 4");
    assert_eq!(assert_app_has_token(&home), pid);
    home.ok(format!("reload {}", release("cat ./kept")));
    assert_ne!(assert_app_has_token(&home), pid);
    assert_secret_is_hidden(&home);
}

#[test]
fn failed_secret_fails_start_although_hook_may_fail() {
    let home = home();
    secret_file(&home, "kept", VALUE);
    let app = |secret: &str| {
        let text = format!(
            r#"{{"apps": [{{"name": "api", "script": "sleep", "args": "1000", "max_restarts": 1,
            "pre_start": {{"command": "exit 7", "on_failure": "continue"}}, "secrets": {{"TOKEN": {{"command": "{secret}"}}}}}}]}}"#
        );
        home.write("ecosystem.json", text)
    };
    home.ok(format!("start {}", app("cat kept")));
    assert_app_has_token(&home);
    let told = home.daemon_log();
    assert!(told.contains("pre_start exited with code 7"), "{told}");
    home.ok("delete api");
    home.run(format!("start {}", app("exit 5"))).code(1).says("secret TOKEN: its command exited with code 5");
}

#[test]
fn secret_command_runs_as_the_app_user() {
    needs_root!();
    let home = home();
    // The user must not own this folder: otherwise the file could be a link to anything
    // (`attack_paths.rs`).
    fs::set_permissions(home.work(), fs::Permissions::from_mode(0o755)).unwrap();
    let root_only = secret_file(&home, "kept", VALUE);
    let text = format!(
        r#"{{"apps": [{{"name": "api", "script": "sleep", "args": "1000", "uid": "nobody", "secrets": {{"WHO": {{"command": "id -un; :"}},
        "FILE": "{root_only}", "MAY": {{"command": "cat kept 2>/dev/null || echo no"}}}}}}]}}"#
    );
    home.ok(format!("start {}", home.write("ecosystem.json", text)));
    let pid = home.app("api").pid();
    assert_eq!(try_variable(pid, "WHO").as_deref(), Some("nobody"));
    assert_eq!(try_variable(pid, "MAY").as_deref(), Some("no"));
    // As with LoadCredential=: a file that only the manager can read.
    assert_eq!(try_variable(pid, "FILE").as_deref(), Some(VALUE));
    assert_secret_is_hidden(&home);
}
