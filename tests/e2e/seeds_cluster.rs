//! The cluster blocks of the documents that this project started from, unchanged, with the effects
//! that the documents promise.

use ostler_testkit::{Home, Load, LoadSpec, free_port, get};

use crate::setup::{DocumentPorts, copy_seed, home_as_pm2};

/// A server as in these documents: it sends `ready` when it listens, and closes on SIGINT.
const SERVER: &str = "
const server = require('http').createServer((q, r) => r.end(String(process.pid)));
server.listen(process.env.PORT, () => { console.log('listening'); if (process.send) process.send('ready'); });
process.on('SIGINT', () => server.close(() => process.exit(0)));
";

/// Reloads under load: no request fails and every process is replaced.
fn reload_under_load(home: &Home, port: u16, command: &str) {
    home.wait_until("it serves", || get(port, "/").is_ok());
    let before = home.pids();
    let load = Load::start_all([LoadSpec::to(port), LoadSpec { keep_alive: true, ..LoadSpec::to(port) }]);
    home.ok(command);
    load.stop().assert_whole();
    assert!(home.pids().iter().all(|pid| !before.contains(pid)), "{command}");
}

/// Document 002: the complete configuration.
#[test]
fn complete_configuration_runs_and_reloads() {
    let _ports = DocumentPorts::take(&[30_000, 30_001]);
    let home = home_as_pm2();
    for service in ["api-gateway", "user-service"] {
        home.write(&format!("backend/{service}/dist/main.js"), SERVER);
        std::fs::create_dir_all(home.work().join(format!("backend/{service}/logs"))).unwrap();
    }
    let file = copy_seed(&home, "production.config.js", "ecosystem.config.js");
    home.ok(format!("start {file} --env production"));
    let cpus = std::thread::available_parallelism().unwrap().get();
    let gateway: Vec<_> = home.jlist().into_iter().filter(|app| app.name() == "api-gateway").collect();
    assert_eq!(gateway.len(), cpus);
    assert!(gateway.iter().all(|app| app.text("exec_mode") == "cluster_mode" && app.status() == "online"));
    home.ok("delete user-service");
    reload_under_load(&home, 30_000, "reload api-gateway");
    reload_under_load(&home, 30_000, "reload all");
}

/// Document 002: which service is a cluster and which is not, and the block of the graceful
/// restart.
#[test]
fn clustered_and_single_services_run_side_by_side() {
    let home = home_as_pm2();
    home.write("server.js", SERVER);
    copy_seed(&home, "five-services.config.js", "block.config.js");
    let ports = [(); 5].map(|()| free_port());
    let port = ports[0];
    // The block names no scripts; everything else is unchanged.
    let text = format!(
        "const config = require('./block.config.js');\n\
         config.apps.forEach((app, index) => {{ app.script = 'server.js'; app.env = {{ PORT: {ports:?}[index] }}; }});\nmodule.exports = config;"
    );
    let file = home.write("ecosystem.config.js", text);
    home.ok(format!("start {file}"));
    let count = |name: &str| home.jlist().iter().filter(|app| app.name() == name && app.status() == "online").count();
    assert_eq!(["api-gateway", "user-service", "device-service", "billing-service"].map(count), [4, 2, 1, 1]);
    for app in ["device-service", "billing-service", "notification-service"] {
        home.ok(format!("delete {app}"));
    }
    reload_under_load(&home, port, "reload api-gateway user-service");
}

/// Documents 000 and 003: `instances: "max"` in a container, `-i max`, `-i 0`, `-i 4`; `reload` by
/// script path and by `all`.
#[test]
fn every_form_of_instances_starts_a_cluster() {
    let port = free_port();
    let cpus = std::thread::available_parallelism().unwrap().get();
    let file = |home: &Home| copy_seed(home, "docker-cluster.config.js", "ecosystem.config.js");
    for (command, count) in [("start app.js -i max", cpus), ("start app.js -i 0", cpus), ("start app.js -i 4", 4), ("start FILE", cpus)] {
        let home = home_as_pm2();
        home.write("app.js", SERVER);
        let command = command.replace("FILE", &file(&home));
        home.cmd(&command).env("PORT", port.to_string()).run().ok();
        let apps = home.jlist();
        assert!(apps.len() == count && apps.iter().all(|app| app.text("exec_mode") == "cluster_mode"), "{command}: {}", home.report());
        reload_under_load(&home, port, "reload app.js");
    }
}

/// Document 002: `process.env.NODE_ENV === 'production' ? 4 : 1`.
#[test]
fn instances_can_depend_on_the_environment() {
    for (variable, count, mode) in [("production", 4, "cluster_mode"), ("development", 1, "fork_mode")] {
        let home = home_as_pm2();
        home.write("app.js", SERVER);
        copy_seed(&home, "fragment-instances.config.js", "block.config.js");
        let file = home.write(
            "ecosystem.config.js",
            "const config = require('./block.config.js');\nconfig.apps[0].script = 'app.js';\nmodule.exports = config;",
        );
        home.cmd(format!("start {file}")).env("NODE_ENV", variable).env("PORT", free_port().to_string()).run().ok();
        let apps = home.jlist();
        assert!(apps.len() == count && apps.iter().all(|app| app.text("exec_mode") == mode), "{variable}: {}", home.report());
    }
}

/// Document 004: the ecosystem file of its comparison, started and reloaded.
#[test]
fn file_of_the_comparison_starts_and_reloads() {
    let _ports = DocumentPorts::take(&[3000, 8080]);
    let home = home_as_pm2();
    home.write("app.js", SERVER);
    home.write("dist/main.js", SERVER);
    let file = copy_seed(&home, "full.config.js", "ecosystem.config.js");
    home.ok(format!("start {file}"));
    reload_under_load(&home, 3000, "reload all");
    reload_under_load(&home, 3000, &format!("reload {file}"));
    home.ok(format!("start {file} --env production"));
    reload_under_load(&home, 8080, "reload all");
}
