//! Invalid input and faults: one clear line, a nonzero exit code, no changes.

use std::os::unix::fs::PermissionsExt;

use ostler_testkit::{Home, kill, needs_root};
use rustix::process::Signal;

use crate::setup::{ecosystem, home, start_fixture};

/// Checks that the command fails with these words on few lines, and leaves nothing in the list.
#[track_caller]
fn refused(home: &Home, words: &[&str], says: &[&str]) {
    let output = home.run(words).fails();
    for text in says {
        assert!(output.all().to_lowercase().contains(&text.to_lowercase()), "no {text:?}\n{output}");
    }
    assert!(output.all().lines().count() <= 6, "that is not one clear line\n{output}");
    assert!(!output.all().contains("panicked") && !output.all().contains("RUST_BACKTRACE"), "{output}");
    let left = home.run("list").stdout.lines().filter(|line| line.starts_with('│')).count();
    assert!(left <= 1, "an entry is left after {words:?}\n{output}{}", home.run("list"));
    assert!(home.app_processes().is_empty());
}

#[test]
fn missing_script_is_rejected() {
    let home = home();
    refused(&home, &["start", "nothing.js"], &["nothing.js"]);
    refused(&home, &["start", "no-such-program"], &["no-such-program"]);
    refused(&home, &["start", "/no/such/dir/app.js"], &["/no/such/dir/app.js"]);
}

#[test]
fn non_executable_script_is_rejected() {
    let home = home();
    let script = home.write("plain.bin", b"\x7fELF\x02\x01\x01\0\0\0\0\0");
    refused(&home, &["start", &script], &["plain.bin", "permission denied"]);
}

#[test]
fn file_that_is_not_a_program_is_rejected() {
    let home = home();
    let script = home.write("broken", b"\x7fELF\x02\x01\x01\0 this is not a program");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    refused(&home, &["start", &script, "--interpreter", "none"], &["broken", "exec"]);
}

#[test]
fn folder_as_script_is_rejected() {
    let home = home();
    std::fs::create_dir(home.work().join("folder.js")).unwrap();
    refused(&home, &["start", "./folder.js", "--interpreter", "none"], &["folder.js"]);
}

#[test]
fn unknown_interpreter_is_rejected() {
    let home = home();
    let script = home.write("app.js", "");
    refused(&home, &["start", &script, "--interpreter", "no-such-interpreter"], &["no-such-interpreter"]);
    let shebang = home.write("app", "#!/no/such/interpreter\n");
    refused(&home, &["start", &shebang], &["/no/such/interpreter"]);
}

#[test]
fn missing_working_directory_is_rejected() {
    let home = home();
    let script = home.write("app.sh", "#!/bin/sh\nexec sleep 1000\n");
    refused(&home, &["start", &script, "--cwd", "/no/such/folder"], &["/no/such/folder"]);
}

#[test]
fn unknown_user_or_group_is_rejected() {
    needs_root!();
    let home = home();
    refused(&home, &["start", "sleep", "--uid", "no-such-user", "--", "1"], &["no-such-user"]);
    refused(&home, &["start", "sleep", "--uid", "nobody", "--gid", "no-such-group", "--", "1"], &["no-such-group"]);
}

#[test]
fn duplicate_name_is_rejected() {
    let home = home();
    let script = home.write("app.sh", "#!/bin/sh\nexec sleep 1000\n");
    home.ok(["start", &script, "--name", "app"]);
    let pid = home.app("app").pid();
    home.run(["start", &script, "--name", "app"])
        .fails()
        .says("error: app already runs; nothing was changed")
        .says("hint: `ostler restart app` restarts it; `--force`");
    assert_eq!(home.app("app").pid(), pid);
}

#[test]
fn malformed_files_are_rejected_in_every_format() {
    let home = home();
    let files = [
        ("a.json", "{\"apps\": [{\"name\": \"x\", "),
        ("a.json5", "{apps: [{name: 'x'"),
        ("a.yml", "apps:\n  - name: x\n   script: y\n"),
        ("a.yaml", "apps: [\n"),
        ("a.toml", "[[apps]\nname = 'x'\n"),
        ("a.config.js", "module.exports = {apps: [{name: 'x', "),
        ("a.config.cjs", "throw new Error('thrown on purpose, before any apps')"),
        ("a.config.mjs", "export default {apps: "),
    ];
    for (name, text) in files {
        let file = home.write(name, text);
        refused(&home, &["start", &file], &[name]);
        home.run(["validate", file.as_str()]).fails().says(name);
    }
    refused(&home, &["start", "missing.config.js"], &["missing.config.js"]);
    refused(&home, &["start"], &["ecosystem.config.js"]);
}

#[test]
fn files_of_wrong_shape_are_rejected() {
    let home = home();
    for text in [
        "null",
        "7",
        "\"text\"",
        "[1]",
        "{\"apps\": 7}",
        "{\"apps\": [null]}",
        "{\"apps\": [{}]}",
        "{\"apps\": [{\"name\": \"x\"}]}",
        "[[]]",
    ] {
        let file = home.write("shape.json", text);
        let output = home.run(["start", &file]).fails();
        assert!(!output.all().contains("panicked"), "{text}: {output}");
    }
    assert!(home.app_processes().is_empty());
}

