//! Order: an app starts after the apps that it depends on, and stops before them.

use ostler_testkit::{Home, fixture_app, kill, needs_program};
use rustix::process::Signal;

use crate::setup::{apps_file, home, start_in_background};

/// Writes a script that writes to `log` when it starts, which makes it ready, and when it gets the
/// stop signal.
fn app(home: &Home, name: &str, members: &str) -> String {
    let script = home.write(
        &format!("{name}.sh"),
        format!(
            "#!/bin/sh\ntrap \"echo '-{name}' >> log; exit 0\" INT TERM\necho '+{name}' >> log\necho up\nwhile :; do sleep 0.1; done\n"
        ),
    );
    format!(
        r#"{{"name": "{name}", "script": "{script}", "pre_start": "[ ! -e no-{name} ]", "ready": {{"log": "up"}}, "listen_timeout": 20000, "kill_timeout": 20000 {members}}}"#
    )
}

/// Writes a file in which `web` depends on `api` and `api` on `db`, in reverse order.
fn shop(home: &Home) -> String {
    apps_file(
        home,
        &[
            app(home, "web", r#", "depends_on": ["api"]"#),
            app(home, "api", r#", "depends_on": {"db": "ready"}"#),
            app(home, "alone", ""),
            app(home, "db", ""),
        ],
    )
}

/// Returns the lines of the three apps that depend on each other.
fn chain(home: &Home) -> Vec<String> {
    home.lines("log").into_iter().filter(|line| !line.ends_with("alone")).collect()
}

#[track_caller]
fn assert_log(home: &Home, lines: &[&str]) {
    home.wait_until(&format!("the apps told {lines:?}"), || chain(home).len() >= lines.len());
    assert_eq!(chain(home), lines, "{}", home.report());
}

#[test]
fn apps_start_in_order_and_stop_in_reverse() {
    let home = home();
    home.ok(format!("start {}", shop(&home)));
    assert_eq!(home.jlist().iter().map(|item| item.status().to_owned()).collect::<Vec<_>>(), ["online"; 4]);
    home.wait_until("all told", || home.lines("log").len() == 4);
    home.write("log", "");
    home.ok("restart all");
    let restarted = chain(&home);
    let stops: Vec<&String> = restarted.iter().filter(|line| line.starts_with('-')).collect();
    assert_eq!(stops, ["-db", "-api", "-web"], "what others depend on is restarted first");
    home.wait_until("all told", || home.lines("log").iter().filter(|line| line.starts_with('+')).count() == 4);
    home.write("log", "");
    home.ok("stop all");
    assert_log(&home, &["-web", "-api", "-db"]);
    home.write("log", "");
    home.ok("restart all");
    home.wait_until("all told", || home.lines("log").len() == 4);
    home.write("log", "");
    home.ok("delete all");
    assert_log(&home, &["-web", "-api", "-db"]);
}

#[test]
fn kill_and_sigterm_stop_apps_in_order() {
    for by_signal in [false, true] {
        let home = home();
        home.ok(format!("start {}", shop(&home)));
        home.wait_until("all told", || home.lines("log").len() == 4);
        home.write("log", "");
        if by_signal {
            let keeper = home.keeper_pid();
            kill(keeper, Signal::TERM);
            home.wait_until("the keeper is gone", || !ostler_testkit::alive(keeper));
        } else {
            home.ok("kill");
        }
        assert_log(&home, &["-web", "-api", "-db"]);
    }
}

#[test]
fn resurrect_starts_apps_in_order() {
    let home = home();
    home.ok(format!("start {}", shop(&home)));
    home.ok("save");
    home.wait_until("all told", || home.lines("log").len() == 4);
    home.ok("kill");
    home.write("log", "");
    home.write("no-db", "");
    let mut resurrect = start_in_background(&home, "resurrect");
    home.wait_app("web", "waiting", |item| item.status() == "launching");
    home.run("why web").says("waiting: api is not ready");
    home.run("describe web").says("depends_on").says("api (ready)").says("waits for");
    assert_eq!(chain(&home), [""; 0]);
    std::fs::remove_file(home.work().join("no-db")).unwrap();
    resurrect.wait().unwrap();
    home.wait_status("web", "online");
    assert_log(&home, &["+db", "+api", "+web"]);
}

#[test]
fn dependency_that_is_never_ready_fails_the_start() {
    needs_program!("node");
    let home = home();
    let slow = format!(r#"{{"name": "slow", "script": "{}", "wait_ready": true, "listen_timeout": 600000}}"#, fixture_app("hold.js"));
    let apps = [app(&home, "web", r#", "depends_on": ["slow"], "depends_timeout": "400ms""#), slow];
    let path = apps_file(&home, &apps);
    let mut start_of_slow = start_in_background(&home, &format!("start {path} --only slow"));
    home.wait_status("slow", "launching");
    home.run(format!("start {path} --only web")).code(1).says("it depends on slow, which is not ready, after 400 ms");
    assert_eq!((home.app("web").status(), home.lines("log").len()), ("errored", 0));
    home.run("why web").says("was not started: it depends on slow, which is not ready, after 400 ms");
    home.ok("delete all");
    start_of_slow.wait().unwrap();
}

#[test]
fn errored_dependency_fails_dependents_immediately() {
    let home = home();
    home.write("no-db", "");
    let apps = [
        app(&home, "web", r#", "depends_on": ["api"]"#),
        app(&home, "api", r#", "depends_on": ["db"]"#),
        app(&home, "db", r#", "max_restarts": 2"#),
    ];
    home.run(format!("start {}", apps_file(&home, &apps))).code(1).says("db, which is errored").says("api, which is errored");
    assert_eq!(home.lines("log"), [""; 0]);
    // The cause is removed: the same command starts all apps.
    std::fs::remove_file(home.work().join("no-db")).unwrap();
    home.ok("start apps.json");
    assert_log(&home, &["+db", "+api", "+web"]);
}

#[test]
fn app_waits_for_a_completed_job() {
    let home = home();
    let migrate = |code: u32| {
        let members = r#""script": "while [ ! -e go ]; do sleep 0.01; done; echo migrated >> log; exit CODE", "autorestart": false"#;
        format!(r#"{{"name": "migrate", {}}}"#, members.replace("CODE", &code.to_string()))
    };
    let web = app(&home, "web", r#", "depends_on": {"migrate": {"condition": "service_completed_successfully"}}"#);
    let path = apps_file(&home, &[web.clone(), migrate(0)]);
    let mut start = start_in_background(&home, &format!("start {path}"));
    home.wait_status("migrate", "online");
    assert_eq!(home.app("web").status(), "launching");
    home.write("go", "");
    assert!(start.wait().unwrap().success(), "{}", home.report());
    assert_log(&home, &["migrated", "+web"]);
    home.ok("delete all");
    home.write("log", "");
    home.run(format!("start {}", apps_file(&home, &[web, migrate(3)]))).code(1).says("migrate, which has failed");
    assert_eq!(chain(&home), ["migrated"]);
}

#[test]
fn next_daemon_resumes_waiting_starts() {
    let home = home();
    home.write("no-db", "");
    let apps = [
        app(&home, "web", r#", "depends_on": ["api"]"#),
        app(&home, "api", r#", "depends_on": ["db"]"#),
        app(&home, "db", r#", "max_restarts": 100000"#),
    ];
    let mut start = start_in_background(&home, &format!("start {}", apps_file(&home, &apps)));
    home.wait_app("web", "waiting", |item| item.status() == "launching");
    for _ in 0..3 {
        home.kill_daemon();
    }
    assert_eq!((home.app("web").status(), home.app("api").status()), ("launching", "launching"));
    std::fs::remove_file(home.work().join("no-db")).unwrap();
    home.wait_status("web", "online");
    start.wait().unwrap();
    assert_log(&home, &["+db", "+api", "+web"]);
}

#[test]
fn stop_cancels_a_waiting_start() {
    let home = home();
    home.write("no-db", "");
    let apps = [app(&home, "web", r#", "depends_on": ["db"]"#), app(&home, "db", r#", "max_restarts": 100000"#)];
    let mut start = start_in_background(&home, &format!("start {}", apps_file(&home, &apps)));
    home.wait_app("web", "waiting", |item| item.status() == "launching");
    home.ok("stop web");
    assert_eq!(home.app("web").status(), "stopped");
    std::fs::remove_file(home.work().join("no-db")).unwrap();
    home.wait_status("db", "online");
    assert!(!start.wait().unwrap().success());
    assert_eq!(home.app("web").status(), "stopped");
}

#[test]
fn restart_of_a_dependency_leaves_dependents_alone() {
    let home = home();
    home.ok(format!("start {}", shop(&home)));
    let web = home.app("web").pid();
    home.ok("restart db");
    kill(home.app("db").pid(), Signal::KILL);
    home.wait_app("db", "restarted", |item| item.restarts() == 2 && item.status() == "online");
    assert_eq!((home.app("web").pid(), home.app("web").restarts()), (web, 0));
    // A restart of a running app does not check its dependencies.
    home.ok("stop db");
    home.ok("restart web");
    assert_eq!(home.app("web").status(), "online");
    // A start of a stopped app needs its dependencies, and fails immediately without them.
    home.ok("stop web api");
    home.run("start api").code(1).says("it depends on db, which is stopped");
}

#[test]
fn reload_is_in_order_and_stops_at_first_failure() {
    let home = home();
    home.ok(format!("start {}", shop(&home)));
    home.wait_until("all told", || home.lines("log").len() == 4);
    home.write("log", "");
    home.ok("reload all");
    let reloaded = chain(&home);
    let stops: Vec<&String> = reloaded.iter().filter(|line| line.starts_with('-')).collect();
    assert_eq!(stops, ["-db", "-api", "-web"]);
    let pids = |home: &Home| ["api", "web"].map(|name| home.app(name).pid());
    for command in ["reload all", "restart all"] {
        home.wait_until("all are online", || home.all_online());
        let before = pids(&home);
        home.write("no-db", "");
        home.run(command).code(1).says("was left unchanged, because it depends on db");
        assert_eq!(pids(&home), before, "{command}");
        std::fs::remove_file(home.work().join("no-db")).unwrap();
        home.ok("restart db");
    }
}

#[test]
fn cycles_and_unknown_dependencies_are_rejected() {
    let home = home();
    let one = |name: &str, on: &str| app(&home, name, &format!(r#", "depends_on": ["{on}"]"#));
    let circle = apps_file(&home, &[one("a", "b"), one("b", "c"), one("c", "a")]);
    home.run(format!("start {circle}")).code(1).says("a → b → c → a");
    home.run(format!("validate {circle}")).code(1).says("a → b → c → a").says("depends_on");
    home.run(format!("start {}", apps_file(&home, &[one("a", "a")]))).code(1).says("a depends on itself");
    home.run(format!("start {}", apps_file(&home, &[one("a", "nobody")]))).code(1).says("a depends on nobody").says("nothing was started");
    home.run(format!("start {}", apps_file(&home, &[app(&home, "a", r#", "depends_on": {"b": "happy"}"#)])))
        .code(1)
        .says("\"completed\", found \"happy\"");
    let never = app(&home, "a", r#", "depends_on": {"b": "completed"}"#);
    home.run(format!("start {}", apps_file(&home, &[never, app(&home, "b", "")]))).code(1).says("restarts after each exit");
    assert!(home.jlist().is_empty());
    // A dependency may be an app that already exists. A cycle across two files is also a cycle.
    home.ok(format!("start {}", apps_file(&home, &[app(&home, "b", "")])));
    home.ok(format!("start {}", apps_file(&home, &[one("a", "b")])));
    home.run(format!("start {}", apps_file(&home, &[one("b", "a")]))).code(1).says("in a circle");
    assert_eq!((home.app("a").restarts(), home.app("b").restarts()), (0, 0));
}

#[test]
fn independent_apps_start_in_parallel() {
    let home = home();
    let both = [
        app(&home, "one", r#", "pre_start": "touch one; while [ ! -e two ]; do sleep 0.01; done""#),
        app(&home, "two", r#", "pre_start": "touch two; while [ ! -e one ]; do sleep 0.01; done""#),
    ];
    let web = app(&home, "web", r#", "depends_on": ["one", "two"], "instances": 2"#);
    home.ok(format!("start {}", apps_file(&home, &[web, both[0].clone(), both[1].clone()])));
    home.wait_until("all told", || home.lines("log").len() == 4);
    assert!(home.lines("log")[2..].iter().all(|line| line == "+web"), "{:?}", home.lines("log"));
}

#[test]
fn dependency_started_by_same_command_is_waited_for() {
    let home = home();
    let db = app(&home, "db", r#", "instances": 4"#);
    let path = apps_file(&home, std::slice::from_ref(&db));
    home.ok(format!("start {path}"));
    home.ok("stop all");
    // Two of the four are started first, then the others; the new app needs all.
    home.ok(format!("start {}", apps_file(&home, &[app(&home, "web", r#", "depends_on": "db""#), db])));
    assert!(home.all_online(), "{}", home.report());
}

/// Returns the names of a compose file's services, and the dependencies of each.
fn services(text: &str) -> Vec<(String, Vec<String>)> {
    let mut services: Vec<(String, Vec<String>)> = Vec::new();
    let (mut inside, mut key) = (false, "");
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        let word = line.trim();
        match depth {
            0 => inside = word == "services:",
            2 if inside => services.push((word.trim_end_matches(':').to_owned(), Vec::new())),
            4 if inside => key = word,
            6 if inside && key == "depends_on:" => services.last_mut().unwrap().1.push(word.trim_start_matches("- ").to_owned()),
            _ => {}
        }
    }
    services
}

/// `depends_on` of the compose file in document 004, with its three replicas of `app`, works with
/// the same names and words.
#[test]
fn compose_depends_on_works_natively() {
    let home = home();
    let text = std::fs::read_to_string(ostler_testkit::fixture_path("config/bad/docker-compose.yml")).unwrap();
    let services = services(&text);
    let depends_on = |name: &str| services.iter().find(|(own, _)| own == name).unwrap().1.clone();
    assert_eq!((depends_on("app"), depends_on("nginx")), (vec!["db".to_owned(), "redis".to_owned()], vec!["app".to_owned()]));
    let apps: Vec<String> = services
        .iter()
        .map(|(name, on)| {
            let on = serde_json::to_string(on).unwrap();
            let replicas = if name == "app" { r#", "instances": 3"# } else { "" };
            app(&home, name, &format!(r#", "depends_on": {on}{replicas}"#))
        })
        .collect();
    home.ok(format!("start {}", apps_file(&home, &apps)));
    let mut started = home.lines("log");
    started[..2].sort();
    assert_eq!(started, ["+db", "+redis", "+app", "+app", "+app", "+nginx"]);
    home.write("log", "");
    home.ok("stop all");
    let mut stopped = home.lines("log");
    stopped[4..].sort();
    assert_eq!(stopped, ["-nginx", "-app", "-app", "-app", "-db", "-redis"]);
}
