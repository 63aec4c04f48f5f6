//! Health checks and limits: attributes to specs.
#![allow(clippy::unwrap_used)]

mod project;

use ostler_config::{Overlay, merge};
use ostler_core::app::AppSpec;
use ostler_core::app::RestartBudget;
use ostler_core::health::limits::{CpuLimit, ErrorLimit, HardLimits, MemoryAmount};
use ostler_core::health::safeguards::Safeguards;
use ostler_core::health::{Action, Check, CheckMethod, HealthSpec};
use ostler_core::serving::HttpProbe;
use project::Project;
use serde_json::{Value, json};

fn app(project: &Project, attributes: Value) -> AppSpec {
    let mut all = json!({"script": "server.py", "name": "api"});
    all.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    project.app(all, &Overlay::default()).spec
}

fn safeguards(project: &Project, attributes: Value) -> Safeguards {
    *app(project, attributes).safeguards.unwrap_or_default()
}

fn probe(port: u16, path: &str) -> HttpProbe {
    HttpProbe {
        host: "localhost".into(),
        port,
        path: path.into(),
        expect: vec![(200, 200)],
        interval_ms: 0,
        timeout_ms: 0,
        method: None,
        headers: Vec::new(),
    }
}

fn check(ask: CheckMethod) -> Check {
    Check { method: ask, interval_ms: 30_000, timeout_ms: 5000, failures: 3, successes: 1, delay_ms: 0 }
}

#[test]
fn t1_http_sets_readiness_and_liveness_with_defaults() {
    let project = Project::new("safeguards-http");
    project.file("server.py", "");
    let liveness = check(CheckMethod::Http(probe(3000, "/")));
    let readiness = Check { failures: 1, ..liveness.clone() };
    let expected = HealthSpec { readiness: Some(readiness), liveness: Some(liveness), ..HealthSpec::default() };
    assert_eq!(safeguards(&project, json!({"http": {"port": 3000}})).health, expected);
    let all = safeguards(
        &project,
        json!({"http": {"port": 3000, "path": "/health", "host": "127.0.0.1", "expect_status": ["2xx", 404], "interval": "5s", "timeout": 300,
            "retries": 5, "grace": "1m", "action": "reload", "method": "head", "headers": {"Authorization": "Bearer x y"}}}),
    )
    .health;
    let ask = CheckMethod::Http(HttpProbe {
        host: "127.0.0.1".into(),
        expect: vec![(200, 299), (404, 404)],
        method: Some("HEAD".into()),
        headers: vec![("Authorization".into(), "Bearer x y".into())],
        ..probe(3000, "/health")
    });
    let liveness = Check { method: ask, interval_ms: 5000, timeout_ms: 300, failures: 5, successes: 1, delay_ms: 0 };
    assert_eq!(all.liveness, Some(liveness));
    assert_eq!((all.grace_ms, all.action), (Some(60_000), Action::Reload));
    assert_eq!(safeguards(&project, json!({"http": {"start_period": 7}, "port": 80})).health.grace_ms, Some(7));
}

#[test]
fn health_phases_parse_in_general_form() {
    let project = Project::new("safeguards-phases");
    project.file("server.py", "");
    let health = safeguards(
        &project,
        json!({"health": {
            "startup": {"tcp": 5432, "interval": 100, "failure_threshold": 30},
            "readiness": {"http": {"port": 80, "path": "ready", "interval": "2s"}, "successes": 2},
            "liveness": {"command": "pg_isready -q", "timeout": "1s", "delay": "10s"},
            "grace": 0,
            "action": "none",
        }}),
    )
    .health;
    let startup = Check { interval_ms: 100, failures: 30, ..check(CheckMethod::Tcp { host: "localhost".into(), port: 5432 }) };
    assert_eq!(health.startup, Some(startup));
    assert_eq!(health.readiness, Some(Check { interval_ms: 2000, successes: 2, ..check(CheckMethod::Http(probe(80, "/ready"))) }));
    let command = CheckMethod::Command(["sh", "-c", "pg_isready -q"].map(String::from).to_vec());
    assert_eq!(health.liveness, Some(Check { timeout_ms: 1000, delay_ms: 10_000, ..check(command) }));
    assert_eq!((health.grace_ms, health.action), (Some(0), Action::None));
    // A phase is added to the checks of `http`.
    let both =
        safeguards(&project, json!({"http": {"port": 80}, "health": {"readiness": false, "startup": {"exec": ["/bin/true"]}}})).health;
    assert_eq!((both.readiness, both.liveness), (None, Some(check(CheckMethod::Http(probe(80, "/"))))));
    assert_eq!(both.startup, Some(check(CheckMethod::Command(vec!["/bin/true".into()]))));
}

