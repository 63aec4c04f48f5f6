//! `up`, `down`, `ps`, `logs`: the ecosystem or compose file of a folder as a project of its own.

use std::path::{Path, PathBuf};

use ostler_testkit::{Foreground, Home, Terminal, alive, kill, needs_program};
use rustix::process::Signal;
use serde_json::Value;

use crate::setup::{home, home_as_pm2};

/// A compose file: `web` waits until `api` is healthy, and `api` waits until `seed` has succeeded.
const SHOP: &str = r#"
services:
  web:
    command: sh ../web.sh ${GREETING:-hi} $$1
    working_dir: .
    depends_on: {api: {condition: service_healthy}}
    ports: ["8099:3000"]
    restart: unless-stopped
    stop_grace_period: 60s
  api:
    command: [sh, ../api.sh]
    environment: [PASSED]
    depends_on: {seed: {condition: service_completed_successfully}}
    healthcheck: {test: [CMD, test, -e, healthy], interval: 100ms, retries: 1000}
    restart: always
    stop_grace_period: 60s
  seed: {command: "sh -c 'echo seed >> told'"}
  pg: {image: "postgres:15"}
  debug: {command: "sleep 100", profiles: [debug]}
"#;

/// Creates a folder of this name with the file, and the scripts in its parent folder.
fn shop(home: &Home, folder: &str) -> PathBuf {
    let script = |name: &str, then: &str| {
        format!(
            "trap 'echo {name} ends >> told; exit 0' INT TERM\necho {name} >> told\necho \"{name} $1 $2 $PORT $PASSED\"\n{then}\nwhile :; do sleep 0.1; done\n"
        )
    };
    let above = Path::new(folder).parent().unwrap();
    home.write(&above.join("web.sh").display().to_string(), script("web", ""));
    home.write(&above.join("api.sh").display().to_string(), script("api", "until [ -e ready ]; do sleep 0.02; done; touch healthy"));
    home.write(&format!("{folder}/compose.yaml"), SHOP);
    home.write(&format!("{folder}/.env"), "PASSED=by-file\n");
    home.write(&format!("{folder}/ready"), "");
    home.work().join(folder)
}

/// Starts an app outside any project.
fn another(home: &Home, name: &str) {
    home.write("another.sh", "while :; do sleep 0.1; done\n");
    home.ok(format!("start another.sh --name {name}"));
}

fn up(home: &Home, folder: &Path, words: &str) -> Value {
    home.cmd(format!("up -d --json {words}")).cwd(folder).run().ok().json()
}

fn steps(answer: &Value) -> Vec<String> {
    let apps = answer["apps"].as_array().unwrap();
    apps.iter().map(|app| format!("{} {}", app["app"].as_str().unwrap(), app["step"].as_str().unwrap())).collect()
}

