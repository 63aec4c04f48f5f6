//! Tests the converted values and the reports; `ostler-config` accepts every result as an ecosystem
//! file.

use serde_json::{Value, json};

use super::*;

fn read(from: ImportFormat, text: &str) -> Imported {
    import(from, text, &FileContext::named("api.service")).unwrap_or_else(|error| panic!("{error}"))
}

/// Checks that the result is a valid ecosystem file with the same content.
fn assert_round_trips(imported: &Imported) {
    let context = ostler_config::Context::new("/".into(), Default::default(), 2).unwrap();
    let text = imported.text();
    let loaded = ostler_config::load_stdin(text.as_bytes(), &context).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    let names: Vec<String> = loaded.apps.iter().map(ostler_config::RawApp::name).collect();
    let made: Vec<&str> = imported.apps.iter().filter_map(|app| app["name"].as_str()).collect();
    assert_eq!(names, made, "{text}");
}

fn keys(imported: &Imported) -> Vec<(&str, &str)> {
    imported.notices.iter().map(|notices| (notices.app.as_str(), notices.key.as_str())).collect()
}

#[path = "tests_defaults.rs"]
mod defaults;

#[test]
fn compose_file_becomes_apps() {
    let text = r#"
services:
  api:
    build: ./backend
    command: node dist/main.js --port 3000
    environment: {NODE_ENV: production, MONEY: "5$$", N: 3}
    env_file: [.env]
    depends_on: {worker: {condition: service_healthy}, db: {condition: service_started}}
    restart: unless-stopped
    stop_grace_period: 1m30s
    stop_signal: SIGTERM
    ports: ["8080:3000"]
    healthcheck: {test: ["CMD", "wget", "-q", "http://localhost:3000"], interval: 10s, retries: 5, start_period: 20s}
    deploy: {replicas: 3, resources: {limits: {cpus: "0.5", memory: 512M}}, placement: {}}
    volumes: ["data:/data"]
  worker:
    command: ["sh", "-c", "while :; do sleep 1; done"]
    environment: ["URL=redis://${HOST:-localhost}", "PASSED"]
    restart: "no"
  db: {image: "postgres:15"}
volumes: {data: {}}
"#;
    let imported = read(ImportFormat::Compose, text);
    assert_eq!(
        Value::from(imported.apps.clone()),
        json!([
            {
                "name": "api", "script": "dist/main.js", "interpreter": "node", "args": ["--port", "3000"], "cwd": "./backend",
                "env": {"NODE_ENV": "production", "MONEY": "5$", "N": "3", "PORT": 8080}, "env_file": [".env"], "depends_on": {"worker": "healthy"},
                "kill_timeout": 90_000, "kill_signal": "SIGTERM",
                "health": {"liveness": {"command": ["wget", "-q", "http://localhost:3000"], "interval": 10_000, "timeout": 30_000, "failures": 5},
                    "action": "none", "grace": 20_000},
                "instances": 3, "cpu_quota": 50, "memory_max": "512M", "exp_backoff_restart_delay": 100
            },
            {
                "name": "worker", "script": "sh", "args": ["-c", "while :; do sleep 1; done"], "env": {"URL": "redis://${HOST:-localhost}"},
                "autorestart": false, "kill_signal": "SIGTERM", "kill_timeout": 10_000, "env_expand": true
            }
        ])
    );
    assert_eq!(
        keys(&imported),
        [("api", "deploy.placement"), ("api", "depends_on"), ("api", "ports"), ("api", "volumes"), ("-", "volumes"), ("db", "command")]
    );
    assert_round_trips(&imported);
}

#[test]
fn compose_references_without_braces_are_kept() {
    let text = "services: {a: {command: x, environment: {URL: '$HOST:80/$$x', DASH: '${A-d}', PLUS: '${A:+d}', PLAIN: 5}}}";
    let imported = read(ImportFormat::Compose, text);
    let expected = json!({"env": {"URL": "${HOST}:80/$$x", "DASH": "${A:-d}", "PLUS": "${A:+d}", "PLAIN": "5"}, "env_expand": true});
    assert_eq!(defaults::attributes(&imported, &["env", "env_expand"]), expected);
    assert_eq!(keys(&imported), [("a", "environment"); 2]);
}