#[test]
fn t2_t4_t5_t13_limits_parse_in_every_form() {
    let project = Project::new("safeguards-limits");
    project.file("server.py", "");
    project.file("app.js", "");
    let memory = |value: Value| safeguards(&project, json!({"max_memory_restart": value})).memory;
    for (given, bytes) in [("1K", 1 << 10), ("200M", 200 << 20), ("1G", 1 << 30), ("64KiB", 64 << 10), ("3MiB", 3 << 20)] {
        assert_eq!(memory(json!(given)), Some(MemoryAmount::Bytes(bytes)), "{given}");
    }
    assert_eq!(memory(json!(1_048_576)), Some(MemoryAmount::Bytes(1 << 20)));
    assert_eq!((memory(json!("12.5%")), memory(json!(0))), (Some(MemoryAmount::Share(1250)), None));
    let cpu = |attributes: Value| safeguards(&project, attributes).cpu;
    let limit = CpuLimit { percent: 80, of_machine: false, window_ms: 60_000 };
    assert_eq!(cpu(json!({"max_cpu": 80})), Some(limit));
    let machine = json!({"max_cpu": "80", "max_cpu_unit": "machine", "max_cpu_window": "10s"});
    assert_eq!(cpu(machine), Some(CpuLimit { of_machine: true, window_ms: 10_000, ..limit }));
    let hard = safeguards(&project, json!({"cpu_quota": "150%", "memory_max": "1G", "pids_max": 50, "io_weight": 10})).hard;
    let expected = HardLimits { cpu_percent: Some(150), memory: Some(MemoryAmount::Bytes(1 << 30)), pids: Some(50), io_weight: Some(10) };
    assert_eq!(hard, expected);
    let errors = |value: Value| safeguards(&project, json!({"error": value})).errors;
    let fifty = ErrorLimit { threshold: 50, window_ms: 60_000, restart: true };
    assert_eq!(errors(json!({"error_threshold": 50, "restart_on_error": true})), Some(fifty));
    assert_eq!(errors(json!({"window": "5m"})), Some(ErrorLimit { window_ms: 300_000, restart: false, ..fifty }));
    // A text is PM2's alias of `error_file`.
    let text = app(&project, json!({"error": "err.log"}));
    assert_eq!((text.safeguards, text.logs.error_file), (None, Some(format!("{}/err.log", project.dir.display()))));
    // `autokill` needs the heartbeat of a Node app; others have none.
    let node = project.start("app.js", json!({"autokill": true})).safeguards.unwrap();
    assert_eq!((node.autokill, node.health.heartbeat_ms), (true, Some(30_000)));
    assert_eq!(safeguards(&project, json!({"autokill": true})).health, HealthSpec::default());
    assert_eq!(project.start("app.js", json!({"autokill": true, "pmx": false})).safeguards.unwrap().health.heartbeat_ms, None);
}

#[test]
fn t12_restart_budget_parses() {
    let project = Project::new("safeguards-budget");
    project.file("server.py", "");
    let budget = app(&project, json!({"restart_budget": {"n": 3, "window": "10m"}})).restart.budget;
    assert_eq!(budget, Some(RestartBudget { n: 3, window_ms: 600_000 }));
}