#[test]
fn compose_file_starts_in_order_and_only_changes_restart() {
    let home = home();
    let folder = shop(&home, "shop");
    let answer = up(&home, &folder, "");
    assert_eq!(
        (answer["project"].as_str(), steps(&answer)),
        (Some("shop"), vec!["web created".into(), "api created".into(), "seed created".into()])
    );
    assert!(answer["left_out"][0]["reason"].as_str().unwrap().contains("postgres:15"), "{answer}");
    home.wait_until("all have begun", || home.lines(folder.join("told")).len() == 3);
    assert_eq!(home.lines(folder.join("told")), ["seed", "api", "web"]);
    home.wait_log("shop-web-out.log", "web hi $1 8099");
    home.wait_log("shop-api-out.log", "by-file");
    // Without changes, only apps that have exited are started.
    let pids = [home.app("shop-web").pid(), home.app("shop-api").pid()];
    assert_eq!(steps(&up(&home, &folder, "")), ["web unchanged", "api unchanged", "seed started"]);
    std::fs::write(folder.join("compose.yaml"), SHOP.replace("GREETING:-hi", "GREETING:-hello")).unwrap();
    assert_eq!(steps(&up(&home, &folder, "web"))[0], "web changed");
    home.wait_log("shop-web-out.log", "web hello");
    assert_eq!(home.app("shop-api").pid(), pids[1]);
    assert_ne!(home.app("shop-web").pid(), pids[0]);
    // A file with an error changes nothing.
    let before = home.app("shop-web").pid();
    for bad in [
        "services: {web: {command: '${NO:?give it}'}}",
        "services: {web: [}",
        "services: {web: {command: x, depends_on: {api: {condition: odd}}}, api: {command: 'true'}}",
    ] {
        std::fs::write(folder.join("compose.yaml"), bad).unwrap();
        home.cmd("up -d").cwd(&folder).run().fails().says("compose.yaml");
    }
    assert_eq!((home.app("shop-web").pid(), home.names().len()), (before, 3));
    // An app that the file no longer has stays until the user asks for its removal.
    std::fs::write(folder.join("compose.yaml"), SHOP.replace("  seed:", "  other:").replace("{seed:", "{other:")).unwrap();
    assert_eq!(up(&home, &folder, "")["orphans"][0], "shop-seed");
    up(&home, &folder, "--remove-orphans");
    assert_eq!(home.names(), ["shop-api", "shop-other", "shop-web"]);
    // In reverse order: dependent apps stop first.
    home.cmd("down").cwd(&folder).run().ok();
    let ends = home.lines(folder.join("told")).iter().rev().take(2).cloned().collect::<Vec<_>>();
    assert_eq!(ends, ["api ends", "web ends"]);
    assert!(home.jlist().is_empty());
}

#[test]
fn projects_of_two_folders_are_separate() {
    let home = home();
    let (one, two) = (shop(&home, "one/shop"), shop(&home, "two/shop"));
    another(&home, "web");
    up(&home, &one, "web");
    // The same name with another file: `up` reports it and touches nothing.
    home.cmd("up -d").cwd(&two).run().code(1).says("--project-name");
    up(&home, &two, "--project-name other --scale web=2");
    assert_eq!(home.names().iter().filter(|name| *name == "other-web").count(), 2);
    // From a subfolder, with the project's own names.
    let below = two.join("below");
    std::fs::create_dir(&below).unwrap();
    let rows = home.cmd("ps --json").cwd(&below).run().ok();
    let rows: Vec<Value> = serde_json::from_str(&rows.stdout).unwrap();
    assert!(rows.len() == 4 && rows.iter().all(|row| row["namespace"] == "other"), "{rows:?}");
    let lines = home.cmd("logs api --nostream --raw").cwd(&below).run().ok();
    assert!(lines.stdout.contains("api   "), "{lines}");
    lines.never_says("web");
    // Compose's short options.
    let ids: Vec<String> = rows.iter().map(|row| row["id"].to_string()).collect();
    let quiet = home.cmd("ps -q").cwd(&below).run().ok();
    assert_eq!(quiet.stdout.lines().collect::<Vec<_>>(), ids);
    let quiet = home.cmd("ps -q --json").cwd(&below).run().ok();
    assert_eq!(quiet.stdout.trim(), format!("[{}]", ids.join(",")));
    let last = home.cmd("logs api --tail 1 -t --nostream").cwd(&below).run().ok();
    assert!(last.stdout.lines().count() == 1 && last.stdout.contains(" other-api   "), "{last}");
    // In other folders, and under the other name, these are PM2's commands.
    assert_eq!(home.ok("ps --json").stdout.matches("\"pid\"").count(), 8);
    up(&home, &two, "--project-name other --scale web=1");
    home.wait_until("one is left", || home.names().iter().filter(|name| *name == "other-web").count() == 1);
    home.cmd("down -v").cwd(&one).run().ok().says("ostler creates no volumes").says("✓ web  ");
    home.cmd("down --project-name other").cwd(home.root()).run().ok();
    assert_eq!(home.names(), ["web"]);
    home.cmd("down").cwd(&one).run().ok().says("no app of this project");
    assert_eq!(home.names(), ["web"]);
    let other = home_as_pm2();
    let folder = shop(&other, "shop");
    other.cmd("up -d").cwd(&folder).run().ok();
    another(&other, "mine");
    other.cmd("ps").cwd(&folder).run().ok().says("mine");
}

