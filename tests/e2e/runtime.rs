//! `runtime`: the first process of a container. `runtime_lines.rs` tests its output, `container.rs`
//! tests it as process 1.

use std::os::unix::fs::{PermissionsExt, symlink};

use ostler_testkit::{Home, Subject, alive, fixture, kill};
use rustix::process::{Signal, geteuid};

use crate::setup::{binary, home, runtime};

/// An app that prints each signal that it receives.
fn listener(home: &Home, name: &str) -> String {
    home.write(
        name,
        "#!/bin/bash\nfor s in HUP USR1 USR2 WINCH QUIT; do trap \"echo $0 got $s\" $s; done\ntrap 'echo bye; exit 0' INT\n\
         echo \"$0 is up\"\nwhile :; do sleep 0.1; done\n",
    )
}

/// An app that ignores the stop signals.
fn stubborn(home: &Home) -> String {
    home.write("stubborn.sh", "#!/bin/bash\ntrap '' INT TERM\necho up\nwhile :; do sleep 0.1; done\n")
}

#[test]
fn runtime_exits_with_the_app_code() {
    let home = home();
    let apps = |members: &[&str]| {
        let apps: Vec<_> = members.iter().map(|members| format!("{{\"script\": \"{}\", {members}}}", fixture())).collect();
        home.write("apps.json", format!("{{\"apps\": [{}]}}", apps.join(", ")))
    };
    let once = |name: &str, args: &str| format!("\"name\": \"{name}\", \"args\": \"{args}\", \"autorestart\": false");
    let cases: [(&[&str], i32); 8] = [
        (&[&once("a", "exit 3")], 3),
        (&[&once("a", "exit 0")], 0),
        (&[&once("a", "signal KILL")], 137),
        (&[&once("a", "exit 3"), &once("b", "exit 4")], 1),
        (&[&once("a", "exit 0"), &once("b", "exit 0")], 0),
        (&[&once("a", "exit 0"), &once("b", "exit 9 300")], 1),
        // A crash loop that reaches its limit, and a code that means "stay stopped".
        (&["\"name\": \"a\", \"args\": \"exit 5\", \"max_restarts\": 2, \"restart_delay\": 1"], 5),
        (&["\"name\": \"a\", \"args\": \"exit 6\", \"stop_exit_codes\": [6]"], 6),
    ];
    for (members, code) in cases {
        home.run(format!("runtime {}", apps(members))).code(code);
        assert_eq!(home.processes(), [], "{members:?}");
    }
    home.run(format!("runtime {} --name x --no-autorestart -- exit 7", fixture())).code(7);
}

#[test]
fn term_and_int_stop_apps_in_order() {
    let home = home();
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let front = runtime(&home, &listener(&home, "app.sh"));
        front.until("is up");
        front.signal(signal);
        let ended = front.end(&home);
        assert_eq!((ended.code, ended.out.last().map(String::as_str)), (0, Some("bye")), "{signal:?}");
        assert_eq!(home.processes(), []);
        assert!(!home.dir().join("ostler.sock").exists() && !home.dir().join("pm2.pid").exists());
    }
}

#[test]
fn other_signals_are_forwarded_to_all_apps() {
    let home = home();
    let file = home.write(
        "two.json",
        format!("{{\"apps\": [{{\"script\": \"{}\"}}, {{\"script\": \"{}\"}}]}}", listener(&home, "one.sh"), listener(&home, "two.sh")),
    );
    let front = runtime(&home, &file);
    let mut seen = front.until("is up");
    seen.extend(front.until("is up"));
    for (signal, name) in [(Signal::HUP, "HUP"), (Signal::USR1, "USR1"), (Signal::USR2, "USR2"), (Signal::WINCH, "WINCH")] {
        front.signal(signal);
        let mut told = front.until(&format!("got {name}"));
        told.extend(front.until(&format!("got {name}")));
        for app in ["one.sh", "two.sh"] {
            assert!(told.iter().any(|line| line.contains(app) && line.ends_with(&format!("got {name}"))), "{told:?}");
        }
    }
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
}