#[test]
fn invalid_safeguards_are_rejected_in_one_line() {
    let project = Project::new("safeguards-bad");
    project.file("server.py", "");
    project.file("app.js", "");
    for (attributes, expected) in [
        (json!({"http": {}}), "http: needs a `port`"),
        (json!({"http": {"port": 0}}), "http: expected `port`"),
        (json!({"http": {"prot": 1}}), "http: unknown key `prot`, did you mean `port`?"),
        (json!({"http": {"port": 1, "host": "db.example"}}), "http: \"db.example\" would need a DNS lookup"),
        (json!({"http": {"port": 1, "interval": 0}}), "http: expected `interval`"),
        (json!({"http": {"port": 1, "retries": 0}}), "http: expected `retries` as a number from 1 to 1000"),
        (json!({"http": {"port": 1, "action": "kill"}}), "http: expected `action` as \"restart\", \"reload\" or \"none\""),
        (json!({"http": {"port": 1, "grace": "soon"}}), "http: expected `grace`"),
        (json!({"http": {"port": 1, "method": "G T"}}), "http: expected `method`"),
        (json!({"http": {"port": 1, "headers": {"A": "b\r\nC: d"}}}), "http: `headers`: \"A\" cannot be sent"),
        (json!({"http": {"port": 1, "headers": {"A:": "b"}}}), "http: `headers`: \"A:\" cannot be sent"),
        (json!({"http": 80}), "http: expected a table"),
        (json!({"health": {"lively": {}}}), "health: unknown key `lively`"),
        (json!({"health": {"liveness": {"interval": 5}}}), "health: `liveness`: expected one of `http`, `tcp`, `command`"),
        (json!({"health": {"liveness": {"tcp": 1, "http": {"port": 1}}}}), "health: `liveness`: expected one of"),
        (json!({"health": {"liveness": {"command": []}}}), "health: `liveness`: expected `command`"),
        (json!({"health": {"liveness": {"tcp": "db:1"}}}), "health: `liveness`: \"db\" would need a DNS lookup"),
        (json!({"health": {"heartbeat": true}}), "health: `heartbeat` is for Node apps"),
        (json!({"error": {"error_threshold": 0}}), "error: expected `error_threshold`"),
        (json!({"error": {"error_treshold": 1}}), "did you mean `error_threshold`?"),
        (json!({"error": {"restart_on_error": "yes"}}), "error: expected `restart_on_error`"),
        (json!({"max_memory_restart": "lots"}), "--max-memory-restart: expected a number of bytes"),
        (json!({"max_memory_restart": "101%"}), "--max-memory-restart: expected a number of bytes"),
        (json!({"max_cpu": 80, "max_cpu_window": 10}), "max_cpu_window"),
        (json!({"max_cpu": -1}), "max-cpu: expected a number"),
        (json!({"cpu_quota": "half"}), "cpu_quota: expected percent"),
        (json!({"pids_max": 0}), "pids_max: expected a number from 1"),
        (json!({"restart_budget": {"n": 3}}), "restart_budget: expected a `window`"),
        (json!({"restart_budget": {"window": 3}}), "restart_budget: expected `n`"),
    ] {
        let error = project.error("server.py", attributes.clone());
        assert!(error.contains(expected) && error.lines().count() == 1, "{attributes}: {error}");
    }
    assert!(project.error("app.js", json!({"health": {"heartbeat": 10}})).contains("expected `heartbeat` as 1000 ms or more"));
}

#[test]
fn merge_changes_one_safeguard_and_keeps_the_rest() {
    let project = Project::new("safeguards-merge");
    project.file("server.py", "");
    let old = app(&project, json!({"http": {"port": 1}, "max_memory_restart": "1G"}));
    let change = |attributes: Value| merge(&old, attributes.as_object().unwrap(), None, &project.context).unwrap().spec.safeguards.unwrap();
    let new = change(json!({"max_memory_restart": "2G"}));
    assert_eq!((new.memory, &new.health), (Some(MemoryAmount::Bytes(2 << 30)), &old.safeguards.as_ref().unwrap().health));
    assert_eq!(change(json!({"max_memory_restart": 0})).memory, None);
    assert_eq!(change(json!({"max_cpu": 50})).memory, Some(MemoryAmount::Bytes(1 << 30)));
}
