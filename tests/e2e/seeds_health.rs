//! The health, limit and error blocks of the documents that this project started from, unchanged,
//! with the effects that the documents promise. Real PM2 knows none of these keys; one of them even
//! prevents it from starting the app.

use ostler_testkit::{Home, fixture_path, needs_program};
use serde_json::json;

use crate::setup::{DocumentPorts, copy_seed, home_as_pm2};

/// Writes an ecosystem file around a block for one app, with the additional members that a test
/// needs.
fn ecosystem_around(home: &Home, name: &str, more: &str) -> String {
    copy_seed(home, name, name);
    let text = format!(
        "const fs = require('fs');\n\
         const app = eval('(' + fs.readFileSync(__dirname + '/{name}', 'utf8') + ')');\n\
         module.exports = {{ apps: [Object.assign({{ name: 'app', script: 'dist/main.js' }}, app, {more})] }};"
    );
    home.write("ecosystem.config.js", text)
}

const SERVER: &str = "
const fs = require('fs');
require('http').createServer((request, response) => {
  response.statusCode = request.url !== '/health' || fs.existsSync('well') ? 200 : 503;
  response.end(String(process.pid));
}).listen(process.env.PORT || 30001);
";

/// Document 002, health check: unchanged (every 30 s), and with an interval that is short enough
/// for a test.
#[test]
fn health_check_block_restarts_the_app() {
    needs_program!("node");
    let _ports = DocumentPorts::take(&[30_001]);
    let home = home_as_pm2();
    home.write("dist/main.js", SERVER);
    home.write("well", "");
    let file = copy_seed(&home, "http-check.json", "http-check.json");
    home.ok(format!("start {file}"));
    home.wait_app("user-service", "healthy", |app| app.env("health_status")["status"] == "healthy");
    home.ok("delete all");
    let quick = "{ http: Object.assign({}, app.http, { interval: 100, grace: 0 }) }";
    let file = ecosystem_around(&home, "http-check.json", quick);
    home.ok(format!("start {file}"));
    let before = home.wait_app("user-service", "healthy", |app| app.env("health_status")["status"] == "healthy");
    std::fs::remove_file(home.work().join("well")).unwrap();
    home.wait_app("user-service", "restarted", |app| {
        app.pid() > 0 && app.pid() != before.pid() && app.env("restart_time").as_u64() >= Some(1)
    });
}

/// Document 002, "immediately": the fragment, merged into an app.
#[test]
fn health_check_fragment_reports_healthy() {
    needs_program!("node");
    let _ports = DocumentPorts::take(&[30_001]);
    let home = home_as_pm2();
    home.write("dist/main.js", SERVER);
    home.write("well", "");
    let text = std::fs::read_to_string(fixture_path("config/seeds/fragment-http.json")).unwrap();
    let fragment = text.trim().trim_start_matches('{').trim_end_matches('}').trim();
    let app = format!("module.exports = {{ apps: [{{ name: 'app', script: 'dist/main.js', {fragment} }}] }};");
    let file = home.write("ecosystem.config.js", app);
    home.ok(format!("start {file}"));
    home.wait_app("app", "healthy", |app| app.env("health_status")["status"] == "healthy");
}

/// Document 002, limits: every key of the block works.
#[test]
fn limits_block_works() {
    needs_program!("node");
    let home = home_as_pm2();
    home.write("dist/main.js", "const food = process.env.EAT ? Buffer.alloc(300 << 20, 1) : 0; setInterval(() => food, 1000);");
    let file = copy_seed(&home, "limits.json", "limits.json");
    let started = home.ok(format!("start {file}"));
    let app = home.app("api-gateway");
    assert_eq!((app.status(), app.env("max_memory_restart")), ("online", &json!(1_073_741_824)));
    assert_eq!((app.env("max_cpu"), app.env("autokill"), app.env("max_restarts")), (&json!(80), &json!(true), &json!(10)));
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", app.pid())).unwrap();
    let nice = stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().to_owned();
    // Without the right to raise the priority, ostler prints a note and the app runs.
    assert!(nice == "-5" || started.stdout.contains("-5 needs root or CAP_SYS_NICE"), "{started}");
    // The daemon watches its event loop.
    assert_eq!(app.env("health_status")["status"], "healthy");
    home.ok("delete all");
    let file = ecosystem_around(&home, "limits.json", "{ max_memory_restart: '200M', restart_delay: 100, env: { EAT: 1 } }");
    home.ok(format!("start {file}"));
    // `autokill` counts as a crash, so `restart_delay` applies.
    home.wait_app("api-gateway", "restarted", |app| app.env("restart_time").as_u64() >= Some(1));
    let log = home.daemon_log();
    assert!(log.contains("exceeds --max-memory-restart value"), "{log}");
    // The remaining delay: the daemon may notice the exit a moment later.
    let delay_ms = log.split_once("will restart in ").and_then(|(_, rest)| rest.split_once("ms")?.0.parse::<u64>().ok());
    assert!(delay_ms.is_some_and(|delay_ms| (1..=100).contains(&delay_ms)), "{log}");
}

/// Document 002, metrics: the block that prevents PM2 from starting the app.
#[test]
fn error_threshold_block_restarts_the_app() {
    needs_program!("node");
    let home = home_as_pm2();
    home.write(
        "dist/main.js",
        "const n = Number(process.env.ERRORS || 0); for (let i = 0; i < n; i++) console.error('error ' + i); setInterval(() => {}, 1000);",
    );
    let file = ecosystem_around(&home, "error-threshold.json", "{ env: { ERRORS: 49 } }");
    home.ok(format!("start {file}"));
    let app = home.wait_status("api-gateway", "online");
    assert_eq!((app.env("INSTANCE_ID"), app.env("pmx")), (&json!(0), &json!(true)));
    home.ok("delete all");
    let file = ecosystem_around(&home, "error-threshold.json", "{ env: { ERRORS: 50 } }");
    home.ok(format!("start {file}"));
    home.wait_app("api-gateway", "restarted", |app| app.env("restart_time").as_u64() >= Some(1));
    assert!(home.ok("why api-gateway").stdout.contains("(error_threshold: 50)"));
}

/// Document 002, the template for production: health checks of a cluster and of a single process,
/// side by side.
#[test]
fn production_template_checks_cluster_and_single_process() {
    needs_program!("node");
    let _ports = DocumentPorts::take(&[30_000, 30_001]);
    let home = home_as_pm2();
    let ready = format!("{SERVER}\nif (process.send) process.send('ready');");
    for service in ["api-gateway", "user-service"] {
        home.write(&format!("backend/{service}/dist/main.js"), &ready);
        home.write(&format!("backend/{service}/well"), "");
        home.write("dist/main.js", &ready);
        std::fs::create_dir_all(home.work().join(format!("backend/{service}/logs"))).unwrap();
    }
    std::fs::create_dir_all(home.work().join("logs")).unwrap();
    home.write("well", "");
    let file = copy_seed(&home, "production.config.js", "production.config.js");
    home.ok(format!("start {file} --env production"));
    home.wait_until("all are healthy", || home.jlist().iter().all(|app| app.env("health_status")["status"] == "healthy"));
}
