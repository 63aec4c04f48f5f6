use ostler_core::app::{EnvSpec, LogSpec};
use ostler_core::lifecycle::{DesiredState, InstanceState};
use ostler_core::time::Now;

use super::*;
use crate::pm2::{Process, ProcessForm};

fn process(detail: &Detail) -> Process<'_> {
    Process {
        view: View::from(detail),
        pid: detail.instance.pid().unwrap_or(0),
        monit: detail.monit,
        health: detail.health.as_ref(),
        account: None,
    }
}

/// Asserts that a form gives the same text as the item itself, both now and after figures and
/// counters have changed. Also asserts that the form becomes invalid when keys are added or
/// removed.
fn assert_form(detail: &Detail) {
    let written = |form: &ProcessForm, process: &Process<'_>| {
        let mut out = Vec::new();
        form.write(process, &mut out).unwrap().then(|| String::from_utf8(out).unwrap())
    };
    let form = ProcessForm::of(&process(detail)).unwrap();
    assert_eq!(written(&form, &process(detail)), Some(serde_json::to_string(&process(detail)).unwrap()));
    let mut later = detail.clone();
    later.instance.counters.restarts += 3;
    later.monit = Monit { cpu_pct: 12.5, memory_bytes: 7, processes: 2 };
    later.learned.axm_monitor.insert("Loop delay".into(), json!({ "value": "1.2" }));
    assert_eq!(written(&form, &process(&later)), Some(serde_json::to_string(&process(&later)).unwrap()));
    later.learned.node_version = match later.learned.node_version {
        Some(_) => None,
        None => Some("22.0.0".into()),
    };
    assert_eq!(written(&form, &process(&later)), None);
}

fn process_object(detail: &Detail) -> Value {
    serde_json::to_value(process(detail)).unwrap()
}

use crate::control::{AppFacts, Monit};

pub(crate) fn detail(spec: AppSpec) -> Detail {
    let mut instance = Instance::new(Now::at(1_795_227_870_252));
    instance.wanted = DesiredState::Up;
    instance.state = InstanceState::Running { inc: 1, pid: 28414, since: Now::at(1_795_227_870_252) };
    instance.counters.last_start = Some(Now::at(1_795_227_870_252));
    Detail {
        ticks: ostler_core::cron::Ticks::default(),
        id: 0,
        index: 0,
        unique_id: "c049797b-b9cf-4fa3-8385-790f65faabb2".into(),
        files: Files {
            out: Some(format!("/home/u/.pm2/logs/{}-out.log", spec.name)),
            error: Some(format!("/home/u/.pm2/logs/{}-error.log", spec.name)),
            combined: None,
            pid: format!("/home/u/.pm2/pids/{}-0.pid", spec.name),
        },
        spec,
        instance,
        learned: AppFacts { node_version: Some("20.20.2".into()), ..AppFacts::default() },
        monit: Monit { cpu_pct: 15.9, memory_bytes: 53_936_128, processes: 1 },
        user: "root".into(),
        home: "/home/u/.pm2".into(),
        waits_for: Vec::new(),
        health: None,
        cause: None,
        kept: Default::default(),
        observations: Vec::new(),
    }
}

fn env(pairs: &[(&str, &str)]) -> EnvMap {
    pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
}

fn tiny() -> AppSpec {
    AppSpec {
        name: "tiny".into(),
        namespace: "nsA".into(),
        script: "/srv/demo/app.js".into(),
        interpreter: Some("node".into()),
        args: vec!["one".into(), "--two".into()],
        cwd: "/srv/demo".into(),
        logs: LogSpec { merge_logs: true, ..LogSpec::default() },
        version: Some("1.2.3".into()),
        ..AppSpec::default()
    }
}