#[test]
fn compose_stop_and_restart_defaults_are_kept() {
    let usual = json!({"kill_signal": "SIGTERM", "kill_timeout": 10_000});
    for (text, expected) in [
        ("", json!({"autorestart": false})),
        ("restart: 'no'", json!({"autorestart": false})),
        ("restart: no", json!({"autorestart": false})),
        ("restart: always", json!({"exp_backoff_restart_delay": 100})),
        ("restart: unless-stopped", json!({"exp_backoff_restart_delay": 100})),
        ("restart: on-failure", json!({"stop_exit_codes": [0], "exp_backoff_restart_delay": 100})),
        ("restart: on-failure:0", json!({"stop_exit_codes": [0], "exp_backoff_restart_delay": 100})),
        (
            "restart: on-failure:3",
            json!({"stop_exit_codes": [0], "exp_backoff_restart_delay": 100, "max_restarts": 4, "min_uptime": 10_000}),
        ),
        ("deploy: {replicas: 1}", json!({"instances": 1, "autorestart": false})),
        ("deploy: {restart_policy: {}}", json!({"exp_backoff_restart_delay": 100})),
        ("restart: always, deploy: {restart_policy: {condition: none}}", json!({"autorestart": false})),
        (
            "deploy: {restart_policy: {condition: on-failure, delay: 5s, max_attempts: 2, window: 2m}}",
            json!({"stop_exit_codes": [0], "restart_delay": 5000, "max_restarts": 3, "min_uptime": 120_000}),
        ),
        ("deploy: {restart_policy: {condition: any, delay: 1s}}", json!({"restart_delay": 1000, "max_restarts": u32::MAX})),
        ("stop_signal: SIGQUIT, stop_grace_period: 2m", json!({"kill_signal": "SIGQUIT", "kill_timeout": 120_000, "autorestart": false})),
        (
            "healthcheck: {test: x}",
            json!({
                "health": {"liveness": {"command": ["sh", "-c", "x"], "interval": 30_000, "timeout": 30_000}, "action": "none"},
                "autorestart": false
            }),
        ),
    ] {
        let imported = read(ImportFormat::Compose, &format!("services: {{a: {{command: [x], {text}}}}}"));
        let mut all = json!({"name": "a", "script": "x"});
        let wanted = all.as_object_mut().unwrap();
        wanted.extend(usual.as_object().unwrap().clone());
        wanted.extend(expected.as_object().unwrap().clone());
        assert_eq!(Value::from(imported.apps[0].clone()), all, "{text}");
        assert_round_trips(&imported);
    }
}

#[test]
fn compose_scalars_keep_their_spelling() {
    let text = "services:\n  a:\n    command: [echo, NO, 01234, 1e3, ~, true, .inf]\n    environment: {A: NO, B: y, C: 01234, D: 1e3, E: .inf, F: 0x1F, G: 2024-01-01, H: true, I: '~', J: ~}\n    healthcheck: {test: [CMD, test, 010]}\n  b: {command: sleep 007, environment: [A=off, B=1.10]}\n";
    let imported = read(ImportFormat::Compose, text);
    assert_eq!(imported.apps[0]["args"], json!(["NO", "01234", "1e3", "~", "true", ".inf"]));
    assert_eq!(
        imported.apps[0]["env"],
        json!({"A": "NO", "B": "y", "C": "01234", "D": "1e3", "E": ".inf", "F": "0x1F", "G": "2024-01-01", "H": "true", "I": "~"})
    );
    assert_eq!(imported.apps[0]["health"]["liveness"]["command"], json!(["test", "010"]));
    assert_eq!((&imported.apps[1]["args"], &imported.apps[1]["env"]), (&json!(["007"]), &json!({"A": "off", "B": "1.10"})));
    assert_round_trips(&imported);
}

