//! Sockets, distribution of connections, readiness: attributes to specs.
#![allow(clippy::unwrap_used)]

mod project;

use ostler_config::{Overlay, merge};
use ostler_core::app::AppSpec;
use ostler_core::serving::{AutoscaleSettings, HttpProbe, Listen, ListenAt, ReadyBy, RolloutSpec, Scheduling, Sticky};
use project::Project;
use serde_json::{Value, json};

fn tcp(address: Option<&str>, port: u16) -> ListenAt {
    ListenAt::Tcp { address: address.map(|text| text.parse().unwrap()), port }
}

/// Returns an app that is no Node app, with these attributes.
fn app(project: &Project, attributes: Value) -> AppSpec {
    let mut all = json!({"script": "server.py", "name": "api"});
    all.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    project.app(all, &Overlay::default()).spec
}

/// Returns the single line of its error.
fn refusal(project: &Project, script: &str, attributes: Value) -> String {
    let error = project.error(script, attributes);
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn listen_parses_in_every_form() {
    let project = Project::new("listen");
    project.file("server.py", "");
    let unix = |path: &str| ListenAt::Unix { path: format!("{}/{path}", project.dir.display()) };
    let cases = [
        (json!(8080), tcp(None, 8080)),
        (json!("8080"), tcp(None, 8080)),
        (json!(":8080"), tcp(None, 8080)),
        (json!("*:8080"), tcp(None, 8080)),
        (json!(0), tcp(None, 0)),
        (json!("127.0.0.1:8080"), tcp(Some("127.0.0.1"), 8080)),
        (json!("localhost:8080"), tcp(Some("127.0.0.1"), 8080)),
        (json!("0.0.0.0:8080"), tcp(Some("0.0.0.0"), 8080)),
        (json!("[::1]:8080"), tcp(Some("::1"), 8080)),
        (json!({"port": "8080", "host": "::1"}), tcp(Some("::1"), 8080)),
        (json!({"port": 8080, "address": "127.0.0.2"}), tcp(Some("127.0.0.2"), 8080)),
        (json!("/run/x.sock"), ListenAt::Unix { path: "/run/x.sock".into() }),
        (json!("unix:///run/x.sock"), ListenAt::Unix { path: "/run/x.sock".into() }),
        (json!("./x.sock"), unix("x.sock")),
        (json!("unix:x.sock"), unix("x.sock")),
        (json!({"path": "run/../x.sock"}), unix("x.sock")),
    ];
    for (given, at) in cases {
        let spec = app(&project, json!({"listen": given}));
        assert_eq!(spec.listen, [Listen { at, name: "api".into(), backlog: None, mode: None }], "{given}");
    }
    let spec = app(
        &project,
        json!({"listen": [80, {"path": "/s", "mode": "660", "backlog": 5, "name": "admin"}, "127.0.0.1:81"], "name": "a:b c"}),
    );
    let expected = [
        Listen { at: tcp(None, 80), name: "a-b-c".into(), backlog: None, mode: None },
        Listen { at: ListenAt::Unix { path: "/s".into() }, name: "admin".into(), backlog: Some(5), mode: Some(0o660) },
        Listen { at: tcp(Some("127.0.0.1"), 81), name: "a-b-c-3".into(), backlog: None, mode: None },
    ];
    assert_eq!(spec.listen, expected);
    assert_eq!(app(&project, json!({"listen": [0, 0]})).listen.len(), 2);
}

#[test]
fn wrong_sockets_are_reported_in_one_line_each() {
    let project = Project::new("wronglisten");
    project.file("server.py", "");
    let long = format!("/{}", "x".repeat(107));
    let cases = [
        (json!(65_536), "found 65536"),
        (json!(-1), "found -1"),
        (json!("localhost"), "expected a port, \"host:port\", a path, or a table"),
        (json!("127.0.0.1:99999"), "found \"127.0.0.1:99999\""),
        (json!("::1:8080"), "an IPv6 address needs brackets"),
        (json!("a b:80"), "the host \"a b\" is neither an address nor a name"),
        (json!("no.such.host.invalid:80"), "the host \"no.such.host.invalid\" has no address"),
        (json!({}), "a table without them"),
        (json!({"port": 80, "path": "/x"}), "cannot be combined"),
        (json!({"path": "/x", "host": "::1"}), "cannot be combined"),
        (json!({"prot": 80}), "unknown key `prot`, did you mean `port`?"),
        (json!({"port": 80, "mode": "660"}), "`mode` is for a path only"),
        (json!({"port": 80, "backlog": 0}), "expected `backlog`"),
        (json!({"port": 80, "name": "a:b"}), "without a colon"),
        (json!({"port": 80, "name": ""}), "expected `name`"),
        (json!(long), "has 108 bytes, the path of a socket may have 107"),
        (json!("/run/"), "expected the path of a socket"),
        (json!([80, "80"]), "port 80 is listed twice"),
        (json!([{"port": 1, "name": "x"}, {"port": 2, "name": "x"}]), "two sockets have the name \"x\""),
        (json!([80, true]), "expected a number"),
        (json!(vec![0; 65]), "65 sockets are too many"),
    ];
    for (given, expected) in cases {
        let error = refusal(&project, "server.py", json!({"listen": given}));
        assert!(error.contains(expected), "{given}: {error}");
    }
    let error = refusal(&project, "server.py", json!({"listen": 80, "args": ["--fd={fd:web}"]}));
    assert!(error.contains("{fd:web}: no socket of `listen` has this name"), "{error}");
    // Without sockets, the words have no special meaning.
    assert_eq!(app(&project, json!({"args": ["{fd:web}"]})).args, ["{fd:web}"]);
}

#[test]
fn scheduling_parses_words_and_node_variable() {
    let project = Project::new("spread");
    project.file("server.py", "");
    project.file("app.js", "");
    let spread = |attributes: Value| app(&project, attributes).scheduling;
    for (word, scheduling) in [
        ("rr", Scheduling::RoundRobin),
        ("round_robin", Scheduling::RoundRobin),
        ("reuseport", Scheduling::Reuseport),
        ("shared", Scheduling::Shared),
        ("none", Scheduling::Shared),
    ] {
        assert_eq!(spread(json!({"scheduling": word})), scheduling, "{word}");
    }
    assert_eq!(spread(json!({})), Scheduling::RoundRobin);
    assert_eq!(spread(json!({"env": {"NODE_CLUSTER_SCHED_POLICY": "none"}})), Scheduling::Shared);
    assert_eq!(spread(json!({"env": {"NODE_CLUSTER_SCHED_POLICY": "rr"}})), Scheduling::RoundRobin);
    assert_eq!(spread(json!({"env": {"NODE_CLUSTER_SCHED_POLICY": "none"}, "scheduling": "reuseport"})), Scheduling::Reuseport);
    let sticky = |value: Value| project.start("app.js", json!({"instances": 2, "sticky": value})).sticky;
    assert_eq!(sticky(json!(true)), Some(Sticky::Address));
    assert_eq!(sticky(json!("address")), Some(Sticky::Address));
    assert_eq!(sticky(json!("cookie")), Some(Sticky::Cookie("ostler".into())));
    assert_eq!(sticky(json!({"cookie": "io"})), Some(Sticky::Cookie("io".into())));
    assert_eq!(sticky(json!(false)), None);
    for (attributes, expected) in [
        (json!({"sticky": true}), "sticky: needs exec_mode \"cluster\""),
        (json!({"sticky": true, "instances": 2, "scheduling": "rr", "exec_mode": "fork"}), "sticky: needs exec_mode \"cluster\""),
        (json!({"sticky": true, "instances": 2, "scheduling": "shared"}), "sticky: needs scheduling \"round_robin\""),
        (json!({"sticky": {"cookie": "a b"}, "instances": 2}), "sticky: expected `cookie`"),
        (json!({"sticky": {"name": "a"}, "instances": 2}), "sticky: unknown key `name`"),
        (json!({"max_connection_age": "5m", "pmx": false}), "max_connection_age: is for Node apps"),
        (json!({"max_connection_age": "5m", "interpreter": "none"}), "max_connection_age: is for Node apps"),
        (json!({"retire_connections": true, "instances": 2}), "retire_connections: is for programs whose processes have their own sockets"),
        (json!({"scheduling": "random"}), "scheduling: expected \"round_robin\""),
    ] {
        let error = refusal(&project, "app.js", attributes.clone());
        assert!(error.starts_with(expected), "{attributes}: {error}");
    }
}

#[test]
fn reload_stop_and_instance_settings_parse() {
    let project = Project::new("rollout");
    project.file("app.js", "");
    let attributes = json!({
        "reload_batch": 3, "canary": "1m", "drain_timeout": "10s", "watchdog": "5s", "instances": {"min": 2, "max": 6, "cpu": 60}, "pmx": false
    });
    let spec = project.start("app.js", attributes);
    assert_eq!(spec.rollout, RolloutSpec { batch: Some(3), canary_ms: Some(60_000) });
    assert_eq!((spec.stop.drain_timeout_ms, spec.ready.watchdog_ms), (Some(10_000), Some(5000)));
    assert_eq!((spec.instances, spec.autoscale, spec.no_preload), (2, Some(AutoscaleSettings { min: 2, max: 6, cpu: 60 }), true));
    let age = |value: Value| project.start("app.js", json!({"max_connection_age": value})).max_connection_age_ms;
    assert_eq!((age(json!("5m")), age(json!(1500)), age(json!(0))), (Some(300_000), Some(1500), None));
    let plain = project.start("app.js", json!({"canary": 0, "watchdog": 0, "automation": true}));
    assert_eq!((plain.rollout, plain.ready.watchdog_ms, plain.no_preload), (RolloutSpec::default(), None, false));
    assert!(project.start("app.js", json!({"automation": false})).no_preload);
}

#[test]
fn ready_parses_in_every_form() {
    let project = Project::new("ready");
    project.file("server.py", "");
    project.file("app.js", "");
    let probe = HttpProbe {
        host: "localhost".into(),
        port: 3000,
        path: "/health".into(),
        expect: vec![(200, 200)],
        interval_ms: 250,
        timeout_ms: 5000,
        method: None,
        headers: Vec::new(),
    };
    let cases = [
        (json!("message"), ReadyBy::Message),
        (json!("notify"), ReadyBy::Notify),
        (json!({"descriptor": 4}), ReadyBy::Descriptor(4)),
        (json!({"fd": "5"}), ReadyBy::Descriptor(5)),
        (json!({"tcp": 80}), ReadyBy::Tcp { host: "localhost".into(), port: 80 }),
        (json!({"tcp": "[::1]:80"}), ReadyBy::Tcp { host: "::1".into(), port: 80 }),
        (json!({"log": "listening on \\d+"}), ReadyBy::Log("listening on \\d+".into())),
        (json!({"uptime": "2s"}), ReadyBy::Uptime { ms: 2000 }),
        (json!({"http": {"port": 3000, "path": "health"}}), ReadyBy::Http(probe.clone())),
        (
            json!({"http": {"port": 3000, "host": "127.0.0.1", "expect_status": ["2xx", 404], "interval": "1s", "timeout": 50}}),
            ReadyBy::Http(HttpProbe {
                host: "127.0.0.1".into(),
                path: "/".into(),
                expect: vec![(200, 299), (404, 404)],
                interval_ms: 1000,
                timeout_ms: 50,
                ..probe.clone()
            }),
        ),
    ];
    for (given, by) in cases {
        assert_eq!(app(&project, json!({"ready": given})).ready.by.as_deref(), Some(&by), "{given}");
    }
    let listening = project.start("app.js", json!({"instances": 1, "ready": "listening"}));
    assert_eq!(listening.ready.by.as_deref(), Some(&ReadyBy::Listening));
    // The app's own health check, with the interval of a start.
    for ready in [json!("http"), json!({"http": true})] {
        let own = json!({"ready": ready, "http": {"port": 3000, "path": "/health", "interval": 30_000, "retries": 3}});
        assert_eq!(app(&project, own.clone()).ready.by.as_deref(), Some(&ReadyBy::Http(probe.clone())));
    }
    // The port is the first of `listen`, or else the variable.
    let port = |attributes: Value| match app(&project, attributes).ready.by.as_deref() {
        Some(ReadyBy::Http(probe)) => probe.port,
        other => panic!("{other:?}"),
    };
    assert_eq!(port(json!({"ready": {"http": {}}, "listen": ["/x", 0, 90], "port": 80})), 90);
    assert_eq!(port(json!({"ready": {"http": {}}, "port": 80})), 80);
    // Without `ready`, the health check does not affect a start, and `wait_ready` stays unchanged.
    let waits = app(&project, json!({"wait_ready": true, "http": {"path": "/", "port": 1}})).ready;
    assert_eq!((waits.wait_ready, waits.by), (true, None));
}

#[test]
fn impossible_readiness_signals_are_rejected() {
    let project = Project::new("unready");
    project.file("server.py", "");
    for (attributes, expected) in [
        (json!({"ready": "listening"}), "ready: \"listening\" works for cluster workers only"),
        (json!({"ready": "lisening"}), "ready: expected \"message\" or \"listening\""),
        (json!({"ready": {}}), "ready: expected \"message\", \"listening\""),
        (json!({"ready": {"tcp": 1, "log": "x"}}), "found a table with 2 keys"),
        (json!({"ready": {"tpc": 1}}), "ready: unknown key `tpc`, did you mean `tcp`?"),
        (json!({"ready": {"tcp": 0}}), "ready: expected `tcp` as a port"),
        (json!({"ready": {"tcp": "x y:1"}}), "ready: expected `tcp` as a port"),
        (json!({"ready": {"tcp": 80}, "listen": 80}), "always succeeds"),
        (json!({"ready": {"descriptor": 2}}), "a number from 3 to 255"),
        (json!({"ready": {"descriptor": 4}, "listen": [1, 2]}), "descriptor 4 is a socket of `listen`; use 5 or more"),
        (json!({"ready": {"log": "("}}), "ready: `log`: "),
        (json!({"ready": {"log": "x"}, "disable_logs": true}), "ready: `log` needs a log file"),
        (json!({"ready": {"log": "x"}, "out_file": "/dev/null", "error_file": "NULL"}), "ready: `log` needs a log file"),
        (json!({"ready": {"tcp": "db.example:80"}}), "ready: \"db.example\" would need a DNS lookup"),
        (json!({"ready": {"log": "x"}, "merge_logs": true, "instances": 2}), "ready: `log` cannot distinguish whose line it is"),
        (json!({"ready": {"uptime": "5s"}, "listen_timeout": "5s"}), "ready: `uptime` must be shorter than `listen_timeout`"),
        (json!({"ready": {"uptime": "soon"}}), "ready: expected `uptime` as a number of milliseconds"),
        (json!({"ready": "http"}), "ready: also needs the key `http`"),
        (json!({"ready": "http", "http": {}}), "http: needs a `port`"),
        (json!({"ready": {"http": {"port": 1, "expect_status": "ok"}}}), "ready: expected `expect_status`"),
        (json!({"ready": {"http": {"port": 1, "path": "/a b"}}}), "ready: expected `path`"),
        (json!({"ready": {"http": {"port": 1, "path": "/a\r\nX: y"}}}), "ready: expected `path`"),
        (json!({"ready": {"http": {"port": 1, "host": "a\r\nb"}}}), "ready: expected `host`"),
        (json!({"ready": {"http": {"port": 1, "timeout": 0}}}), "ready: expected `timeout`"),
    ] {
        let error = refusal(&project, "server.py", attributes.clone());
        assert!(error.contains(expected), "{attributes}: {error}");
    }
}

#[test]
fn a_merged_app_keeps_its_sockets() {
    let project = Project::new("mergelisten");
    project.file("server.py", "");
    let old = app(&project, json!({"listen": [{"port": 80, "name": "web"}], "ready": {"http": {}}}));
    let change = |attributes: Value, args: Option<&[String]>| merge(&old, attributes.as_object().unwrap(), args, &project.context);
    let new = change(json!({"max_restarts": 3}), Some(&["{fd:web}".into()])).unwrap().spec;
    assert_eq!((new.listen, new.ready), (old.listen.clone(), old.ready.clone()));
    assert!(change(json!({}), Some(&["{fd:other}".into()])).is_err());
}