/// The item has the keys of the example of PM2 7.0.4, in its order. `PM2_INTERACTOR_PROCESSING` and
/// the empty variable named after the app are noise.
#[test]
fn item_has_the_keys_of_pm2_in_its_order() {
    let item = process_object(&detail(tiny()));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&item), ["pid", "name", "pm2_env", "pm_id", "monit"]);
    let expected = "name filter_env namespace args env merge_logs vizion autostart autorestart watch instance_var pmx automation treekill username windowsHide \
         kill_retry_time node_args pm_exec_path pm_cwd exec_interpreter exec_mode instances pm_out_log_path pm_err_log_path pm_pid_path km_link \
         vizion_running NODE_APP_INSTANCE PM2_HOME PM2_USAGE unique_id status pm_uptime axm_actions axm_monitor axm_options axm_dynamic created_at pm_id \
         restart_time unstable_restarts version node_version";
    assert_eq!(keys(&item["pm2_env"]), expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(item["pid"], 28414);
    assert_eq!(item["monit"].to_string(), r#"{"memory":53936128,"cpu":15.9}"#);
    let env = &item["pm2_env"];
    assert_eq!((&env["status"], &env["exec_mode"], &env["instances"]), (&json!("online"), &json!("fork_mode"), &json!(1)));
    assert_eq!(env["pm_uptime"], 1_795_227_870_252_u64);
    assert_eq!(env["env"]["unique_id"], env["unique_id"]);
}

#[test]
fn whole_numbers_have_no_fraction() {
    let mut idle = detail(tiny());
    idle.monit.cpu_pct = 0.0;
    assert_eq!(process_object(&idle)["monit"]["cpu"].to_string(), "0");
}

#[test]
fn variable_named_like_an_attribute_does_not_replace_it() {
    let mut spec = tiny();
    spec.env.base = env(&[("name", "evil"), ("status", "stopped"), ("args", "x"), ("PORT", "80"), ("km_link", "true")]).into();
    let item = process_object(&detail(spec));
    let wire = &item["pm2_env"];
    assert_eq!((&wire["name"], &wire["status"], &wire["km_link"]), (&json!("tiny"), &json!("online"), &json!(false)));
    assert_eq!(wire["args"], json!(["one", "--two"]));
    assert_eq!((&wire["PORT"], &wire["env"]["name"]), (&json!("80"), &json!("evil")));
}

#[test]
fn options_appear_in_pm2s_units() {
    let mut spec = tiny();
    spec.given = json!({"max_memory_restart": "300M", "min_uptime": "5s", "cron_restart": "0 3 * * *", "watch": ["src"], "script": "app.js", "custom": 1})
        .as_object()
        .unwrap()
        .clone().into();
    spec.restart.min_uptime_ms = Some(5000);
    spec.restart.stop_exit_codes = vec![0, 3];
    spec.uid = Some("33".into());
    spec.logs.json = true;
    spec.env.profiles.insert("production".into(), env(&[("NODE_ENV", "production")]));
    let item = process_object(&detail(spec));
    let wire = item["pm2_env"].as_object().unwrap();
    assert_eq!(wire["max_memory_restart"], 314_572_800);
    assert_eq!(wire["min_uptime"], 5000);
    assert_eq!(wire["cron_restart"], "0 3 * * *");
    assert_eq!(wire["watch"], json!(["src"]));
    assert_eq!(wire["custom"], 1);
    assert_eq!(wire["stop_exit_codes"], json!([0, 3]));
    assert_eq!(wire["uid"], 33);
    assert_eq!(wire["log_type"], "json");
    assert_eq!(wire["env_production"], json!({"NODE_ENV": "production"}));
    assert!(!wire.contains_key("script"));
}

#[test]
fn app_environment_contains_the_scalar_attributes() {
    let mut spec = tiny();
    spec.env = EnvSpec {
        base: env(&[("name", "of the shell"), ("pm_id", "77")]).into(),
        vars: env(&[("version", "mine"), ("PORT", "3000")]),
        increment_var: Some("PORT".into()),
        instance_var: Some("NUMBER".into()),
        ..EnvSpec::default()
    };
    let mut app = detail(spec);
    (app.id, app.index) = (7, 2);
    let mut merged = app.spec.env.merged();
    merged.extend(scalar_env(&View::from(&app)));
    let expected = [
        ("name", "tiny"),
        ("pm_id", "7"),
        ("status", "launching"),
        ("version", "mine"),
        ("PORT", "3002"),
        ("NUMBER", "2"),
        ("unique_id", "c049797b-b9cf-4fa3-8385-790f65faabb2"),
        ("PM2_HOME", "/home/u/.pm2"),
        ("autorestart", "true"),
        ("kill_retry_time", "100"),
        ("pm_exec_path", "/srv/demo/app.js"),
        ("exec_mode", "fork_mode"),
        ("restart_time", "0"),
    ];
    for (key, value) in expected {
        assert_eq!(merged.get(key).map(String::as_str), Some(value), "{key}");
    }
    for absent in ["args", "env", "axm_actions", "axm_options", "filter_env", "node_args", "exit_code", "NODE_APP_INSTANCE"] {
        assert!(!merged.contains_key(absent), "{absent}");
    }
}

/// The direct text of an item equals that of its object, even if a variable has the name of an
/// attribute.
#[test]
fn written_text_of_an_item_equals_its_object() {
    let odd = [
        ("A", "1"),
        ("status", "x"),
        ("uid", "9"),
        ("gid", "8"),
        ("health_status", "h"),
        ("env", "e"),
        ("name", "n"),
        ("PM2_HOME", "/p"),
        ("NUMBER", "3"),
    ];
    let with_vars = AppSpec { env: EnvSpec { vars: env(&odd), ..EnvSpec::default() }, ..tiny() };
    let mut bare = with_vars.clone();
    bare.env.bare.insert("env".into(), vec!["NUMBER".into()]);
    let mut counted = with_vars.clone();
    (counted.env.increment_var, counted.env.instance_var) = (Some("NUMBER".into()), Some("status".into()));
    let mut instance_in_env = tiny();
    instance_in_env.env.instance_var = Some("env".into());
    for spec in [tiny(), with_vars.clone(), bare, counted, instance_in_env] {
        let detail = detail(spec);
        let written = serde_json::to_string(&process(&detail)).unwrap();
        let (_, rest) = written.split_once(r#""pm2_env":"#).unwrap();
        let (written, _) = rest.rsplit_once(r#","pm_id":0,"monit""#).unwrap();
        assert_eq!(written, Value::Object(pm2_env(&View::from(&detail))).to_string());
        assert_form(&detail);
        // The lowest layer may be passed separately.
        let mut split = detail.clone();
        let vars = std::mem::take(&mut split.spec.env.vars);
        if split.spec.env.bare.is_empty() {
            let view = View { base: Some(&vars), ..View::from(&split) };
            assert_eq!(Value::Object(pm2_env(&view)).to_string(), written);
        }
    }
    let user = AppSpec { uid: Some("www".into()), ..with_vars };
    let detail = detail(user);
    let item = serde_json::to_value(Process { account: Some((33, 34)), ..process(&detail) }).unwrap();
    let keys: Vec<&String> = item["pm2_env"].as_object().unwrap().keys().collect();
    assert_eq!((&item["pm2_env"]["uid"], &item["pm2_env"]["gid"]), (&json!(33), &json!(34)));
    assert_eq!(keys.iter().filter(|key| **key == "gid").count(), 1, "{keys:?}");
}
