use ostler_core::app::{CombinedLog, EnvMap, ExecMode};
use ostler_core::lifecycle::Instance;
use ostler_core::time::Now;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::control::{AppFacts, Files, Monit};

const REAL: &str = include_str!("../../../../../tests/fixtures/dump/pm2-7.0.4.json");

fn detail(spec: AppSpec) -> Detail {
    let mut instance = Instance::new(Now::at(1000));
    instance.wanted = DesiredState::Up;
    instance.state = InstanceState::Running { inc: 1, pid: 5, since: Now::at(2000) };
    let files =
        Files { out: spec.logs.out_file.clone(), error: spec.logs.error_file.clone(), combined: None, pid: "/h/pids/a-3.pid".into() };
    Detail {
        ticks: ostler_core::cron::Ticks::default(),
        id: 3,
        index: 1,
        unique_id: "u".into(),
        spec,
        instance,
        learned: AppFacts::default(),
        monit: Monit::default(),
        files,
        user: "u".into(),
        home: "/h".into(),
        waits_for: Vec::new(),
        health: None,
        cause: None,
        kept: Default::default(),
        observations: Vec::new(),
    }
}

fn only(text: &str) -> DumpEntry {
    let mut dump = parse_dump(text).expect("valid");
    assert_eq!(dump.rejected, []);
    assert_eq!(dump.entries.len(), 1);
    dump.entries.remove(0)
}

