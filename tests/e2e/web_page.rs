//! The dashboard's page in a real browser: the link, a restart, a search in logs, the other
//! language, and the logout. The console must stay empty.

use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_testkit::{Behaviour, Home, Receiver, fixture, fixture_path, free_port, needs_program, post};
use serde_json::Value;

use crate::setup::home;
use crate::traces::failed;

/// A real browser, and the package that drives it.
pub(crate) struct Browser(PathBuf);

/// Returns the browser; none if this machine has no browser, which fails on CI.
pub(crate) fn browser() -> Option<Browser> {
    let folder = std::env::var_os("OSTLER_CACHE").map(|cache| PathBuf::from(cache).join("browser"));
    let driver = folder.filter(|folder| folder.join("node_modules/puppeteer-core").is_dir());
    let is_whole = ["node", "chromium"].iter().all(|name| ostler_testkit::program(name).is_some());
    assert!(is_whole && driver.is_some() || !ostler_testkit::on_ci(), "CI has Node, Chromium and its driver");
    driver.filter(|_| is_whole).map(Browser)
}

impl Browser {
    /// Runs a script of `tests/fixtures/web` in the browser. Returns the value of its last line.
    pub(crate) fn run(&self, home: &Home, script: &str, words: &[&str]) -> Value {
        let mut command = Command::new("node");
        command.arg(fixture_path(&format!("web/{script}"))).args(words);
        command.env("PUPPETEER_FROM", self.0.join("from.js")).env("HOME", home.root());
        let output = command.output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{stdout}\n{stderr}\n{}", home.report());
        serde_json::from_str(stdout.lines().last().unwrap_or_default()).unwrap_or_default()
    }
}