#[test]
fn compose_keys_without_effect_report_a_reason() {
    let text = "services:\n  a: {command: x, comand: y, healthcheck: {tset: z}, deploy: {replica: 2, placement: {}, resources: {limits: {cpu: 1}}}, container_name: n, tty: true, networks: [n], labels: [l], x-own: 1, build: {context: ., ssh: [a]}}\nsecrets: {}\nservice: {}\nx-own: 1\n";
    let imported = read(ImportFormat::Compose, text);
    for (app, key, why) in [
        ("a", "comand", "did you mean `command`?"),
        ("a", "healthcheck.tset", "did you mean `healthcheck.test`?"),
        ("a", "deploy.replica", "did you mean `deploy.replicas`?"),
        ("a", "deploy.resources.limits.cpu", "did you mean `deploy.resources.limits.cpus`?"),
        ("a", "deploy.placement", "run on this machine"),
        ("a", "container_name", "there is no container"),
        ("a", "tty", "no terminal"),
        ("a", "networks", "localhost"),
        ("a", "labels", "metadata"),
        ("a", "build.ssh", "no image is built"),
        ("-", "secrets", "no file is mounted"),
        ("-", "service", "did you mean `services`?"),
    ] {
        let notices = imported.notices.iter().find(|notices| (notices.app.as_str(), notices.key.as_str()) == (app, key));
        assert!(notices.is_some_and(|notices| notices.why.contains(why)), "{key}: {notices:?}");
    }
    assert_eq!(imported.notices.len(), 12);
}

#[test]
fn compose_anchors_resolve_and_alias_bomb_is_rejected() {
    let text =
        "x-app: &app\n  restart: unless-stopped\n  stop_grace_period: 5s\nservices:\n  a:\n    <<: *app\n    command: [sleep, \"9\"]\n";
    let imported = read(ImportFormat::Compose, text);
    assert_eq!(
        Value::from(imported.apps.clone()),
        json!([{
            "name": "a", "script": "sleep", "args": ["9"], "kill_timeout": 5000, "exp_backoff_restart_delay": 100, "kill_signal": "SIGTERM"
        }])
    );
    // A small text that expands to millions of values is rejected.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..10 {
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    bomb.push_str("services: {a: {command: x, environment: *a9}}\n");
    assert!(matches!(import(ImportFormat::Compose, &bomb, &FileContext::named("x")), Err(ImportError::Malformed(_))));
}

#[test]
fn systemd_unit_becomes_app() {
    let text = r#"
[Unit]
Description=API
After=network.target postgresql.service
StartLimitBurst=5
[Service]
Type=notify
User=www-data
WorkingDirectory=/srv/api
Environment="A=b c" D=e%%
EnvironmentFile=-/etc/api.env
ExecStartPre=-/bin/mkdir -p /run/api
ExecStart=/usr/bin/node \
  server.js --name "x y"
Restart=on-failure
RestartSec=3
TimeoutStopSec=1min 30s
KillMode=mixed
LimitNOFILE=1024:65536
MemoryMax=1G
CPUQuota=150%
StandardOutput=append:/var/log/api.log
ProtectSystem=strict
[Install]
WantedBy=multi-user.target
"#;
    let imported = read(ImportFormat::Systemd, text);
    assert_eq!(
        Value::from(imported.apps.clone()),
        json!([{
            "name": "api", "env": {"A": "b c", "D": "e%"}, "env_file": [{"path": "/etc/api.env", "format": "systemd", "required": false}],
            "script": "server.js", "interpreter": "/usr/bin/node", "args": ["--name", "x y"], "kill_timeout": 90_000, "kill_signal": "SIGTERM", "kill_mode": "mixed",
            "stop_exit_codes": [0], "restart_delay": 3000, "max_restarts": 1_000_000_000, "restart_budget": {"n": 4, "window": 10_000},
            "env_policy": "clean", "listen_timeout": 90_000, "ready": "notify", "uid": "www-data", "cwd": "/srv/api",
            "pre_start": {"command": ["/bin/mkdir", "-p", "/run/api"], "timeout": 90_000, "on_failure": "continue"},
            "rlimits": {"nofile": [1024, 65536]}, "memory_max": "1G", "cpu_quota": 150, "out_file": "/var/log/api.log", "error_file": "/var/log/api.log"
        }])
    );
    assert_eq!(keys(&imported), [("api", "EnvironmentFile"), ("api", "ProtectSystem"), ("api", "After")]);
    assert_round_trips(&imported);
    assert_eq!(import(ImportFormat::Systemd, "[Service]\nUser=x\n", &FileContext::named("a")), Err(ImportError::NoApps("ExecStart")));
}

