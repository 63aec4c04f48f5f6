//! `start`: arguments, environment and descriptors of the app.

use ostler_testkit::{Home, alive, fixture, fixture_app, needs_program, needs_root};

use crate::setup::{ecosystem, home, read_report, report_with, start_fixture};

#[test]
fn app_runs_and_its_output_is_logged() {
    let home = home();
    home.ok(format!("start {} --name app -- a b", fixture_app("hello.sh"))).says("✓ app  pid ");
    let item = home.app("app");
    assert!(alive(item.pid()) && item.status() == "online" && item.restarts() == 0);
    home.wait_log("app-out.log", "hello from shell a,b\n");
    let pid_file = std::fs::read_to_string(home.dir().join("pids/app-0.pid")).unwrap();
    assert_eq!(pid_file.trim(), item.pid().to_string());
}

#[test]
fn app_that_is_only_added_is_reported() {
    let home = home();
    let entry =
        |name: &str, more: &str| format!(r#"{{"name": "{name}", "script": "{}", "args": "hold", {more}}}"#, ostler_testkit::fixture());
    let apps = [entry("nightly", r#""job": "0 3 * * *""#), entry("later", r#""autostart": false"#)];
    let file = home.write("apps.json", format!(r#"{{"apps": [{}]}}"#, apps.join(", ")));
    home.ok(format!("start {file}")).says("○ nightly  added, not started").says("○ later    added, not started");
}

#[test]
fn stdout_is_the_log_file_and_no_descriptor_leaks() {
    let home = home();
    let report = report_with(&home, "");
    let fds = report["fds"].as_object().unwrap();
    assert_eq!(fds["1"], home.dir().join("logs/report-out.log").to_str().unwrap());
    assert_eq!(fds["2"], home.dir().join("logs/report-error.log").to_str().unwrap());
    let more: Vec<_> = fds
        .iter()
        .filter(|(fd, target)| fd.parse::<i32>().unwrap() > 3 || (fd.as_str() == "3" && !target.as_str().unwrap().starts_with("socket:")))
        .collect();
    assert!(more.is_empty(), "descriptors that are not the app's: {more:?}");
}

#[test]
fn the_app_leads_its_own_session() {
    let home = home();
    let report = report_with(&home, "");
    assert_eq!((&report["sid"], &report["pgid"]), (&report["pid"], &report["pid"]));
    assert_eq!(report["pid"].as_i64().unwrap(), i64::from(home.app("report").pid()));
}

#[test]
fn arguments_are_passed_unchanged() {
    let home = home();
    let file = home.work().join("r.json").to_string_lossy().into_owned();
    let odd = ["", "two words", "quo\"te", "it's", "$HOME", "*", "back\\slash", "tab\there", "é漢", "--name", "-n"];
    let mut words = vec!["start".to_owned(), fixture(), "--name".into(), "args".into(), "--".into(), "report".into(), file.clone()];
    words.extend(odd.map(str::to_owned));
    home.ok(words);
    let report = read_report(&home, "r.json");
    let got: Vec<&str> = report["args"].as_array().unwrap()[3..].iter().map(|v| v.as_str().unwrap()).collect();
    assert_eq!(got, odd);
}

#[test]
fn arguments_in_a_file_are_a_list_or_a_line() {
    let home = home();
    let report = home.work().join("r.json").to_string_lossy().into_owned();
    for args in [format!(r#"["report", "{report}", "a b", "c"]"#), format!(r#""report {report} 'a b' c""#)] {
        let file = ecosystem(&home, &format!(r#""name": "x", "script": "{}", "args": {args}"#, fixture()));
        home.ok(format!("start {file}"));
        let seen = read_report(&home, "r.json");
        assert_eq!(seen["args"].as_array().unwrap()[3..], ["a b", "c"]);
        home.ok("delete x");
        std::fs::remove_file(&report).unwrap();
    }
}

#[test]
fn script_path_may_contain_blanks_and_quotes() {
    let home = home();
    let script = home.write("dir with 'quotes' \"and\" blanks/my app.sh", "#!/bin/sh\necho it runs\nexec sleep 1000\n");
    home.ok(["start", &script, "--name", "odd path"]);
    home.wait_log("odd-path-out.log", "it runs");
    home.ok(["stop", "odd path"]);
    assert_eq!(home.app("odd path").status(), "stopped");
}

#[test]
fn the_working_directory_is_the_callers_or_the_given_one() {
    let home = home();
    let here = home.work().to_string_lossy().into_owned();
    assert_eq!(report_with(&home, "")["cwd"], *here);
    home.ok("delete report");
    std::fs::remove_file(home.work().join("report.json")).unwrap();
    std::fs::create_dir(home.work().join("sub")).unwrap();
    assert_eq!(report_with(&home, &format!("--cwd {here}/sub"))["cwd"], format!("{here}/sub"));
}

#[test]
fn a_link_to_the_current_release_is_followed_at_each_start() {
    let home = home();
    for release in ["one", "two"] {
        home.write(&format!("{release}/app.sh"), format!("#!/bin/sh\necho release {release}\nexec sleep 1000\n"));
    }
    let current = home.work().join("current");
    std::os::unix::fs::symlink("one", &current).unwrap();
    home.ok(format!("start {}/app.sh --name app", current.display()));
    home.wait_log("app-out.log", "release one");
    std::fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink("two", &current).unwrap();
    home.ok("restart app");
    home.wait_log("app-out.log", "release two");
}

#[test]
fn fork_instances_get_their_number() {
    let home = home();
    let script = home.write("n.sh", "#!/bin/sh\necho number $NODE_APP_INSTANCE\nexec sleep 1000\n");
    home.ok(format!("start {script} --name many -i 3"));
    let list = home.jlist();
    assert_eq!(list.len(), 3);
    for item in &list {
        let number = item.number("NODE_APP_INSTANCE");
        home.wait_log(&format!("many-out-{}.log", item.id()), &format!("number {number}\n"));
    }
    let mut numbers: Vec<u64> = list.iter().map(|item| item.number("NODE_APP_INSTANCE")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn app_without_autostart_is_listed_as_stopped() {
    let home = home();
    start_fixture(&home, "idle", "--no-autostart", "hold");
    assert_eq!((home.app("idle").status(), home.app("idle").pid()), ("stopped", 0));
    home.ok("restart idle");
    home.wait_status("idle", "online");
}

#[test]
fn uid_sets_user_groups_home_and_name() {
    needs_root!();
    let home = home();
    std::fs::set_permissions(home.work(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let report = report_with(&home, "--uid nobody");
    let ids: Vec<&str> = report["status"]["Uid"].as_str().unwrap().split_whitespace().collect();
    assert_eq!(ids, ["65534"; 4]);
    let groups: Vec<&str> = report["status"]["Groups"].as_str().unwrap().split_whitespace().collect();
    assert!(!groups.contains(&"0"), "root's groups are kept: {groups:?}");
    let gid = report["status"]["Gid"].as_str().unwrap();
    assert!(!gid.split_whitespace().any(|id| id == "0"), "root's group is kept: {gid}");
    assert_eq!(report["env"]["USER"], "nobody");
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let entry = passwd.lines().find(|line| line.starts_with("nobody:")).unwrap();
    assert_eq!(report["env"]["HOME"], entry.split(':').nth(5).unwrap());
}

#[test]
fn nice_umask_and_rlimits_are_applied() {
    let home = home();
    let report = home.work().join("r.json").to_string_lossy().into_owned();
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "x", "script": "{}", "args": ["report", "{report}"], "nice": 7, "umask": "027",
            "rlimits": {{"nofile": [200, 300], "core": 0}}"#,
            fixture()
        ),
    );
    home.ok(format!("start {file}"));
    let seen = read_report(&home, "r.json");
    assert_eq!(seen["nice"], 7);
    assert_eq!(seen["status"]["Umask"], "0027");
    assert_eq!(seen["limits"]["Max open files"], serde_json::json!(["200", "300"]));
    assert_eq!(seen["limits"]["Max core file size"], serde_json::json!(["0", "0"]));
}

#[test]
fn app_gets_limits_of_the_caller() {
    // The daemon raises its own soft limit of descriptors; apps must not inherit it.
    let home = home();
    let file = home.work().join("report.json");
    let line = format!("start {} --name report -- report {}", fixture(), file.display());
    home.cmd(line).after("ulimit -S -n 777").run().ok();
    assert_eq!(read_report(&home, "report.json")["limits"]["Max open files"][0], "777");
}

fn ready(home: &Home, options: &str, ready_ms: Option<u32>) -> ostler_testkit::Output {
    let command = home.cmd(format!("start {} --name ready --wait-ready {options}", fixture_app("ready.js")));
    match ready_ms {
        Some(ms) => command.env("READY_MS", ms.to_string()).run(),
        None => command.run(),
    }
}

#[test]
fn start_waits_for_the_ready_message() {
    needs_program!("node");
    let home = home();
    ready(&home, "--listen-timeout 20000", Some(300)).ok();
    assert_eq!(home.app("ready").status(), "online");
}

#[test]
fn missing_ready_message_fails_the_start() {
    needs_program!("node");
    let home = home();
    ready(&home, "--listen-timeout 300 --no-autorestart", None).fails().says("ready");
}

#[test]
fn ready_message_works_for_non_node_programs() {
    let home = home();
    home.ok(format!("start {} --name fd3 --wait-ready --listen-timeout 20000", fixture_app("echo_fd3.sh")));
    assert_eq!(home.app("fd3").status(), "online");
}

#[test]
fn a_command_string_runs_in_a_shell() {
    let home = home();
    home.ok(["start", "echo first; echo second && exec sleep 1000", "--name", "line"]);
    home.wait_log("line-out.log", "first\nsecond\n");
    home.ok("delete line");
}

#[test]
fn npm_start_is_stopped_with_its_tree() {
    needs_program!("npm");
    let home = home();
    home.write("package.json", r#"{"name": "demo", "version": "3.2.1", "scripts": {"start": "node app.js"}}"#);
    home.write("app.js", "console.log('served by', process.pid); setInterval(() => {}, 1 << 30);");
    home.ok("start npm --name web -- start");
    home.wait_log("web-out.log", "served by");
    let log = home.log("web-out.log");
    let pid: i32 = log.lines().find_map(|line| line.strip_prefix("served by ")).unwrap().trim().parse().unwrap();
    assert!(alive(pid));
    home.ok("stop web");
    assert!(!alive(pid), "npm is gone but node {pid} lives on\n{}", home.report());
}

#[test]
fn several_targets_in_one_call() {
    let home = home();
    let one = home.write("one.sh", "#!/bin/sh\nexec sleep 1000\n");
    let two = home.write("two.sh", "#!/bin/sh\nexec sleep 1000\n");
    home.ok(format!("start {one} {two}"));
    assert_eq!(home.jlist().len(), 2);
}
