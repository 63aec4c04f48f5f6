//! Errors on which a user can act: similar names, places in files, and the changes that a refused
//! command made.

use std::collections::BTreeMap;

use ostler_testkit::{Home, fixture, needs_program};

use crate::setup::{home, home_as_pm2};

/// Returns the error and its hint: the last two lines on stderr.
#[track_caller]
fn error_and_hint(home: &Home, command: &str) -> (String, String) {
    let output = home.run(command).fails();
    let lines: Vec<&str> = output.stderr.lines().collect();
    let [.., error, hint] = lines[..] else { panic!("{output}") };
    assert!(error.starts_with("error: ") && hint.starts_with("hint: "), "{output}");
    (error.to_owned(), hint.to_owned())
}

/// Each kind of name: command, exit code, and the name in the question.
#[test]
fn unknown_names_get_a_similar_name() {
    let home = home();
    home.ok("start sleep --name payments -- 1000");
    home.write("eco.json", r#"{"apps": [{"name": "web", "script": "sleep", "args": "1000", "env_production": {"A": "1"}}]}"#);
    home.write("compose.ymll", "");
    home.ok("set shop:level 1");
    for (command, code, meant) in [
        ("pid paymnets", 4, "payments"),
        ("events paymnets", 4, "payments"),
        ("events payments paymnets", 4, "payments"),
        ("id paymnets", 4, "payments"),
        ("jobs run paymnets", 4, "payments"),
        ("rollout undo paymnets", 4, "payments"),
        ("trigger paymnets x", 4, "payments"),
        ("up -f eco.json wbe -d", 4, "web"),
        ("export compose eco.json --app wbe", 4, "web"),
        ("start eco.json --env prodution", 2, "production"),
        ("import composer", 2, "compose"),
        ("import compose", 4, "compose.ymll"),
        ("import compose eko.json", 1, "eco.json"),
        ("validate eko.json", 4, "eco.json"),
        ("diff eko.json", 4, "eco.json"),
        ("start paymens", 4, "payments"),
        ("set pm2-logrotate:max_size huge", 1, ""),
        ("unset shop:levle", 4, "shop:level"),
        ("get shop:levle", 1, "shop:level"),
        ("rollout statsu", 2, "status"),
        ("web enabel", 2, "enable"),
        ("web token --role viewr", 2, "viewer"),
        ("alerts tset", 2, "test"),
        ("compat instal", 2, "install"),
        ("completion bahs", 2, "bash"),
        ("ecosystem simpel", 2, "simple"),
        ("startup systemdd", 1, "systemd"),
        ("sendSignal SIGHPU payments", 2, "SIGHUP"),
        ("sendSignal hpu payments", 2, "HUP"),
        ("list --sort memroy", 2, "memory"),
    ] {
        let output = home.run(command).code(code);
        if !meant.is_empty() {
            assert!(
                output.stderr.lines().any(|line| line.starts_with("hint: did you mean ") && line.contains(&format!("{meant}`"))),
                "{output}"
            );
        }
    }
    // A file in the place of an app, and the reverse.
    home.write("job.sh", "");
    assert_eq!(error_and_hint(&home, "restart job.sh").1, "hint: job.sh is a file, but no app runs it; `ostler start job.sh` starts it");
    assert_eq!(error_and_hint(&home, "start payments.js").1, "hint: payments is an app: `ostler restart payments` restarts it");
    home.run("validate payments").code(4).says("hint: payments is an app: `ostler restart payments` restarts it");
    assert_eq!(home.app("payments").restarts(), 0);
}

/// Names that may be right although they are unknown: the command works, and warns.
#[test]
fn plausible_names_are_warnings() {
    let home = home();
    home.ok("start sleep --name payments -- 1000");
    home.write("eco.json", r#"{"apps": [{"name": "web", "script": "sleep", "args": "1000"}]}"#);
    home.ok("start eco.json --only wbe").says("the file has no app wbe, did you mean `web`?").says("nothing was started");
    home.ok("set paymnets:level 1").says("no module and no app is named paymnets").says("did you mean `payments`?");
    home.ok("set payments:level 1").never_says("did you mean");
    home.ok("errors paymnets").says("did you mean `payments`?");
}

/// Without a daemon, no app exists unless a killed daemon left apps behind. PM2 starts its daemon.
#[test]
fn command_for_an_unknown_app_starts_no_daemon() {
    let home = home();
    let fails = |hint: &str| {
        for verb in ["stop", "delete", "restart", "reload"] {
            let (error, next) = error_and_hint(&home, &format!("{verb} nosuch 0"));
            assert_eq!(error, "error: no app, namespace or script is named nosuch; nothing was changed", "{verb}");
            assert!(next.contains("no app is in the list; ") && next.contains(hint), "{verb}: {next}");
            for (target, code) in [("nosuch", 4), ("0", 4), ("all", 4), ("/x/", 4), ("/(/", 1)] {
                home.run(format!("{verb} {target}")).code(code);
            }
        }
        assert_eq!(home.processes(), []);
    };
    fails("`ostler start <app>`");
    home.ok("start sleep --name web -- 1000");
    home.ok("save");
    home.ok("kill");
    fails("`ostler resurrect`");
    home.ok("resurrect");
    home.kill_everything();
    home.ok("restart web");
    assert_eq!(home.app("web").status(), "online");
    let pm2 = home_as_pm2();
    pm2.run("stop nosuch").code(1);
    assert_eq!(pm2.daemons().len(), 1);
}

#[test]
fn default_file_with_a_typing_error_is_suggested() {
    let home = home();
    for command in ["start", "validate", "diff", "export compose"] {
        let (error, hint) = error_and_hint(&home, command);
        assert!(error.contains("no config file is in ") && hint.contains("`ostler ecosystem`"), "{command}: {error} {hint}");
    }
    home.write("ecosystem.confg.js", "");
    assert_eq!(error_and_hint(&home, "start").1, "hint: did you mean `ecosystem.confg.js`?");
    home_as_pm2().run("start").fails().says("File ecosystem.config.js not found");
}

/// The first line with this beginning lists the changes of the command.
#[test]
fn refusals_say_what_was_changed() {
    let home = home();
    let bad = home.write("bad.json", r#"{"apps": [{"name": "web", "script": "sleep", "exec_mode": "clustr"}]}"#);
    for name in ["a", "b"] {
        home.ok(format!("start sleep --name {name} -- 1000"));
    }
    let pids = || home.jlist().iter().map(|app| (app.name().to_owned(), app.pid())).collect::<BTreeMap<_, _>>();
    let before = pids();
    for command in [
        format!("start {bad}"),
        format!("reload {bad}"),
        format!("restart {bad}"),
        format!("stop {bad}"),
        format!("up -d -f {bad}"),
        "start nosuch.js".to_owned(),
        "restart nosuch".to_owned(),
        "stop nosuch".to_owned(),
        "delete nosuch a".to_owned(),
        "scale nosuch 2".to_owned(),
        "scale a 5000".to_owned(),
        "set pm2-logrotate:max_size huge".to_owned(),
        "multiset pm2-logrotate:retain 3 pm2-logrotate:max_sise 1".to_owned(),
        "unset nosuch:key".to_owned(),
    ] {
        home.run(&command).fails().says("; nothing was changed");
    }
    assert_eq!(pids(), before);
    assert!(!home.ok("conf").all().contains("retain"));
    home.run("import compose nosuch.yaml").fails().says("; no file was written");
    // Earlier targets are named.
    home.run("restart a nosuch b").fails().says("is named nosuch; changed before that: a").never_says("nothing was changed");
    home.run(format!("restart b {bad}")).fails().says("; changed before that: b");
    home.run("start sleep nosuch.js").fails().says("; changed before that: sleep");
    home.run("delete b nosuch a").fails().says("is named nosuch; changed before that: b");
    assert_eq!(home.app("a").restarts(), 1);
    // A command that only reads does not mention changes.
    home.run("describe nosuch").code(4).never_says("changed");
    home_as_pm2().run("restart nosuch").fails().never_says("changed");
}

/// One run reports the mistakes of all apps, each with its place and its app.
#[test]
fn start_reports_the_mistakes_of_all_apps() {
    let home = home();
    let text = "apps:\n  - name: api\n    script: missing.js\n    health: {liveness: {tpc: 80}}\n  - name: web\n    script: missing.py\n    uid: no-such-user\n";
    let file = home.write("eco.yaml", text);
    for command in [format!("start {file}"), format!("up -d -f {file}")] {
        let output = home.run(&command).fails();
        for (place, app, words) in [
            ("3:5", "api", "apps[0].script: Script not found"),
            ("4:25", "api", "apps[0].health: `liveness`: unknown key `tpc`, did you mean `tcp`?"),
            ("6:5", "web", "apps[1].script: Script not found"),
            ("7:5", "web", "apps[1].uid: no such user \"no-such-user\""),
        ] {
            let is_line = |line: &str| {
                line.starts_with("error: ") && line.contains(&format!("eco.yaml:{place}: ")) && line.contains(&format!("{app}: {words}"))
            };
            assert!(output.stderr.lines().any(is_line), "{place} {words}\n{output}");
        }
    }
    assert!(home.app_processes().is_empty());
}

/// PM2 skips entries that it cannot read, and starts the others.
#[test]
fn one_bad_saved_entry_keeps_no_app_from_starting() {
    needs_program!("sleep");
    for home in [home(), home_as_pm2()] {
        home.ok(format!("start {} --name good -- hold", fixture()));
        home.ok("save");
        let good: serde_json::Value = serde_json::from_str(&home.read_own("dump.pm2")).unwrap();
        home.ok("kill");
        let list = home.work().join("list");
        for bad in ["null", "7", "{}", r#"{"name": "bad"}"#] {
            let text = format!("[{bad}, {}]", good[0]);
            for own in [true, false] {
                std::fs::write(if own { home.dir().join("dump.pm2") } else { list.clone() }, &text).unwrap();
                // With another path than the daemon's, the command itself reads the list.
                home.ok("start sleep --name other -- 1000");
                let cmd = home.cmd("resurrect");
                let output = if own {
                    cmd
                } else {
                    cmd.env("PM2_DUMP_FILE_PATH", &list).env("PM2_DUMP_BACKUP_FILE_PATH", list.with_extension("bak"))
                }
                .run();
                assert!(output.all().contains("entry 0 of the saved list"), "{output}");
                home.wait_status("good", "online");
                home.ok("kill");
            }
        }
    }
}
