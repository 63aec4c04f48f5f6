//! Plans of calls over a played context, and the calls that are rejected.

use ostler_core::app::AppSpec;
use ostler_proto::pm2::rpc::METHODS;

use super::super::Pm2Sockets;
use super::*;
use crate::engine::{TestContext, reacts};

fn app(name: &str) -> AppSpec {
    AppSpec { name: name.into(), script: "/srv/app.js".into(), cwd: "/srv".into(), ..AppSpec::default() }
}

/// Returns a context with two apps, numbers 0 and 1; the first runs.
fn scene() -> TestContext {
    let mut played = TestContext::new(&[Pm2Sockets::NAME]);
    let [api, _] = [app("api"), app("other")].map(|spec| played.instance(spec));
    played.start(&mut Pm2Sockets::default(), api, 4711);
    played
}

fn short(step: &CallStep) -> String {
    match step {
        CallStep::Ask(Request::Act { action, targets, change, command, .. }) => {
            let vars = change.iter().flat_map(|change| change.env.iter().flat_map(|env| env.keys())).cloned().collect::<Vec<_>>();
            let specs = change.as_ref().map_or(0, |change| change.specs.len());
            format!("{action:?} {} as {command}, {specs} specs, variables {vars:?}", targets.join(" "))
        }
        CallStep::Ask(Request::Start { apps, base_env, existing, .. }) => {
            format!("Start {} x{}, {} variables, {existing:?}", apps[0].name, apps[0].instances, base_env.len())
        }
        CallStep::Ask(Request::Signal { signal, target }) => format!("Signal {signal} to {target}"),
        CallStep::Ask(Request::Scale { name, to, .. }) => format!("Scale {name} {to:?}"),
        CallStep::Ask(other) => format!("{other:?}"),
        CallStep::Send(slots, message) => format!("Send {slots:?} {message}"),
        CallStep::ReadDetails(id) => format!("Look {id:?}"),
        CallStep::Mark(slot, is_shown) => format!("Mark {slot} {is_shown}"),
        CallStep::Version(slot) => format!("Version {slot}"),
        CallStep::Publish(slot, action, is_manual) => format!("Tell {slot} {action} {is_manual}"),
        CallStep::Watch(slot, wanted) => format!("Watch {slot:?} {wanted:?}"),
    }
}

/// Returns the steps of a call in short form.
#[track_caller]
fn steps(played: &TestContext, method: &str, arg: Value) -> Vec<String> {
    plan(&played.ctx, method, vec![arg]).unwrap().steps.iter().map(short).collect()
}

fn refusal(played: &TestContext, method: &str, arg: Value) -> String {
    plan(&played.ctx, method, vec![arg]).unwrap_err().to_string()
}

#[test]
fn each_call_maps_to_its_requests() {
    let played = scene();
    for (method, arg, wanted) in [
        ("stopProcessId", json!(0), vec!["Stop 0 as stopProcessId, 0 specs, variables []", "Look Some(0)"]),
        ("stopProcessId", json!({"id": " 1 "}), vec!["Stop 1 as stopProcessId, 0 specs, variables []", "Look Some(1)"]),
        ("startProcessId", json!("1"), vec!["Version 1", "Restart 1 as startProcessId, 0 specs, variables []", "Look Some(1)"]),
        ("restartProcessId", json!({"id": 0}), vec!["Version 0", "Restart 0 as restartProcessId, 0 specs, variables []", "Look Some(0)"]),
        (
            "restartProcessId",
            json!({"id": 0, "env": {"A": "1", "current_conf": {"kill_timeout": 900, "env": {"B": 2}}}}),
            // The file's variables replace the caller's.
            vec!["Version 0", "Restart 0 as restartProcessId, 1 specs, variables [\"B\"]", "Look Some(0)"],
        ),
        ("reloadProcessId", json!({"id": 0}), vec!["Version 0", "Reload 0 as reloadProcessId, 0 specs, variables []", "Look Some(0)"]),
        // The details are read before the instance is gone.
        ("deleteProcessId", json!(1), vec!["Look Some(1)", "Delete 1 as deleteProcessId, 0 specs, variables []"]),
        ("duplicateProcessId", json!(0), vec!["Scale api By(1)", "Look None"]),
        ("resetMetaProcessId", json!(1), vec!["Reset 1 as resetMetaProcessId, 0 specs, variables []", "Look Some(0)", "Look Some(1)"]),
        ("sendSignalToProcessId", json!({"process_id": 0, "signal": "SIGUSR2"}), vec!["Signal 12 to 0", "Look Some(0)", "Look Some(1)"]),
        ("sendSignalToProcessName", json!({"process_name": "api", "signal": 0}), vec!["Signal 0 to api", "Look Some(0)", "Look Some(1)"]),
        (
            "prepare",
            json!({"name": "new", "pm_exec_path": "/srv/new.js", "pm_cwd": "/srv", "instances": 2, "env": {"A": "1"}}),
            vec!["Start new x2, 1 variables, PlainScript { force: true }", "Look None"],
        ),
        ("killMe", json!({"pid": 77}), vec!["Kill"]),
        ("notifyKillPM2", json!(null), vec![]),
        ("ping", json!(null), vec![]),
    ] {
        assert_eq!(steps(&played, method, arg.clone()), wanted, "{method} {arg}");
    }
    assert_eq!(plan(&played.ctx, "killMe", vec![json!({"pid": 77})]).unwrap().then, Some(AfterReply::Quit(77)));
    for pid in [json!({"pid": -1}), json!({"pid": 1e300}), json!({"pid": u32::MAX}), json!({})] {
        assert_eq!(plan(&played.ctx, "killMe", vec![pid]).unwrap().then, None);
    }
}

