//! Calls on `rpc.sock` and the resulting events for subscribers, as in PM2.

use ostler_proto::pm2::amp;
use ostler_testkit::{Home, fixture_app, kill, needs_program};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pm2_sockets::SocketConnection;
use crate::setup::{home, start_fixture};

/// Returns the only value of a successful response.
#[track_caller]
fn value(answer: &Value) -> &Value {
    assert_eq!(answer["args"].as_array().map(Vec::len), Some(1), "{answer}");
    &answer["args"][0]
}

#[test]
fn fast_call_is_answered_before_a_slow_one() {
    let home = home();
    home.ok(format!("start {} --name app --kill-timeout 3000", fixture_app("stubborn.sh")));
    home.wait_log("app-out.log", "stubborn");
    let mut wire = SocketConnection::connect(&home, "rpc.sock");
    let stop = wire.ask(&json!({"type": "call", "method": "stopProcessId", "args": [0]}));
    let ping = wire.ask(&json!({"type": "call", "method": "ping", "args": [{}]}));
    let mut id = || wire.next().unwrap().pop().unwrap();
    assert_eq!([id(), id()], [amp::text(&ping), amp::text(&stop)]);
    assert_eq!(home.app("app").status(), "stopped");
}

#[test]
fn stop_watch_disables_watch() {
    needs_program!("node");
    let home = home();
    let script = home.write("app.js", "setInterval(() => {}, 1000);");
    home.ok(format!("start {script} --name app -i 3 --watch"));
    let mut rpc = SocketConnection::connect(&home, "rpc.sock");
    let watched = |home: &Home| home.jlist().iter().map(|item| item.env("watch") == true).collect::<Vec<_>>();
    for (args, expected) in [
        (json!(["stopProcessId", 1]), [true, false, true]),
        (json!(["deleteProcessId", {"id": "0"}]), [false, false, true]),
        (json!(["stopProcessId", 77]), [false, false, true]),
        (json!(["deleteAll", {"pid": 4711}]), [false, false, false]),
    ] {
        assert_eq!(value(&rpc.call("stopWatch", args.clone())), &json!({"success": true}), "{args}");
        assert_eq!(watched(&home), expected, "{args}");
    }
    // The flags are true: a change that restarts another app leaves these apps alone.
    let others = home.write("others/other.js", "setInterval(() => {}, 1000);");
    home.cmd(format!("start {others} --name other --watch")).cwd(home.work()).run().ok();
    let log = home.dir().join("pm2.log");
    home.wait_until("it is watched", || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("for app other")));
    home.write("others/more.js", "");
    home.wait_app("other", "restarted", |item| item.restarts() == 1);
    assert!(home.jlist().iter().filter(|item| item.name() == "app").all(|item| item.restarts() == 0));
}

#[test]
fn monitor_calls_set_and_clear_the_mark() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mark = |home: &Home| home.app("app").env("_km_monitored").clone();
    let mut rpc = SocketConnection::connect(&home, "rpc.sock");
    assert_eq!(mark(&home), Value::Null);
    for (method, expected) in [("monitor", true), ("unmonitor", false), ("monitor", true)] {
        assert_eq!(value(&rpc.call(method, json!(["0"]))), &json!({"success": true, "pm_id": 0}));
        assert_eq!(mark(&home), expected);
    }
    home.ok("restart app");
    assert_eq!(mark(&home), true);
}