#[test]
fn each_app_has_one_line_with_its_result() {
    let home = home();
    let file = |a: &str, replicas: u8| {
        let services =
            format!("api: {{command: sleep 100, environment: {{A: {a}}}, deploy: {{replicas: {replicas}}}}}, web: {{command: sleep 100}}");
        home.write("shop/compose.yaml", format!("services: {{{services}, failing: {{command: [sh, -c, 'echo no disk; exit 4']}}}}\n"));
    };
    file("'1'", 2);
    let up = |words: &str| home.cmd(format!("up -d {words}")).cwd(home.work().join("shop")).run().ok();
    let lines = up("api web");
    assert!(
        lines.stdout.is_empty() && lines.stderr.contains("\n✓ api ×2  created") && lines.stderr.contains("\n✓ web     created, pid "),
        "{lines}"
    );
    lines.never_says("shop-");
    let unchanged = up("api web");
    assert_eq!(unchanged.stderr.lines().skip(1).collect::<Vec<_>>(), ["● shop is up to date: 2 apps, nothing to change"], "{unchanged}");
    file("'2'", 3);
    up("api web").says("✓ api ×3  changed").says("● unchanged: web");
    file("'2'", 1);
    up("api web").says("✓ api  3 → 1 instance");
    up("failing").says("✗ failing  exited with code 4\n    no disk\n    hint: ostler why shop-failing");
    home.write("shop/compose.yaml", "services: {web: {command: sleep 100}}\n");
    up("").says("no longer in this file: api, failing");
    let down = home.cmd("down").cwd(home.work().join("shop")).run().ok();
    assert!(down.stderr.contains("✓ web") && down.stderr.contains("deleted"), "{down}");
    let pm2 = home_as_pm2();
    pm2.write("shop/compose.yaml", "services: {web: {command: sleep 100}}\n");
    let lines = pm2.cmd("up -d").cwd(pm2.work().join("shop")).run().ok();
    assert!(lines.stdout.ends_with("[PM2] App [shop-web] launched (1 instances)\nshop-web created\n"), "{lines}");
    pm2.cmd("up -d").cwd(pm2.work().join("shop")).run().ok().says("shop-web unchanged");
}

#[test]
fn app_that_is_waited_for_has_a_live_line() {
    needs_program!("setsid");
    let home = home();
    let folder = shop(&home, "shop");
    std::fs::remove_file(folder.join("ready")).unwrap();
    let mut terminal = Terminal::start(home.cmd("up -d").cwd(&folder), 60, 24);
    terminal.wait_until("web waits for api", |screen| screen.lines().any(|line| line.starts_with("◐ web ") && line.contains("shop-api")));
    std::fs::write(folder.join("ready"), "").unwrap();
    terminal.wait_until("web has a result", |screen| screen.lines().any(|line| line.starts_with("✓ web ") && line.contains("created")));
    assert!(terminal.end().success());
}