#[test]
fn reloads_of_an_app_run_one_at_a_time_but_restarts_do_not() {
    let played = scene();
    let alone = |method| plan(&played.ctx, method, vec![json!({"id": 0})]).unwrap().alone;
    assert_eq!(alone("reloadProcessId").as_deref(), Some("api"));
    assert_eq!(alone("softReloadProcessId").as_deref(), Some("api"));
    assert_eq!(alone("restartProcessId"), None);
}

#[test]
fn invalid_call_is_refused_without_a_request() {
    let played = scene();
    for (method, arg, why) in [
        ("startProcessId", json!(0), "process already online"),
        ("stopProcessId", json!(-1), "-1 : id unknown"),
        ("stopProcessId", json!(4_294_967_296_u64), "4294967296 : id unknown"),
        ("stopProcessId", json!(0.5), "0.5 : id unknown"),
        ("stopProcessId", json!({"id": {}}), "[object Object] : id unknown"),
        ("softReloadProcessId", json!({"id": 7}), "pm_id 7 not available in 7"),
        ("restartProcessId", json!({"id": 0, "env": {"A": "a\0b"}}), "variable A contains a NUL character"),
        ("restartProcessId", json!({"id": 0, "env": {"current_conf": {"env": {"A": "\0"}}}}), "variable A contains a NUL character"),
        ("sendSignalToProcessId", json!({"process_id": 0, "signal": 65}), "Error when sending signal (signal unknown)"),
        ("sendSignalToProcessId", json!({"process_id": 0, "signal": -9}), "Error when sending signal (signal unknown)"),
        ("sendSignalToProcessName", json!({"process_name": 7, "signal": 9}), "Unknown process name"),
        ("sendSignalToProcessName", json!({"process_name": "nobody", "signal": 9}), "Unknown process name"),
        ("sendSignalToProcessName", json!({"process_name": "api", "signal": "SIGNONE"}), "Unknown signal: SIGNONE"),
        ("prepare", json!("app.js"), "prepare: expected an object"),
    ] {
        assert_eq!(refusal(&played, method, arg.clone()), why, "{method} {arg}");
    }
    let long = refusal(&played, "stopProcessId", json!("x".repeat(1 << 20)));
    assert!(long.len() < 200, "what was sent comes back in part only");
}

#[test]
fn no_argument_makes_a_method_panic() {
    let played = scene();
    let odd = [json!(null), json!(true), json!(-1), json!(1e308), json!(""), json!("\0"), json!([]), json!([[{}]]), json!({})];
    let keys =
        ["id", "pid", "env", "process_id", "process_name", "signal", "name", "msg", "opts", "data", "topic", "pm_exec_path", "instances"];
    for (method, _) in METHODS {
        let _ = plan(&played.ctx, method, vec![]);
        for value in &odd {
            let _ = plan(&played.ctx, method, vec![value.clone(), value.clone()]);
            let all = |first: &Value| {
                Value::from(Map::from_iter(
                    keys.map(|key| (key.to_owned(), value.clone())).into_iter().chain([("id".to_owned(), first.clone())]),
                ))
            };
            for arg in [all(value), all(&json!(0)), json!({"id": 0, "env": {"current_conf": all(value), "A": value}})] {
                let _ = plan(&played.ctx, method, vec![arg]);
            }
        }
    }
}

reacts!(Pm2Sockets: on_message, on_idle);