#[test]
fn client_notifications_are_published() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut events = SocketConnection::connect(&home, "pub.sock");
    let mut rpc = SocketConnection::connect(&home, "rpc.sock");
    rpc.call("ping", json!([{}]));
    let mut told = |rpc: &mut SocketConnection, args: Value| {
        assert_eq!(rpc.call("notifyByProcessId", json!([args])), json!({"args": []}));
        let event = events.process_event();
        assert_eq!((&event["process"]["name"], &event["process"]["env"]), (&json!("app"), &Value::Null));
        assert!(event["at"].as_u64() > Some(0));
        (event["event"].clone(), event["manually"].clone())
    };
    assert_eq!(
        told(&mut rpc, json!({"id": 0, "action_name": "graceful reload", "manually": true})),
        (json!("graceful reload"), json!(true))
    );
    assert_eq!(told(&mut rpc, json!({"id": "0", "action_name": "__proto__", "manually": false})), (json!("__proto__"), json!(true)));
    assert_eq!(told(&mut rpc, json!({"id": 0, "action_name": "x"})), (json!("x"), json!(false)));
    for (args, error) in [
        (json!({"action_name": "x"}), "process id missing"),
        (json!({"id": 7, "action_name": "x"}), "process id doesnt exists"),
        (json!({"id": "app", "action_name": "restartProcessId"}), "process id doesnt exists"),
        (json!({"id": 0, "action_name": "x".repeat(257)}), "action_name: 257 bytes, more than 256"),
    ] {
        assert_eq!(rpc.call("notifyByProcessId", json!([args]))["error"], error, "{args}");
    }
}

/// PM2's clients announce a restart themselves, so the daemon must not announce it as well.
#[test]
fn restart_event_is_published_once() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut events = SocketConnection::connect(&home, "pub.sock");
    let mut rpc = SocketConnection::connect(&home, "rpc.sock");
    for (method, args) in [
        ("restartProcessId", json!({"id": 0})),
        ("reloadProcessId", json!({"id": 0})),
        ("stopProcessId", json!(0)),
        ("startProcessId", json!(0)),
    ] {
        let answer = rpc.call(method, json!([args]));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        rpc.call("notifyByProcessId", json!([{"id": 0, "action_name": format!("told {method}"), "manually": true}]));
    }
    let mut words = Vec::new();
    while words.last().is_none_or(|word| word != "told startProcessId") {
        words.push(events.process_event()["event"].as_str().unwrap().to_owned());
    }
    let expected = ["exit", "online", "told restartProcessId", "exit", "online", "told reloadProcessId", "exit", "told stopProcessId"];
    words.dedup();
    assert_eq!(words, expected.iter().copied().chain(["online", "told startProcessId"]).collect::<Vec<_>>());
}

#[test]
fn announced_kill_suspends_restarts() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let daemon = home.daemon_pid();
    let mut killer = SocketConnection::connect(&home, "rpc.sock");
    let mut other = SocketConnection::connect(&home, "rpc.sock");
    killer.ask(&json!({"type": "call", "method": "notifyKillPM2", "args": [{}]}));
    // The call has no response: the next frame is the response to the next call.
    let pong = killer.call("ping", json!([{}]));
    assert_eq!(pong, json!({"args": [{"msg": "pong"}]}));
    let pid = home.app("app").pid();
    let refused = other.call("restartProcessId", json!([{"id": 0}]));
    assert_eq!(refused["error"], "[RestartProcessId] PM2 is being killed, stopping restart procedure...");
    assert_eq!(home.app("app").pid(), pid);
    // PM2 would refuse restarts permanently.
    drop(killer);
    home.wait_until("it is gone, and restarts work", || other.call("restartProcessId", json!([{"id": 0}]))["error"].is_null());
    assert_eq!(home.daemon_pid(), daemon);
}

#[test]
fn kill_event_names_its_cause() {
    for (by_signal, msg) in [(false, "pm2 has been killed via CLI"), (true, "pm2 has been killed by SIGNAL")] {
        let home = home();
        start_fixture(&home, "app", "", "hold");
        let mut events = SocketConnection::connect(&home, "pub.sock");
        SocketConnection::connect(&home, "rpc.sock").call("ping", json!([{}]));
        if by_signal {
            kill(home.keeper_pid(), Signal::TERM);
        } else {
            home.ok("kill");
        }
        let (mut topic, mut payload) = events.event();
        while topic != "pm2:kill" {
            (topic, payload) = events.event();
        }
        assert_eq!(payload, json!({"status": "killed", "msg": msg}));
        events.is_closed();
        home.wait_no_processes();
    }
}