/// Runs a table (`tests/fixtures/web`) over a module of the page, or its folder, in Node.
#[track_caller]
pub(crate) fn table(script: &str, module: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/page").join(module);
    let output = Command::new("node").arg(fixture_path(&format!("web/{script}"))).arg(page).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn suspended_page_knows_which_events_it_missed() {
    needs_program!("node");
    table("eventlist_table.mjs", "eventlist.js");
}

#[test]
fn repeated_events_and_exits_are_folded() {
    needs_program!("node");
    table("fold_table.mjs", "fold.js");
}

#[test]
fn charts_have_round_scales_and_merged_flags() {
    needs_program!("node");
    table("chart_table.mjs", "");
}

/// The list and the stream, in each possible order of arrival.
#[test]
fn page_merges_list_and_stream_in_any_order() {
    needs_program!("node");
    table("store_table.mjs", "");
}

#[test]
fn page_works_from_link_to_logout() {
    let Some(browser) = browser() else { return };
    let home = home();
    let traces = free_port();
    home.ok(format!("web enable --port {} --otlp-port {traces}", free_port()));
    let app = home.write(
        "app.js",
        "console.log('<img src=x onerror=alert(1)> <b class=injected>'); console.log('a needle in the hay'); setInterval(() => {}, 1000);",
    );
    home.ok(["start", &app, "--name", "api<b class=injected>"]);
    home.ok(["start", &app, "--name", "shop"]);
    home.wait_log("shop-out.log", "needle");
    let receiver = Receiver::new(Behaviour::Accepts);
    home.ok(format!("alerts channel add webhook url={}", receiver.url("/")));
    home.wait_until("alerts are judged", || home.dir().join("web/alerts/outbox.log").exists());
    home.run(["start", &fixture().to_string(), "--name", "bad<b class=injected>", "--no-autorestart", "--", "exit", "3"]);
    home.wait_until("the crash is reported", || !receiver.received_requests().is_empty());
    home.wait_until("traces are taken", || std::net::TcpStream::connect(("127.0.0.1", traces)).is_ok());
    let trace = failed("<b class=injected>", "", "GET /<b class=injected>", &"ab".repeat(16), "<img src=x onerror=alert(1)> it broke");
    let sent = post(traces, "/v1/traces", "Content-Type: application/json\r\n", trace.to_string().as_bytes());
    assert_eq!(sent.status, 200, "{sent:?}");
    let link = home.ok("web open").stdout;
    let told = browser.run(&home, "walk.mjs", &[link.trim(), "shop"]);
    let files = told["files"].as_array().unwrap();
    assert!(files.len() <= 7, "six requests, and the page itself: {files:?}");
}

#[test]
fn page_shows_the_actual_state() {
    let Some(browser) = browser() else { return };
    let home = home();
    home.ok(format!("web enable --port {} --no-otlp", free_port()));
    let calm = home.write("calm.sh", "#!/bin/sh\nwhile echo a line without a date; do sleep 1; done\n");
    home.ok(["start", &calm, "--name", "calm"]);
    home.run(["start", &fixture().to_string(), "--name", "crashed", "--no-autorestart", "--", "exit", "3"]);
    home.wait_status("crashed", "stopped");
    let again = home.write("again.sh", "#!/bin/sh\n[ -e stop ] && exec sleep 1000\nexit 1\n");
    home.run(["start", &again, "--name", "loop", "--restart-delay", "100"]);
    home.wait_app("loop", "it has restarted", |item| item.restarts() >= 4);
    home.write("stop", "");
    home.wait_app("loop", "it is up", |item| item.status() == "online" && item.number("restart_time") >= 4);
    let port = free_port();
    let server = home.write(
        "routes.js",
        format!(
            "const http = require('http');
             http.createServer((request, answer) => {{ answer.statusCode = request.url === '/fails' ? 500 : 200; answer.end(); }}).listen({port}, '127.0.0.1');
             const ask = (path) => http.get({{ port: {port}, host: '127.0.0.1', path, agent: false }}, (answer) => answer.resume()).on('error', () => {{}});
             setInterval(() => {{ ask('/fails'); ask('/well'); }}, 100);"
        ),
    );
    home.ok(["start", &server, "--name", "routes"]);
    // A file that another program wrote: its lines have neither dates nor receive times.
    std::fs::write(home.dir().join("logs/loop-out__2026-11-20_12-00-00.log"), "a line of unknown time\n").unwrap();
    let thrower =
        home.write("thrower.js", "const none = 1;\nconsole.error(new RangeError('no row 7 of k3x9'));\nsetInterval(() => {}, 1000);\n");
    // The dashboard reads lines that are written while it runs.
    home.wait_until("errors are read", || home.processes().iter().any(|process| process.cmdline.contains("logs --json --err")));
    home.ok(["start", &thrower, "--name", "thrower"]);
    browser.run(&home, "truths.mjs", &[home.ok("web open").stdout.trim()]);
}

#[test]
fn stops_by_ostler_are_no_errors() {
    needs_program!("python3");
    let home = home();
    let loops = "import time\nprint('ready', flush=True)\nwhile True:\n    time.sleep(1)\n";
    home.ok(["start", &home.write("loop.py", loops), "--name", "loop", "--interpreter", "python3"]);
    home.wait_log("loop-out.log", "ready");
    home.ok("restart loop");
    home.wait_log("loop-error.log", "KeyboardInterrupt");
    home.ok([
        "start",
        &home.write("bad.py", "raise ValueError('bad header')"),
        "--name",
        "bad",
        "--interpreter",
        "python3",
        "--no-autorestart",
        "--no-wait",
    ]);
    home.wait_log("bad-error.log", "ValueError");
    // Without the dashboard, the log files are searched, and the times are unknown.
    let errors = home.ok("errors");
    errors.says("ValueError: bad header").never_says("KeyboardInterrupt");
}

/// The page is asleep, or cut off from a dying server, for longer and for shorter than events are
/// kept. It shows the current state, and reports a gap exactly if events are missing.
#[test]
fn page_reports_missed_events() {
    let Some(browser) = browser() else { return };
    let home = home();
    home.ok(format!("web enable --port {} --no-otlp", free_port()));
    home.ok(format!("start {} --name many -i 10 -- hold", fixture()));
    let ostler = home.cmd("").command();
    let set = ostler.get_envs().filter_map(|(name, value)| Some(format!("{}='{}' ", name.to_str()?, value?.to_str()?)));
    let line = format!("{}exec {} \"$@\"", set.collect::<String>(), ostler.get_program().display());
    let program = home.write("ostler.sh", format!("#!/bin/sh\n{line}\n"));
    let link = home.ok("web open").stdout;
    browser.run(&home, "missed.mjs", &[link.trim(), &program]);
}
