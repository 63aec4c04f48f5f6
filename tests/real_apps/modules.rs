//! PM2 modules from npm, unmodified, beside an app that writes and serves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use ostler_testkit::{Home, Subject, fixture, kill};
use rustix::process::Signal;
use serde_json::Value;

use crate::{needs_packages, prometheus};

/// Creates a home with an app that writes a line about every millisecond.
#[track_caller]
fn home() -> Home {
    let home = Home::new(Subject::Ostler(env!("CARGO_BIN_EXE_ostler").into()));
    home.ok(format!("start {} --name app -- count 100000000 100", fixture()));
    home
}

/// Installs a module from the npm cache beside the packages.
#[track_caller]
fn install(home: &Home, packages: &Path, words: &str) {
    let cached = home.cmd(format!("install {words}")).env("npm_config_cache", packages.join("npm")).env("npm_config_offline", "true");
    cached.run().ok();
}

fn metrics(home: &Home, module: &str) -> Value {
    home.app(module).env("axm_monitor").clone()
}

#[test]
fn pm2_logrotate_works() {
    let (packages, home) = (needs_packages!(), home());
    install(&home, &packages, "pm2-logrotate@3.0.0 --npm");
    home.ok(["multiset", "pm2-logrotate:max_size 10K pm2-logrotate:workerInterval 1 pm2-logrotate:retain 2"].as_slice());
    home.wait_log("pm2-logrotate-out.log", "has been created");
    home.wait_log("pm2-logrotate-out.log", "has been deleted");
    home.wait_until("its metrics are known", || metrics(&home, "pm2-logrotate")["Files count"]["value"].as_u64() > Some(0));
    let answer = home.ok(["trigger", "pm2-logrotate", "list watched logs", "--json"].as_slice()).stdout;
    assert!(answer.contains("app-out.log"), "{answer}");
    // The built-in rotation stays off beside it.
    let rotated = home.ok("events --json").stdout;
    assert!(!rotated.contains("log_rotated"), "{rotated}");
    // The module reconnects to the next daemon.
    let created = || home.log("pm2-logrotate-out.log").matches("has been created").count();
    kill(home.daemon_pid(), Signal::KILL);
    home.wait_until("the next daemon is there", || home.run("ping").code == 0);
    let before = created();
    home.wait_until("it rotates again", || created() > before);
    assert_eq!(home.app("pm2-logrotate").env("status"), "online");
}

#[test]
fn pm2_server_monit_works() {
    let (packages, home) = (needs_packages!(), home());
    install(&home, &packages, "pm2-server-monit@3.0.0 --npm");
    home.wait_until("its metrics are known", || {
        let metrics = metrics(&home, "pm2-server-monit");
        ["CPU usage", "Free memory", "Opened FD", "Total Processes"].iter().all(|name| !metrics[*name].is_null())
    });
    home.ok("trigger pm2-server-monit uptime").says("load average");
    assert_eq!(home.app("pm2-server-monit").restarts(), 0);
}

#[test]
fn pm2_metrics_for_prometheus_works() {
    let (packages, home) = (needs_packages!(), home());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    home.ok(["multiset", &format!("pm2-metrics:port {port} pm2-metrics:host 127.0.0.1")].as_slice());
    install(&home, &packages, "pm2-metrics@1.0.47");
    let up = |text: &str| text.lines().any(|line| line.starts_with("pm2_up{") && line.contains("name=\"app\"") && line.ends_with(" 1"));
    home.wait_until("it is scraped", || up(&scrape(port)));
    let text = scrape(port);
    for name in ["pm2_cpu{", "pm2_memory{", "pm2_uptime{", "pm2_restarts{"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    kill(home.daemon_pid(), Signal::KILL);
    home.wait_until("it is scraped by way of the next daemon", || up(&scrape(port)));
    home.ok("uninstall pm2-metrics");
    assert_eq!(home.jlist().len(), 1);
}

/// The module's client is npm's library of 2017 (2.4), which ostler's daemon also supports.
#[test]
fn pm2_prometheus_exporter_works() {
    let (packages, home) = (needs_packages!(), home());
    install(&home, &packages, "pm2-prometheus-exporter@0.1.1");
    // The module has a fixed port, so only one such test may run at a time, and there is only one.
    home.wait_until("it is scraped", || {
        let text = scrape(9209);
        let has = |start: &str, end: &str| text.lines().any(|line| line.starts_with(start) && line.ends_with(end));
        has("pm2_up{name=\"app\",instance=\"0\"}", " 1") && has("pm2_up{name=\"pm2-prometheus-exporter\"", " 1")
    });
    // A real Prometheus scrapes it, and stores its samples.
    if ostler_testkit::program("prometheus").is_some() {
        let (_prometheus, port) =
            prometheus::prometheus(&home, "- {job_name: exporter, static_configs: [{targets: ['127.0.0.1:9209']}]}\n");
        home.wait_until("Prometheus has scraped it", || {
            let all = prometheus::query(port, "pm2_up");
            all.iter().any(|sample| sample["metric"]["name"] == "app" && sample["value"][1] == "1")
        });
    } else {
        assert!(!ostler_testkit::on_ci(), "prometheus is not installed, and on CI it has to be");
    }
    home.ok("stop app");
    home.wait_until("it sees the stop", || scrape(9209).lines().any(|line| line == "pm2_up{name=\"app\",instance=\"0\"} 0"));
    assert_eq!(home.app("pm2-prometheus-exporter").restarts(), 0);
}

/// Returns the body of the module's page, or nothing without a response: if the daemon is killed,
/// npm's library waits endlessly for its answer.
fn scrape(port: u16) -> String {
    let mut text = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let _ = stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n");
        let _ = stream.read_to_string(&mut text);
    }
    text
}