#[test]
fn soft_reload_report_and_system_data_match_pm2() {
    needs_program!("node");
    let home = home();
    home.ok(format!("start {} --name app -i 2", fixture_app("cluster.js")));
    let mut rpc = SocketConnection::connect(&home, "rpc.sock");
    let before = home.jlist();
    let reloaded = rpc.call("softReloadProcessId", json!([{"id": 0}]));
    let after = home.jlist();
    assert_eq!((value(&reloaded)["pid"].as_i64(), &value(&reloaded)["pm2_env"]["status"]), (Some(after[0].pid().into()), &json!("online")));
    assert!(after[0].pid() != before[0].pid() && after[1].pid() == before[1].pid());
    assert_eq!(rpc.call("softReloadProcessId", json!([{"id": 7}]))["error"], "pm_id 7 not available in 7");

    let report = rpc.call("getReport", json!([{}]));
    let report = value(&report);
    for (key, expected) in [("pm2_version", json!("7.0.4")), ("managed_apps", json!(2)), ("uid", json!(rustix::process::getuid().as_raw()))]
    {
        assert_eq!(report[key], expected, "{key}");
    }
    assert!(report["started_at"].as_u64().is_some() && report["argv"].is_array() && report["gid"].is_number());
    let env = report["env"].as_object().unwrap();
    assert!(env.contains_key("PATH") && env.values().all(|value| value == "***"), "names, no values: {env:?}");

    for method in ["profileCPU", "profileMEM"] {
        let refused = rpc.call(method, json!([{"pwd": "/tmp/x", "timeout": 10}]));
        assert!(value(&refused)["error"].as_str().is_some_and(|why| why.contains("no V8")), "{method}: {refused}");
    }

    let system = rpc.call("getSystemData", json!([{}]));
    let metrics = value(&system).as_object().unwrap();
    for (name, unit) in [("CPU Usage", "%"), ("RAM Usage", "%"), ("RAM Total", "b"), ("RAM Available", "b")] {
        let metric = &metrics[name];
        assert_eq!(
            (&metric["unit"], &metric["type"], &metric["historic"]),
            (&json!(unit), &json!("metric"), &json!(true)),
            "{name}: {metric}"
        );
        assert!(metric["value"].is_number() || metric["value"].is_string(), "{name}: {metric}");
    }
}