#[test]
fn foreground_up_runs_until_ctrl_c() {
    let home = home();
    let folder = shop(&home, "shop");
    another(&home, "mine");
    let mut front = Foreground::open(home.cmd("up").cwd(&folder).command());
    let lines = front.until("web hi");
    assert!(lines.last().unwrap().starts_with("web-"), "{lines:?}");
    kill(front.pid(), Signal::INT);
    front.until("stopping 2 apps; press Ctrl-C again to kill them");
    assert_eq!(front.exit_code(&home), 130);
    assert_eq!(home.app("shop-web").status(), "stopped");
    assert_eq!(home.app("mine").status(), "online");
    // At the second Ctrl-C, ostler kills the processes immediately.
    home.write("web.sh", "trap '' INT TERM\necho stubborn\nwhile :; do sleep 0.1; done\n");
    let mut front = Foreground::open(home.cmd("up web").cwd(&folder).command());
    front.until("stubborn");
    let pid = home.app("shop-web").pid();
    kill(front.pid(), Signal::INT);
    front.until("stopping 2 apps; press Ctrl-C again to kill them");
    assert!(alive(pid));
    assert_eq!(front.killed(&home), 130);
    assert!(!alive(pid));
    // It also works while `up` still waits for an app that never becomes healthy.
    home.cmd("down").cwd(&folder).run().ok();
    std::fs::remove_file(folder.join("ready")).unwrap();
    std::fs::remove_file(folder.join("healthy")).unwrap();
    std::fs::remove_file(folder.join("told")).unwrap();
    let mut front = Foreground::open(home.cmd("up").cwd(&folder).command());
    home.wait_until("api has begun", || home.lines(folder.join("told")).contains(&"api".to_owned()));
    kill(front.pid(), Signal::INT);
    assert_eq!(front.exit_code(&home), 130);
    home.wait_until("nothing of it runs", || home.jlist().iter().all(|item| item.name() == "mine" || item.status() == "stopped"));
    assert!(!home.lines(folder.join("told")).contains(&"web".to_owned()));
    // When an app exits by itself, the command exits, too, with the app's result.
    home.write("short/compose.yaml", "services: {a: {command: \"sh -c 'echo done; exit 3'\"}}\n");
    let mut front = Foreground::open(home.cmd("up").cwd(home.work().join("short")).command());
    front.until("done");
    assert_eq!(front.exit_code(&home), 1);
}

#[test]
fn ecosystem_file_with_hostile_names_is_handled() {
    let home = home();
    let folder = home.work().join("My Shop");
    let app = |name: &str, more: &str| format!(r#"{{"name": {name:?}, "script": "sh", "args": ["-c", "echo $NAME; sleep 1000"] {more}}}"#);
    let file = |names: &[&str]| format!("{{\"apps\": [{}]}}", names.iter().map(|name| app(name, "")).collect::<Vec<_>>().join(", "));
    let hostile = ["all", "/.*/", "0", "-rf", "a b; touch pwned", "../../up", "ü\u{1b}[31m"];
    home.write("My Shop/ecosystem.json", file(&hostile));
    another(&home, "mine");
    let output = home.cmd("up -d").cwd(&folder).run();
    if output.code == 0 {
        assert_eq!(home.jlist().len(), hostile.len() + 1);
        home.cmd("down").cwd(&folder).run().ok();
    }
    assert_eq!(home.names(), ["mine"], "{output}");
    assert_eq!(home.app("mine").status(), "online");
    assert!(!folder.join("pwned").exists());
    home.write("My Shop/ecosystem.json", file(&["api"]));
    home.cmd("start ecosystem.json").cwd(&folder).run().ok();
    home.cmd("up -d").cwd(&folder).run().code(1).says("was started with `start`");
    home.ok("delete api");
    home.cmd("up -d --wait --wait-timeout 1m").cwd(&folder).run().ok();
    assert_eq!(home.app("myshop-api").status(), "online");
    for bad in ["-p UPPER", "-p ../x", "--scale nope=1", "--scale api", "--scale api=99999999", "nope", "-f nowhere.json", "--build"] {
        home.cmd(format!("up -d {bad}")).cwd(&folder).run().fails();
    }
    assert_eq!(home.names(), ["mine", "myshop-api"]);
    home.cmd("up -d --scale api=0").cwd(&folder).run().ok();
    assert_eq!(home.names(), ["mine"]);
}