#[test]
fn forward_signals_selects_the_signals() {
    let home = home();
    let app = listener(&home, "app.sh");
    let front = runtime(&home, &format!("{app} --forward-signals QUIT,USR1 -o app.log"));
    front.until("is up");
    // This signal is not forwarded, so it has its usual meaning: the log file is created again at
    // its path.
    std::fs::rename(home.work().join("app.log"), home.work().join("old.log")).unwrap();
    front.signal(Signal::USR2);
    home.wait_until("the log is open again", || home.work().join("app.log").exists());
    front.signal(Signal::HUP);
    front.signal(Signal::QUIT);
    let told = front.until("got QUIT");
    assert!(!told.iter().any(|line| line.contains("USR2") || line.contains("HUP")), "{told:?}");
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
    for bad in ["TERM", "KILL", "NOSUCH", "HUP,,USR1"] {
        let output = home.run(format!("runtime {app} --forward-signals {bad}")).fails();
        assert_eq!(output.all().trim().lines().count(), 1, "{output}");
    }
    assert_eq!(home.processes(), []);
}

#[test]
fn second_signal_or_deadline_kills_stubborn_app() {
    let home = home();
    let words = format!("{} --kill-timeout 600000", stubborn(&home));
    let front = runtime(&home, &words);
    front.until("up");
    front.signal(Signal::TERM);
    front.err_until("Stopping app:");
    assert!(alive(home.app("stubborn").pid()));
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 137);
    assert_eq!(home.processes(), []);

    let front = runtime(&home, &format!("{words} --stop-timeout 300ms"));
    front.until("up");
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 137);
    assert_eq!(home.processes(), []);
    home.run(format!("runtime {words} --stop-timeout soon")).fails().says("--stop-timeout");
}

/// A slow hook must not delay the second signal.
#[test]
fn second_signal_cancels_hooks() {
    let home = home();
    let file = home.write(
        "apps.json",
        format!(
            "{{\"apps\": [{{\"script\": \"{}\", \"kill_timeout\": 600000, \"pre_stop\": {{\"command\": \"touch began; sleep 600\", \"timeout\": \"10m\"}}}}]}}",
            stubborn(&home)
        ),
    );
    let front = runtime(&home, &file);
    front.until("up");
    home.wait_status("stubborn", "online");
    front.signal(Signal::TERM);
    home.wait_until("the hook runs", || home.work().join("began").exists());
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 137);
    home.wait_no_processes();
}

#[test]
fn failed_start_names_the_reason_and_exits() {
    let home = home();
    let good = format!("\"script\": \"{}\", \"args\": \"hold\"", fixture());
    let file = home.write("good.json", format!("{{\"apps\": [{{{good}}}]}}"));
    let half = home.write("half.json", format!("{{\"apps\": [{{{good}}}, {{\"name\": \"bad\", \"script\": \"gone.sh\"}}]}}"));
    let broken = home.write("broken.json", "{\"apps\": [");
    let no_program = home.write("no-program", "#!/no/such/interpreter\n");
    for (words, text) in [
        ("gone.js".to_owned(), "gone.js"),
        ("gone.config.js".to_owned(), "gone.config.js"),
        (half, "gone.sh"),
        (broken, "broken.json"),
        (format!("{file} --only nosuch"), "nothing to start"),
        (no_program, "/no/such/interpreter"),
        (String::new(), "nothing to start"),
        (format!("{file} --delay soon"), "--delay"),
        (format!("{file} --nosuch"), "--nosuch"),
    ] {
        let output = home.run(format!("runtime {words}")).fails().says(text);
        assert!(output.stdout.is_empty(), "{output}");
        let said: Vec<_> = output.stderr.lines().filter(|line| !line.is_empty() && !line.contains(": PM2 log: ")).collect();
        assert!(!said.is_empty() && said.len() <= 2, "{output}");
        assert_eq!(home.processes(), [], "{words}");
    }
}

#[test]
fn app_may_be_standard_input_or_a_command_line() {
    let home = home();
    let config = format!("{{\"apps\": [{{\"script\": \"{}\", \"args\": \"exit 8\", \"autorestart\": false}}]}}", fixture());
    home.cmd("runtime -").stdin(config).run().code(8);
    let words = ["runtime", "echo one two; exit 9", "--no-autorestart"].map(str::to_owned).to_vec();
    home.run(words).code(9).says("one two");
    // `--env` has the same meaning as at a first `start`.
    home.cmd("runtime app.js --env A=b --no-autorestart").run().fails();
    home.write("app.js", "console.log(process.env.A, process.argv[2], process.cwd()); process.exit(6)\n");
    let output = home.run("runtime app.js --env A=b --no-autorestart -- word").code(6);
    assert_eq!(output.stdout, format!("b word {}\n", home.work().display()));
}

