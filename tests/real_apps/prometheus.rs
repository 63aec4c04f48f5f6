//! A real Prometheus: it scrapes the dashboard's figures in both formats and those of a PM2 module,
//! and its own checker reports no problem.

use std::io::Write;
use std::process::{Command, Stdio};

use ostler_testkit::{Home, KilledOnDrop, Subject, fixture, free_port, get, needs_program};
use serde_json::Value;

use crate::needs_packages;

/// Starts a Prometheus that scrapes every second with these lines of its file. Returns it with its
/// port.
#[track_caller]
pub fn prometheus(home: &Home, configs: &str) -> (KilledOnDrop, u16) {
    let own = free_port();
    home.write("prometheus.yml", format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{configs}"));
    let prometheus = Command::new("prometheus")
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=error"])
        .arg(format!("--web.listen-address=127.0.0.1:{own}"))
        .current_dir(home.work())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (KilledOnDrop(prometheus), own)
}

/// Returns Prometheus's answer to a query.
pub fn query(port: u16, query: &str) -> Vec<Value> {
    let path = format!("/api/v1/query?query={query}");
    let answer: Value = get(port, &path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    answer["data"]["result"].as_array().cloned().unwrap_or_default()
}

#[test]
fn prometheus_scrapes_dashboard_and_module() {
    let packages = needs_packages!();
    needs_program!("prometheus");
    needs_program!("promtool");
    let home = Home::new(Subject::Ostler(env!("CARGO_BIN_EXE_ostler").into()));
    home.ok(["start", &fixture(), "--name", "a \"quoted\\ name\"", "-i", "2", "--", "hold"]);
    let (web, module) = (free_port(), free_port());
    home.ok(format!("web enable --port {web}"));
    let token = home.ok("web token prometheus").stdout.trim().to_owned();
    home.ok(["multiset", &format!("pm2-metrics:port {module} pm2-metrics:host 127.0.0.1")].as_slice());
    let cached = home.cmd("install pm2-metrics@1.0.47").env("npm_config_cache", packages.join("npm")).env("npm_config_offline", "true");
    cached.run().ok();
    let (_prometheus, own) = prometheus(
        &home,
        &format!(
            "- {{job_name: ostler, authorization: {{credentials: {token}}}, static_configs: [{{targets: ['127.0.0.1:{web}']}}]}}\n\
             - {{job_name: as_pm2, authorization: {{credentials: {token}}}, params: {{format: [pm2]}}, static_configs: [{{targets: ['127.0.0.1:{web}']}}]}}\n\
             - {{job_name: module, static_configs: [{{targets: ['127.0.0.1:{module}']}}]}}\n"
        ),
    );
    let values = |text: &str| query(own, text);
    home.wait_until("all three are scraped", || values("up").iter().filter(|sample| sample["value"][1] == "1").count() == 3);
    home.wait_until("the figures are there", || values("ostler_app_up").len() == 4 && !values("pm2_up").is_empty());
    let up = values("ostler_app_up");
    let of_app: Vec<&Value> = up.iter().filter(|sample| sample["metric"]["app"] == "a \"quoted\\ name\"").collect();
    assert!(of_app.len() == 2 && of_app.iter().all(|sample| sample["value"][1] == "1"), "{up:?}");
    let jobs =
        |query: &str| values(query).iter().map(|sample| sample["metric"]["job"].to_string()).collect::<std::collections::BTreeSet<_>>();
    home.wait_until("PM2's names from both", || jobs("pm2_memory").len() == 2);
    // Runs Prometheus's checker.
    let text = Command::new("curl")
        .args(["-sS", "-H", &format!("Authorization: Bearer {token}"), &format!("http://127.0.0.1:{web}/metrics")])
        .output()
        .unwrap();
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(&text.stdout).unwrap();
    let told = check.wait_with_output().unwrap();
    assert!(told.status.success() && told.stdout.is_empty() && told.stderr.is_empty(), "{told:?}");
}