#[test]
fn procfile_entries_become_apps() {
    let imported = read(ImportFormat::Procfile, "web: bundle exec puma -p $PORT\n# no\nworker: ./work\nrelease: ./migrate\nbad line\n");
    assert_eq!(
        Value::from(imported.apps.clone()),
        json!([
            {"name": "web", "script": "bundle exec puma -p $PORT", "env": {"PORT": 5000}, "kill_signal": "SIGTERM", "kill_timeout": 5000, "kill_mode": "tree"},
            {"name": "worker", "script": "./work", "env": {"PORT": 5100}, "kill_signal": "SIGTERM", "kill_timeout": 5000, "kill_mode": "tree"},
            {"name": "release", "script": "./migrate", "autorestart": false, "env": {"PORT": 5200}, "kill_signal": "SIGTERM", "kill_timeout": 5000, "kill_mode": "tree"}
        ])
    );
    assert_eq!(keys(&imported), [("release", "release"), ("-", "line 5"), ("-", "name")]);
    assert_round_trips(&imported);
}

#[test]
fn supervisor_programs_become_apps() {
    let text = "[supervisord]\nnodaemon=true\n[program:api]\ncommand=python3 app.py --home %(ENV_HOME)s ; the api\ndirectory=/srv\nuser=www\nnumprocs=2\n\
                environment=A=\"x,y\",B='z',C=1\nautorestart=unexpected\nexitcodes=0,2\nstopsignal=TERM\nstopwaitsecs=15\nstdout_logfile=/var/log/api.log\n\
                redirect_stderr=true\npriority=10\n[group:all]\nprograms=api\n";
    let imported = read(ImportFormat::Supervisor, text);
    assert_eq!(
        Value::from(imported.apps.clone()),
        json!([{
            "name": "api", "script": "app.py", "interpreter": "python3", "args": ["--home", "${HOME}"], "cwd": "/srv", "uid": "www", "instances": 2,
            "env": {"A": "x,y", "B": "z", "C": "1"}, "namespace": "all", "stop_exit_codes": [0, 2], "max_restarts": 4, "exp_backoff_restart_delay": 1000,
            "kill_signal": "SIGTERM", "kill_timeout": 15_000, "kill_mode": "mixed", "out_file": "/var/log/api.log", "error_file": "/var/log/api.log",
            "log_rotate": {"max_size": "50M", "retain": 10}, "env_expand": true
        }])
    );
    assert_eq!(keys(&imported), [("api", "priority")]);
    assert_round_trips(&imported);
}