/// In development: a change restarts the app, and the container keeps running.
#[test]
fn watched_files_restart_the_app() {
    let home = home();
    home.write("app.js", "console.log('first'); setInterval(() => {}, 1000);\n");
    let front = runtime(&home, "app.js --watch");
    front.until("first");
    home.write("app.js", "console.log('second'); setInterval(() => {}, 1000);\n");
    front.until("second");
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
}

#[test]
fn other_commands_work_during_runtime() {
    let home = home();
    let front = runtime(&home, &format!("{} --name one -- hold", fixture()));
    home.wait_until("it listens", || home.dir().join("ostler.sock").exists());
    home.wait_status("one", "online");
    assert_eq!(home.keeper_pid(), front.pid(), "the process that was called is the keeper");
    home.ok(format!("start {} --name two -- count 1", fixture()));
    // Output of apps that are started later appears, too.
    front.until("end");
    home.ok("restart one");
    home.ok("delete two");
    // A manual stop does not end the container: a user may start the app again.
    home.ok("stop one");
    home.ok("start one");
    home.wait_status("one", "online");
    let output = home.run(format!("runtime {} -- hold", fixture())).fails().says("already");
    assert_eq!(output.all().trim().lines().count(), 1, "{output}");
    home.ok("kill");
    assert_eq!(front.end(&home).code, 0);
    assert_eq!(home.processes(), []);
}

#[test]
fn runtime_exits_some_time_after_last_app_is_deleted() {
    let home = home();
    let front = runtime(&home, &format!("{} --name one -- hold", fixture()));
    home.wait_until("it listens", || home.dir().join("ostler.sock").exists());
    home.wait_status("one", "online");
    home.ok("delete one");
    assert_eq!(front.end(&home).code, 0);
}

#[test]
fn no_auto_exit_keeps_running() {
    let home = home();
    let front = runtime(&home, &format!("{} --name one --no-autorestart --no-auto-exit -- exit 3", fixture()));
    front.err_until("exited with code [3]");
    home.ok(format!("start {} --name two -- count 1", fixture()));
    front.until("end");
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
}

#[test]
fn runtime_survives_daemon_death() {
    let home = home();
    let front = runtime(&home, &format!("{} --delay 1", listener(&home, "app.sh")));
    // One kill during the start …
    kill(home.daemon_pid(), Signal::KILL);
    front.until("is up");
    let (pid, daemon) = (home.wait_status("app", "online").pid(), home.daemon_pid());
    // … and another kill later.
    kill(daemon, Signal::KILL);
    home.wait_until("another daemon is there", || home.daemon_pid() != daemon);
    assert_eq!(home.wait_status("app", "online").pid(), pid);
    front.signal(Signal::USR1);
    front.until("got USR1");
    kill(pid, Signal::KILL);
    front.until("is up");
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
    assert_eq!(home.processes(), []);
}

/// The caller of the process assumes that everything has exited, and may run it again.
#[test]
fn all_processes_exit_with_the_killed_first_process() {
    let home = home();
    for _ in 0..2 {
        let front = runtime(&home, &listener(&home, "app.sh"));
        front.until("is up");
        front.signal(Signal::KILL);
        front.until("bye");
        home.wait_no_processes();
    }
}

#[test]
fn signal_during_start_stops_the_start() {
    let home = home();
    let front = runtime(&home, &format!("{} --delay 600", listener(&home, "app.sh")));
    home.wait_until("it listens", || home.dir().join("ostler.sock").exists());
    front.signal(Signal::TERM);
    let ended = front.end(&home);
    assert_eq!((ended.code, ended.out), (0, vec![]));
    home.wait_no_processes();

    let script = home.write("slow.sh", "#!/bin/sh\necho began\nexec sleep 600\n");
    let front = runtime(&home, &format!("{script} --wait-ready --listen-timeout 600000"));
    front.until("began");
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
    home.wait_no_processes();
}