#[test]
fn list_written_by_pm2_is_readable() {
    let dump = parse_dump(REAL).expect("valid");
    assert_eq!(dump.rejected, []);
    let names: Vec<_> = dump.entries.iter().map(|entry| (entry.spec.name.as_str(), entry.index, entry.stopped)).collect();
    let expected = [
        ("tiny", Some(0), false),
        ("api", Some(0), false),
        ("worker", Some(0), false),
        ("late", Some(0), true),
        ("api", Some(1), false),
        ("shell", Some(0), false),
        ("three", Some(0), true),
        ("three", Some(1), true),
    ];
    assert_eq!(names, expected);
    let spec = |at: usize| &dump.entries[at].spec;

    assert_eq!(spec(0).args, ["one", "--two"]);
    assert_eq!((spec(0).namespace.as_str(), spec(0).interpreter.as_deref(), spec(0).pid_file.as_deref()), ("nsA", Some("node"), None));
    assert_eq!(spec(0).env.base.get("SECRET_X").map(String::as_str), Some("1"));
    assert!(
        !["tiny", "unique_id", "PM2_HOME", "PM2_USAGE"].iter().any(|key| spec(0).env.base.contains_key(*key)),
        "{:?}",
        spec(0).env.base
    );
    assert_eq!(dump.entries[0].created_ms, Some(1_795_233_323_591));

    for (at, port) in [(1, "3000"), (4, "3000")] {
        let api = spec(at);
        assert_eq!(api.mode, ExecMode::Cluster);
        assert_eq!(api.args, ["--port", "80 80"]);
        assert_eq!(api.env.base.get("PORT").map(String::as_str), Some(port), "the value of the first instance");
        assert_eq!(api.env.base.get("OBJ").map(String::as_str), Some(r#"{"a":1}"#));
        assert_eq!(api.env.profiles["production"]["NODE_ENV"], "production");
        assert_eq!((api.restart.max_restarts, api.restart.min_uptime_ms, api.restart.restart_delay_ms), (Some(7), Some(5000), 100));
        assert_eq!((api.stop.kill_timeout_ms, api.restart.stop_exit_codes.as_slice()), (Some(5000), [0, 3].as_slice()));
        assert_eq!((api.logs.date_format.as_deref(), api.logs.merge_logs), (Some("YYYY-MM-DD"), true));
        assert_eq!(api.cron.as_deref(), Some(&ostler_core::cron::CronSpec::restarts("0 3 * * *".into())));
        for key in ["max_memory_restart", "cron_restart", "watch", "ignore_watch", "filter_env"] {
            assert!(api.given.open().contains_key(key), "{key}");
        }
        assert!(
            !["PATH", "axm_monitor", "NODE_APP_INSTANCE", "env_production"].iter().any(|key| api.given.open().contains_key(*key)),
            "{:?}",
            api.given
        );
    }

    let worker = spec(2);
    assert!(!worker.restart.autorestart && !worker.stop.treekill && worker.stop.shutdown_with_message && worker.logs.json);
    assert_eq!(worker.restart.exp_backoff_ms, 100);
    assert_eq!(
        (worker.logs.out_file.as_deref(), &worker.logs.log_file),
        (Some("/dev/null"), &Some(CombinedLog::Path("/srv/demo/all.log".into())))
    );
    assert_eq!(spec(3).interpreter_args, ["--max-old-space-size=100"]);
    assert!(!spec(3).autostart);
    assert!(spec(5).shell && spec(5).interpreter.is_none() && spec(5).args == ["-c", "sleep 1000"]);
    assert!(!spec(6).logs.merge_logs && spec(6).instances_given);
}

#[test]
fn javascript_in_a_list_is_rejected() {
    for text in ["[{name: 'a'}]", "(function(){ return [] })()", "[1+1]", "", "[", "{\"a\":1}", "null", "\"x\"", &"[".repeat(100_000)] {
        assert!(parse_dump(text).is_err(), "{}", &text[..text.len().min(20)]);
    }
    assert_eq!(parse_dump("\u{feff}[]").expect("valid"), Dump::default());
}

#[test]
fn bad_entry_does_not_affect_other_entries() {
    let good = json!({"name": "ok", "pm_exec_path": "/a", "pm_cwd": "/"});
    let cases = [
        (json!(1), "expected an object"),
        (json!({"name": "x"}), "pm_exec_path: missing"),
        (json!({"pm_exec_path": "a.js", "pm_cwd": "/"}), "expected an absolute path"),
        (json!({"pm_exec_path": ["/a"], "pm_cwd": "/"}), "expected a string"),
        (json!({"pm_exec_path": "/a", "pm_cwd": "/", "args": [{}]}), "args: expected a list of strings"),
        (json!({"name": "n", "pm_exec_path": "/a\u{0}b", "pm_cwd": "/"}), "NUL"),
        (json!({"pm_exec_path": "/a", "pm_cwd": "/", "env": {"A": "\u{0}"}}), "variable A contains a NUL"),
        (json!({"name": "a\nb", "pm_exec_path": "/a", "pm_cwd": "/"}), "control characters"),
        (json!({"pm_exec_path": "/a", "pm_cwd": "/", "stop_exit_codes": ["x"]}), "stop_exit_codes"),
    ];
    for (bad, reason) in cases {
        let dump = parse_dump(&json!([bad, good]).to_string()).expect("valid");
        assert_eq!(dump.entries.len(), 1, "{bad}");
        assert!(dump.rejected[0].reason.contains(reason), "{bad}: {}", dump.rejected[0]);
    }
}

#[test]
fn attributes_overwritten_by_variables_are_ignored() {
    let entry = json!([{"name": "a", "pm_exec_path": "/a.js", "pm_cwd": "/", "args": "-x", "watch": "1", "max_restarts": "3", "env": {"args": "-x", "watch": "1", "max_restarts": "3"}}]);
    let spec = only(&entry.to_string()).spec;
    assert!(spec.args.is_empty() && spec.restart.max_restarts.is_none() && !spec.given.open().contains_key("watch"));
    assert_eq!(spec.env.base["args"], "-x");
}

#[test]
fn names_default_to_the_script() {
    for (script, name) in [("/a/b.min.js", "b.min"), ("/a/run", "run"), ("/a/.hidden", ".hidden")] {
        assert_eq!(only(&json!([{"pm_exec_path": script, "pm_cwd": "/"}]).to_string()).spec.name, name);
    }
}

#[test]
fn manual_edits_of_the_list_win() {
    let mut spec = AppSpec { name: "a".into(), script: "/a.js".into(), ..AppSpec::default() };
    spec.env.vars.insert("PORT".into(), "1".into());
    spec.limits.nice = Some(3);
    let text = to_dump(&[detail(spec)]);
    assert_eq!(only(&text).spec.env.vars["PORT"], "1", "layers are kept");
    let edited = text.replacen("\"PORT\": \"1\"", "\"PORT\": \"2\"", 1);
    assert_ne!(edited, text);
    let spec = only(&edited).spec;
    assert_eq!(spec.env.merged()["PORT"], "2");
    assert_eq!(spec.limits.nice, Some(3));
}

#[test]
fn list_saves_the_wanted_state() {
    let at = Now::at(1);
    let busy = InstanceState::Running { inc: 1, pid: 2, since: at };
    let cases = [
        (DesiredState::Down, busy.clone(), Some(true)),
        (DesiredState::Up, busy, Some(false)),
        (DesiredState::Up, InstanceState::Backoff { until_ms: 9 }, Some(false)),
        (DesiredState::Up, InstanceState::Stopped, Some(false)),
        (DesiredState::Down, InstanceState::Stopped, Some(true)),
        (DesiredState::Down, InstanceState::Errored, Some(false)),
        (DesiredState::Gone, InstanceState::Gone, None),
    ];
    for (wanted, state, stopped) in cases {
        let mut one = detail(AppSpec { name: "a".into(), script: "/a".into(), ..AppSpec::default() });
        (one.instance.wanted, one.instance.state) = (wanted, state.clone());
        let entries = parse_dump(&to_dump(&[one])).expect("valid").entries;
        assert_eq!(entries.first().map(|entry| entry.stopped), stopped, "{wanted:?} {state:?}");
    }
}

#[test]
fn written_list_has_the_keys_that_pm2_needs() {
    let spec = AppSpec { name: "a".into(), script: "/a.js".into(), interpreter: Some("node".into()), ..AppSpec::default() };
    let list: Value = serde_json::from_str(&to_dump(&[detail(spec)])).expect("JSON");
    let entry = list[0].as_object().expect("object");
    for key in ["pm_id", "instances", "prev_restart_delay"] {
        assert!(!entry.contains_key(key), "{key}");
    }
    for key in [
        "name",
        "pm_exec_path",
        "pm_cwd",
        "exec_interpreter",
        "exec_mode",
        "env",
        "node_args",
        "pm_out_log_path",
        "pm_err_log_path",
        "pm_pid_path",
        "status",
    ] {
        assert!(entry.contains_key(key), "{key}");
    }
}

fn env_map() -> impl Strategy<Value = EnvMap> {
    prop::collection::vec(("[A-Za-z_]{1,6}|name|status|PATH", "[^\\x00]{0,12}"), 0..6).prop_map(|pairs| pairs.into_iter().collect())
}

prop_compose! {
    fn any_spec()(
        name in "[ -~é]{1,12}",
        args in prop::collection::vec("[^\\x00]{0,8}", 0..4),
        base in env_map(), file in env_map(), vars in env_map(), profile in env_map(),
        chosen in any::<bool>(),
        increment in proptest::option::of("PATH|[A-Z]{1,3}"),
        numbers in any::<(u16, u16, u16, bool, bool, bool)>(),
        log in proptest::option::of("/[a-z]{1,8}\\.log"),
        date in proptest::option::of("[YMDHms: -]{1,12}"),
        interpreter in proptest::option::of("node|python3|bash"),
        cluster in any::<bool>(),
    ) -> AppSpec {
        let mut spec = AppSpec { name, args, script: "/srv/app.js".into(), cwd: "/srv".into(), interpreter, ..AppSpec::default() };
        spec.env.base = base.into();
        spec.env.file = file;
        spec.env.vars = vars;
        spec.env.profiles.insert("production".into(), profile);
        spec.env.profile = chosen.then(|| "production".into());
        spec.env.increment_var = increment;
        spec.restart.max_restarts = Some(numbers.0.into());
        spec.restart.restart_delay_ms = numbers.1.into();
        spec.stop.kill_timeout_ms = Some(numbers.2.into());
        spec.stop.treekill = numbers.3;
        spec.ready.wait_ready = numbers.4;
        spec.logs.merge_logs = numbers.5;
        spec.logs.out_file = log;
        spec.logs.date_format = date;
        spec.limits.rlimits = vec![("nofile".into(), Some(1), None)];
        spec.instances = 4;
        spec.mode = if cluster { ExecMode::Cluster } else { ExecMode::Fork };
        spec.given = json!({"max_memory_restart": "1G", "http": {"port": 1}}).as_object().expect("object").clone().into();
        if cluster {
            spec.given.open_mut().insert("cron_restart".into(), "@daily".into());
            spec.cron = Some(Box::new(ostler_core::cron::CronSpec::restarts("@daily".into())));
        }
        spec
    }
}

proptest! {
    #[test]
    fn app_spec_round_trips_through_the_list(spec in any_spec()) {
        let entry = only(&to_dump(&[detail(spec.clone())]));
        let ticks = spec.cron.as_ref().map(|_| ostler_core::cron::Ticks::default());
        prop_assert_eq!(entry, DumpEntry { ticks, spec, index: Some(1), stopped: false, created_ms: Some(1000) });
    }

    /// Without our own key (after PM2 has written the list), the process still sees the same
    /// environment.
    #[test]
    fn list_without_the_ostler_key_gives_the_same_process(spec in any_spec()) {
        let mut list: Value = serde_json::from_str(&to_dump(&[detail(spec.clone())])).expect("JSON");
        list[0].as_object_mut().expect("object").shift_remove(OWN_KEY);
        let back = only(&list.to_string()).spec;
        prop_assert_eq!(&back.name, &spec.name);
        prop_assert_eq!(&back.interpreter, &spec.interpreter);
        prop_assert_eq!(back.mode, spec.mode);
        let clean = |env: EnvMap| -> EnvMap { env.into_iter().filter(|(key, _)| spec.env.increment_var.as_ref() != Some(key)).collect() };
        let mut seen = clean(back.env.merged());
        seen.sort_keys();
        let mut wanted = clean(spec.env.merged());
        wanted.retain(|key, value| !(*key == spec.name && value == "{}"));
        wanted.sort_keys();
        prop_assert_eq!(seen, wanted);
        prop_assert_eq!(back.stop.kill_timeout_ms, spec.stop.kill_timeout_ms);
        prop_assert_eq!(back.logs.merge_logs, spec.logs.merge_logs);
    }

    #[test]
    fn parsing_any_json_never_panics(text in "[\\[\\]{}:,\"a-z0-9/]{0,60}") {
        drop(parse_dump(&text));
        drop(parse_dump(&format!("[{{\"name\":\"a\",\"pm_exec_path\":\"/a\",\"pm_cwd\":\"/\",\"env\":{text}}}]")));
    }
}
