//! Libraries that apps use to communicate with PM2, unmodified: their metrics, actions and
//! exceptions reach PM2's clients.

use std::io::Read;
use std::path::Path;

use ostler_proto::pm2::amp::Decoder;
use ostler_testkit::{Home, Subject, fixture_path};
use serde_json::{Value, json};

use crate::needs_packages;

/// Creates a home in which an app uses this library.
#[track_caller]
fn start(packages: &Path, library: &str) -> Home {
    let home = Home::new(Subject::Ostler(env!("CARGO_BIN_EXE_ostler").into()));
    std::fs::copy(fixture_path("real/probe.js"), home.work().join("probe.js")).unwrap();
    std::os::unix::fs::symlink(packages.join("node_modules"), home.work().join("node_modules")).unwrap();
    home.ok(format!("start probe.js --name probe -- {library}"));
    home
}

/// Returns the value that the app has reported under this key of `pm2_env`.
fn reported(home: &Home, key: &str) -> Value {
    home.app("probe").env(key).clone()
}

/// Waits for the first event of this topic.
#[track_caller]
fn event(home: &Home, topic: &str) -> Value {
    let mut stream = home.connect("pub.sock");
    let mut decoder = Decoder::with_limit(16 << 20);
    let mut buffer = [0; 4096];
    loop {
        while let Some(args) = decoder.take().unwrap() {
            if args[0] == format!("s:{topic}").as_bytes() {
                return serde_json::from_slice(args[1].strip_prefix(b"j:").unwrap()).unwrap();
            }
        }
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "the daemon has closed the connection");
        decoder.push(&buffer[..length]);
    }
}

#[track_caller]
fn speaks(packages: &Path, library: &str, has_exceptions: bool) {
    let home = start(packages, library);
    home.wait_until("its metrics are known", || reported(&home, "axm_monitor")["hits"]["value"] == 1);
    assert_eq!(reported(&home, "axm_monitor")["answer"]["value"], 42, "{library}");
    home.wait_until("its action is known", || {
        reported(&home, "axm_actions").as_array().is_some_and(|all| all.iter().any(|action| action["action_name"] == "add"))
    });
    assert!(reported(&home, "axm_options")["module_name"].is_string(), "{library}");
    let shown = home.ok("describe probe").stdout;
    assert!(shown.contains("answer") && shown.contains("add"), "{shown}");
    let answer: Value = serde_json::from_str(&home.ok("trigger probe add --json").stdout).unwrap();
    assert_eq!(answer[0]["return"], json!({ "sum": 3 }), "{library}");
    if has_exceptions {
        let event = event(&home, "process:exception");
        assert_eq!((event["data"]["message"].as_str(), event["process"]["name"].as_str()), (Some("told"), Some("probe")), "{event}");
    }
    assert_eq!(home.app("probe").restarts(), 0);
}

/// `monit` also shows the library's metrics, and updates them.
#[test]
fn monit_shows_the_metrics_of_pm2_io() {
    ostler_testkit::needs_program!("setsid");
    let home = start(&needs_packages!(), "@pm2/io");
    home.wait_until("its metrics are known", || reported(&home, "axm_monitor")["answer"]["value"] == 42);
    let mut terminal = ostler_testkit::Terminal::start(home.cmd("monit"), 120, 50);
    terminal.wait_for("Custom Metrics");
    terminal.wait_until("the metrics of the app", |screen| screen.lines().any(|line| line.contains("answer") && line.contains("42")));
    terminal.wait_until("its counter", |screen| screen.lines().any(|line| line.contains("hits")));
    terminal.press("q");
    assert!(terminal.end().success());
}

#[test]
fn pm2_io_6_works() {
    speaks(&needs_packages!(), "@pm2/io", true);
}

#[test]
fn pm2_io_5_works() {
    speaks(&needs_packages!(), "pm2-io-5", true);
}

#[test]
fn pmx_works() {
    speaks(&needs_packages!(), "pmx", true);
}

#[test]
fn tx2_works() {
    speaks(&needs_packages!(), "tx2", false);
}