#[test]
fn wrong_type_error_names_file_key_and_expectation() {
    let home = home();
    for (member, words) in [
        (r#""instances": {}"#, "instances"),
        (r#""kill_timeout": "soon""#, "kill_timeout"),
        (r#""autorestart": "perhaps""#, "autorestart"),
        (r#""env": 7"#, "env"),
        (r#""args": {"a": 1}"#, "args"),
        (r#""exec_mode": "spoon""#, "exec_mode"),
        (r#""kill_signal": "SIGSPOON""#, "kill_signal"),
        (r#""min_uptime": "long""#, "min_uptime"),
        (r#""max_memory_restart": "much""#, "max_memory_restart"),
    ] {
        let file = ecosystem(&home, &format!(r#""name": "x", "script": "sleep", {member}"#));
        refused(&home, &["start", &file], &[words, "app.json"]);
    }
}

#[test]
fn recursive_or_endless_config_is_handled() {
    let home = home();
    home.write("a.config.js", "module.exports = require('./b.config.js')");
    let file = home.write("b.config.js", "module.exports = require('./a.config.js')");
    home.run(["start", &file]).fails();
    // A config file that never finishes may be a server with such a name. ostler runs it as a
    // script or refuses it.
    let file = home.write("loop.config.js", "for (;;) {}");
    home.run(["start", &file]);
    home.run("delete all");
    let file = home.write("deep.config.js", "const a = {apps: []}; a.apps.push(a); module.exports = a;");
    home.run(["start", &file]).fails();
    let file = home.write("stack.config.js", "module.exports = {apps: (function f() { return f() + f(); })()};");
    home.run(["start", &file]).fails();
    let file = home.write("bomb.yml", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\napps: [*f,*f,*f]\n");
    home.run(["start", &file]).fails();
    let nested = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let file = home.write("nested.json", nested);
    home.run(["start", &file]).fails();
    assert!(home.app_processes().is_empty());
}

#[test]
fn unwritable_home_is_rejected() {
    let mut home = home();
    let file = home.write("a-file", "");
    home.set_dir(format!("{file}/home"));
    home.run("start sleep -- 1").fails().says(&file);
    let text_home = home.write("not-a-folder", "");
    home.set_dir(&text_home);
    home.run("start sleep -- 1").fails().says(&text_home);
    home.set_dir("/proc/ostler-home");
    home.run("start sleep -- 1").fails().says("/proc/ostler-home");
    assert!(home.processes().is_empty());
}

#[test]
fn home_path_too_long_for_a_socket_works_or_fails_clearly() {
    let mut home = home();
    let long = home.work().join("d".repeat(60)).join("e".repeat(60));
    home.set_dir(&long);
    let output = home.run("start sleep --name x -- 1000");
    // The start either works or names the reason. A hang or a silent failure would be the bug.
    if output.code == 0 {
        assert_eq!(home.app("x").status(), "online");
    } else {
        output.says_any_case("long");
    }
}

#[test]
fn a_relative_home_is_made_absolute() {
    let mut home = home();
    home.set_dir("relative-home");
    home.ok("start sleep --name x -- 1000");
    home.set_dir(home.work().join("relative-home"));
    assert_eq!(home.app("x").status(), "online");
}

#[test]
fn stale_sockets_locks_and_pids_do_not_mislead() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let (keeper, daemon, anchor) = (home.keeper_pid(), home.daemon_pid(), home.anchor_pid());
    let app = home.app("app").pid();
    for signal in [Signal::STOP, Signal::KILL] {
        [keeper, daemon, anchor, app].into_iter().for_each(|pid| kill(pid, signal));
    }
    home.wait_until("they are gone", || home.daemons().is_empty() && !ostler_testkit::alive(keeper));
    assert!(home.dir().join("ostler.sock").exists(), "this test is about a socket that is left");
    // A pid file with another process's pid must not mislead any command.
    std::fs::write(home.dir().join("pm2.pid"), "1").unwrap();
    home.ok("start sleep --name next -- 1000");
    assert_eq!(home.app("next").status(), "online");
    assert_ne!(home.keeper_pid(), 1);
}

#[test]
fn file_at_socket_path_is_handled() {
    let home = home();
    std::fs::create_dir_all(home.dir()).unwrap();
    std::fs::set_permissions(home.dir(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(home.dir().join("ostler.sock"), "precious").unwrap();
    let output = home.run("start sleep --name x -- 1000");
    assert!(output.code == 0 || output.all().contains("ostler.sock"), "{output}");
}

#[test]
fn unopenable_log_file_is_rejected() {
    let home = home();
    std::fs::create_dir_all(home.work().join("folder.log")).unwrap();
    let script = home.write("app.sh", "#!/bin/sh\nexec sleep 1000\n");
    refused(&home, &["start", &script, "-o", home.work().join("folder.log").to_str().unwrap()], &["folder.log"]);
    refused(&home, &["start", &script, "-o", "/proc/no/such/x.log"], &["/proc/no"]);
}