/// An app that is not ready in time is handled by its restart policy; the start does not fail.
#[test]
fn app_not_ready_in_time_is_restarted() {
    let home = home();
    let script = home.write("late.sh", "#!/bin/sh\nif [ -e once ]; then echo up; exec sleep 600; fi\ntouch once\nexit 1\n");
    let front = runtime(&home, &format!("{script} --wait-ready --listen-timeout 600000"));
    front.until("up");
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
}

#[test]
fn exit_code_is_known_after_daemon_death() {
    let home = home();
    let go = home.work().join("go");
    let script = home.write("app.sh", format!("#!/bin/sh\necho up\nwhile ! [ -e {} ]; do sleep 0.01; done\nexit 9\n", go.display()));
    let front = runtime(&home, &format!("{script} --no-autorestart"));
    front.until("up");
    let daemon = home.daemon_pid();
    kill(daemon, Signal::STOP);
    std::fs::write(go, "").unwrap();
    kill(daemon, Signal::KILL);
    assert_eq!(front.end(&home).code, 9);
}

#[test]
fn update_does_not_interrupt_apps() {
    let home = home();
    let front = runtime(&home, &listener(&home, "app.sh"));
    front.until("is up");
    let pid = home.wait_status("app", "online").pid();
    home.ok("update");
    assert_eq!((home.wait_status("app", "online").pid(), home.keeper_pid()), (pid, front.pid()));
    front.signal(Signal::USR1);
    front.until("got USR1");
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
}

#[test]
fn pm2_runtime_and_pm2_docker_names_work() {
    let place = home();
    for name in ["pm2-runtime", "pm2-docker"] {
        let link = place.root().join("bin").join(name);
        symlink(binary(), &link).unwrap();
        let home = Home::new(Subject::Ostler(link));
        for words in ["start APP --no-autorestart -- exit 3", "APP --no-autorestart -- exit 3", "--no-autorestart APP -n x -- exit 3"] {
            home.run(words.replace("APP", &fixture())).code(3);
        }
        home.run(format!("{} --some-new-option --no-autorestart -- exit 4", fixture())).code(4).says("--some-new-option");
        home.run(format!("{} --no-autorestart --web 9615 --secret a --public b --machine-name c -- exit 4", fixture())).code(4);
        home.run(format!("{} --no-daemon --no-autorestart -- exit 4", fixture())).code(4);
        home.write("ecosystem.config.js", format!("module.exports = [{{ script: '{}', args: 'exit 5', autorestart: false }}];", fixture()));
        home.run("start").code(5);
        std::fs::remove_file(home.work().join("ecosystem.config.js")).unwrap();
        home.run("--version").ok().says("7.0.4");
        home.run("").code(1).says("Usage: pm2");
        home.run("gone.js").code(1).says("gone.js");
        assert_eq!(home.processes(), []);
    }
}

/// A user without a home, and a file system on which only the temporary folder is writable.
#[test]
fn user_without_home_gets_a_temporary_home() {
    if !geteuid().is_root() {
        ostler_testkit::skip!("only root can be somebody else");
    }
    const NOBODY: u32 = 54_321;
    let home = home();
    for folder in [home.root().to_owned(), home.work()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let temporary = home.root().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o1777)).unwrap();
    let words = format!("runtime {} --no-autorestart -- exit 3", fixture());
    let run = |dir: &std::path::Path| {
        let cmd = home.cmd(&words).without("OSTLER_HOME").without("PM2_HOME").env("HOME", "/").env("TMPDIR", dir);
        cmd.uid(NOBODY).run()
    };
    run(&temporary).code(3).says("instead");
    let place = temporary.join(format!(".ostler-{NOBODY}"));
    assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
    // No writable folder at all: one line with the remedy.
    let output = run(std::path::Path::new("/nonexistent")).fails().says("OSTLER_HOME");
    assert_eq!(output.all().trim().lines().count(), 1, "{output}");
    // Another user's link in that folder is not followed.
    std::fs::remove_dir_all(&place).unwrap();
    symlink(home.work(), &place).unwrap();
    run(&temporary).fails();
    assert!(!home.work().join("ostler.lock").exists());
}