#[test]
fn variables_set_the_socket_paths() {
    let home = home();
    let folder = home.root().join("elsewhere");
    std::fs::create_dir(&folder).unwrap();
    let [calls, events] = ["calls", "events"].map(|name| folder.join(name));
    home.cmd("start sleep --name app -- 1000").env("PM2_DAEMON_RPC_PORT", &calls).env("PM2_DAEMON_PUB_PORT", &events).run().ok();
    assert!(!home.dir().join("rpc.sock").exists() && !home.dir().join("pub.sock").exists());
    let connect = |path| SocketConnection::of(std::os::unix::net::UnixStream::connect(path).unwrap());
    let mut events = connect(&events);
    assert_eq!(value(&connect(&calls).call("getMonitorData", json!([{}])))[0]["name"], "app");
    home.ok("restart app");
    assert_eq!(events.process_event()["process"]["name"], "app");
    // The next daemon opens the sockets there, too, and the last daemon removes them.
    kill(home.daemon_pid(), Signal::KILL);
    assert_eq!(value(&connect(&calls).call("getMonitorData", json!([{}])))[0]["name"], "app");
    home.ok("kill");
    home.wait_no_processes();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

/// Returns the description that npm's client sends to start an app, with these attributes.
fn app_to_prepare(home: &Home, more: &Value) -> Value {
    let script = home.write("app/index.js", "setInterval(() => {}, 1000);");
    let mut map = json!({
        "name": "app", "pm_exec_path": script, "pm_cwd": home.work(), "exec_interpreter": "node", "exec_mode": "fork_mode", "instances": 1,
        "pm_out_log_path": home.dir().join("logs/app-out.log"), "pm_err_log_path": home.dir().join("logs/app-error.log"),
        "pm_pid_path": home.dir().join("pids/app.pid"), "env": {"PATH": std::env::var("PATH").unwrap_or_default()},
    });
    more.as_object().unwrap().iter().for_each(|(key, value)| map[key.as_str()] = value.clone());
    map
}

#[test]
fn version_is_read_from_package_at_every_start() {
    needs_program!("node");
    let home = home();
    home.write("package.json", r#"{"version": "1.2.3"}"#);
    start_fixture(&home, "first", "", "hold");
    home.ok("delete first");
    let mut rpc = SocketConnection::connect(&home, "rpc.sock");
    let started = rpc.call("prepare", json!([app_to_prepare(&home, &json!({"cwd": "./"}))]));
    let env = &started["args"][0][0]["pm2_env"];
    assert_eq!((&env["version"], &env["cwd"]), (&json!("1.2.3"), &json!("./")), "{started}");
    home.write("package.json", r#"{"version": "2.0.0"}"#);
    assert_eq!(home.app("app").text("version"), "1.2.3", "the version that runs");
    let restarted = rpc.call("restartProcessId", json!([{"id": 0}]));
    assert_eq!(restarted["args"][0]["pm2_env"]["version"], "2.0.0");
    home.write("package.json", r#"{"version": "2.1.0"}"#);
    let changed = rpc.call("restartProcessId", json!([{"id": 0, "env": {"current_conf": {"kill_timeout": 900}}}]));
    assert_eq!((&changed["args"][0]["pm2_env"]["version"], home.app("app").number("kill_timeout")), (&json!("2.1.0"), 900));
    // A restart by the restart policy reads the version, too.
    home.write("app/package.json", r#"{"version": "3.0.0"}"#);
    kill(home.app("app").pid(), Signal::KILL);
    home.wait_app("app", "the version of the restart", |item| item.text("version") == "3.0.0");
    home.write("app/package.json", "{");
    rpc.call("stopProcessId", json!([0]));
    let answer = rpc.call("startProcessId", json!([0]));
    assert_eq!(answer["args"][0]["pm2_env"]["version"], "N/A");
}

#[test]
fn a_restart_with_attributes_keeps_the_rest() {
    needs_program!("node");
    let home = home();
    start_fixture(&home, "first", "", "hold");
    home.ok("delete first");
    let mut rpc = SocketConnection::connect(&home, "rpc.sock");
    rpc.call(
        "prepare",
        json!([app_to_prepare(&home, &json!({"node_args": ["--no-warnings"], "kill_timeout": 900, "max_memory_restart": 500_000_000}))]),
    );
    let mut restarted = |env: Value| rpc.call("restartProcessId", json!([{"id": 0, "env": env}]))["args"][0]["pm2_env"].clone();
    // PM2's command line sends `--node-args=null` as a list, and PM2 removes the key.
    let env = restarted(json!({"current_conf": {"node_args": ["null"]}}));
    assert!(env.get("node_args").is_none() && env["kill_timeout"] == 900, "{env}");
    assert_eq!(restarted(json!({"current_conf": {"node_args": ["--trace-warnings"]}}))["node_args"], json!(["--trace-warnings"]));
    let env = restarted(json!({"current_conf": {"max_memory_restart": "null", "kill_timeout": "null", "autorestart": "null"}}));
    assert!(["max_memory_restart", "kill_timeout", "autorestart"].iter().all(|key| env.get(key).is_none()), "{env}");
    // A file's variables replace the caller's variables.
    let env = restarted(json!({"SHELL_ONLY": "x", "current_conf": {"env": {"OWN": "1"}}}));
    assert!(env["env"].get("SHELL_ONLY").is_none() && env["env"]["OWN"] == "1", "{env}");
    assert_eq!(restarted(json!({"SHELL_ONLY": "x", "current_conf": {}}))["env"]["SHELL_ONLY"], "x");
}