#[test]
fn oxmgr_file_becomes_apps() {
    let text = r#"
version = 1
[defaults]
restart_policy = "on_failure"
env = { LOG = "info", A = "1" }
stop_timeout_secs = 15
[[apps]]
name = "api"
command = "node dist/server.js --port 3000"
cwd = "/srv/api"
cluster_mode = true
cluster_instances = 4
namespace = "web"
depends_on = ["db"]
start_order = 5
max_restarts = 7
crash_restart_limit = 3
health_cmd = "curl -fsS http://127.0.0.1:3000/health"
health_interval_secs = 15
health_max_failures = 3
wait_ready = true
ready_timeout_secs = 30
max_memory_mb = 512
max_cpu_percent = 80.5
watch = ["src"]
[apps.env]
A = "2"
[apps.profiles.prod]
max_restarts = 9
[apps.profiles.prod.env]
PORT = "80"
[[apps]]
name = "db"
command = "echo a | cat"
restart_policy = "never"
cgroup_enforce = true
max_memory_mb = 64
instances = 2
instance_var = "N"
[[apps]]
name = "off"
command = "x"
disabled = true
[deploy.production]
host = "h"
"#;
    let imported = read(ImportFormat::Oxmgr, text);
    assert_eq!(
        Value::from(imported.apps.clone()),
        json!([
            {
                "name": "api", "script": "dist/server.js", "interpreter": "node", "args": ["--port", "3000"], "stop_exit_codes": [0],
                "env": {"LOG": "info", "A": "2"}, "kill_timeout": 15_000, "cwd": "/srv/api", "exec_mode": "cluster", "instances": 4,
                "namespace": "web", "depends_on": ["db"], "kill_signal": "SIGTERM", "max_restarts": 8, "restart_budget": {"n": 3, "window": "5m"},
                "listen_timeout": 30_000, "max_memory_restart": "512M", "max_cpu": 81, "watch": ["src"], "env_prod": {"PORT": "80"},
                "health": {
                    "startup": {"command": ["curl", "-fsS", "http://127.0.0.1:3000/health"]},
                    "liveness": {"command": ["curl", "-fsS", "http://127.0.0.1:3000/health"], "interval": 15_000, "failures": 3}
                }
            },
            {
                "name": "db", "script": "echo a | cat", "autorestart": false, "env": {"LOG": "info", "A": "1"}, "kill_timeout": 15_000,
                "memory_max": "64M", "instances": 2, "instance_var": "N", "kill_signal": "SIGTERM"
            }
        ])
    );
    assert_eq!(keys(&imported), [("api", "profiles.prod.max_restarts"), ("api", "start_order"), ("off", "disabled"), ("-", "deploy")]);
    assert_round_trips(&imported);
}

#[test]
fn files_of_another_kind_are_rejected() {
    for (from, text) in [
        (ImportFormat::Compose, ": {"),
        (ImportFormat::Compose, "services: []"),
        (ImportFormat::Compose, "a: b"),
        (ImportFormat::Procfile, "nothing"),
        (ImportFormat::Supervisor, "[x]\n"),
        (ImportFormat::Systemd, ""),
        (ImportFormat::Oxmgr, "= ["),
        (ImportFormat::Oxmgr, "version = 1"),
        (ImportFormat::Oxmgr, "version = 2\n[[apps]]\ncommand = 'x'"),
        (ImportFormat::Oxmgr, "apps = [1]"),
    ] {
        assert!(import(from, text, &FileContext::named("x")).is_err(), "{text}");
    }
    assert!(matches!(import(ImportFormat::Procfile, &"x".repeat(MOST_BYTES + 1), &FileContext::named("x")), Err(ImportError::TooLarge(_))));
}

proptest::proptest! {
    /// The ecosystem file has the same value as the variable of the compose file.
    #[test]
    fn compose_variables_survive_import_unchanged(value in "[^\0]{0,20}", name in "[a-zA-Z_][a-zA-Z0-9_]{0,5}") {
        use crate::yaml::{Dialect, Map};
        let service = Map::new().with("command", "/bin/true").with("environment", Map::new().with(&name, value.as_str()));
        let text = Map::new().with("services", Map::new().with("a", service)).text(Dialect::Compose);
        let imported = read(ImportFormat::Compose, &text);
        proptest::prop_assert_eq!(&imported.apps[0]["env"][&name], &Value::from(value.clone()));
        let context = ostler_config::Context::new("/".into(), Default::default(), 2).unwrap();
        let loaded = ostler_config::load_stdin(imported.text().as_bytes(), &context).unwrap();
        let spec = ostler_config::normalize(&loaded.apps[0], &context, &Default::default()).unwrap().spec;
        let read = if spec.given.is("env_expand", true) { None } else { spec.env.vars.get(&name) };
        proptest::prop_assert!(read.is_none_or(|read| *read == value), "{:?}", read);
    }

    #[test]
    fn import_never_panics_on_any_text(text in "[\\[\\]a-z%()=:;\"'\\\\ \n#,$-]{0,60}") {
        for (_, from) in ImportFormat::ALL {
            let _ = import(from, &text, &FileContext::named("x"));
        }
    }
}
