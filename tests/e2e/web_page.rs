//! The dashboard's page in a real browser: from the link to a restart, a search in logs, the other language, the logout, with nothing on its console.

use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_testkit::{Behaviour, Receiver, fixture, free_port, needs_program};
use serde_json::Value;

use crate::setup::home;
use crate::traces::{failed, post};

/// The folder with puppeteer-core; none where nobody installed it, and then this machine has no browser to drive.
pub(crate) fn driver() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("OSTLER_CACHE")?).join("browser");
    folder.join("node_modules/puppeteer-core").is_dir().then_some(folder)
}

#[test]
fn from_the_link_to_the_logout() {
    needs_program!("node");
    needs_program!("chromium");
    let Some(driver) = driver() else {
        assert!(std::env::var_os("CI").is_none(), "CI has the browser's driver");
        return;
    };
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
    let receiver = Receiver::new(Behaviour::Takes);
    home.ok(format!("alerts channel add webhook url={}", receiver.url("/")));
    home.wait_until("alerts are judged", || home.dir().join("web/alerts/outbox.log").exists());
    home.run(["start", &fixture().to_string(), "--name", "bad<b class=injected>", "--no-autorestart", "--", "exit", "3"]);
    home.wait_until("the crash is told", || !receiver.taken().is_empty());
    home.wait_until("traces are taken", || std::net::TcpStream::connect(("127.0.0.1", traces)).is_ok());
    let trace = failed("<b class=injected>", "", "GET /<b class=injected>", &"ab".repeat(16), "<img src=x onerror=alert(1)> it broke");
    let sent = post(traces, "/v1/traces", "Content-Type: application/json\r\n", trace.to_string().as_bytes());
    assert_eq!(sent.0, 200, "{sent:?}");
    let link = home.ok("web open").stdout;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/web/walk.mjs");
    let output = Command::new("node")
        .arg(&script)
        .args([link.trim(), "shop"])
        .env("PUPPETEER_FROM", driver.join("from.js"))
        .env("HOME", home.root())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}\n{}", home.report());
    let told: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let files = told["files"].as_array().unwrap();
    assert!(files.len() <= 6, "five requests, and the page itself: {files:?}");
}
