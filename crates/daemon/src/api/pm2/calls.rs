//! Steps and result of each method of PM2's daemon.

use std::collections::VecDeque;

use ostler_core::app::EnvMap;
use ostler_core::lifecycle::InstanceState;
use ostler_proto::control::{Action, Change, Existing, Request, ScaleTo};
use ostler_proto::pm2::{self, Prepared};
use serde_json::{Map, Value, json};

use super::messages;
use super::plan::{AfterReply, CallError, CallPlan, CallResult, CallStep, MAX_ACTION_BYTES, id_number, require_instance, shown};
use super::results::ResultForm;
use crate::engine::Ctx;
use crate::platform::rights::Rights;
use crate::platform::working_trees::version_of;
use crate::state::slots::Slot;

/// Error for profiling, which works only in V8.
const NO_PROFILER: &str = "this daemon is a native program: there is no V8 to profile";

/// Returns the plan for a call. Nothing is done yet.
///
/// # Errors
///
/// Returns an error if no plan can be made, in PM2's words if PM2 has an error for that.
pub(super) fn plan(ctx: &Ctx, name: &str, mut args: Vec<Value>) -> Result<CallPlan, CallError> {
    let arg = args.first_mut().map(Value::take).unwrap_or_default();
    match name {
        "ping" => Ok(CallPlan::value(json!({ "msg": "pong" }))),
        "getReport" => Ok(CallPlan::value(report(ctx))),
        "getMonitorData" => Ok(CallPlan::of([CallStep::Ask(Request::Processes)], CallResult::Passed)),
        "getSystemData" => Ok(CallPlan::of([CallStep::Ask(Request::Host)], CallResult::Passed)),
        "reloadLogs" => Ok(CallPlan::of([CallStep::Ask(Request::ReloadLogs)], CallResult::Value(json!({})))),
        "prepare" => prepare(ctx, &arg),
        "startProcessId" => start(ctx, &arg),
        "stopProcessId" => stop(ctx, &arg),
        "restartProcessId" => plan_restart(ctx, &arg, Action::Restart, "restartProcessId"),
        "reloadProcessId" => plan_restart(ctx, &arg, Action::Reload, "reloadProcessId"),
        "softReloadProcessId" => plan_restart(ctx, &arg, Action::Reload, "softReloadProcessId"),
        "deleteProcessId" => delete(ctx, &arg),
        "duplicateProcessId" => duplicate(ctx, &arg),
        "resetMetaProcessId" => reset(ctx, &arg),
        "sendSignalToProcessId" | "sendSignalToProcessName" => signal(ctx, &arg),
        "stopWatch" => Ok(stop_watching(ctx, &arg, args.get(1))),
        "sendLineToStdin" => line(&arg),
        "startWatch" => watch(ctx, args.get(1), Some(true)),
        "toggleWatch" => watch(ctx, args.get(1), None),
        "monitor" | "unmonitor" => marked_for_vendor(ctx, &arg, name == "monitor"),
        "notifyByProcessId" => notify(ctx, &arg),
        "sendDataToProcessId" => messages::data(ctx, &arg),
        "msgProcess" => messages::action(ctx, &arg),
        "profileCPU" | "profileMEM" => Ok(CallPlan::value(json!({ "error": NO_PROFILER }))),
        // PM2's client deletes all apps itself, then calls `killMe`.
        "notifyKillPM2" => Ok(CallPlan::of([], CallResult::Silence)),
        "killMe" => {
            let then = arg.get("pid").and_then(id_number).and_then(|pid| i32::try_from(pid).ok()).map(AfterReply::Quit);
            Ok(CallPlan { then, ..CallPlan::of([CallStep::Ask(Request::Kill)], CallResult::Silence) })
        }
        name => Err(CallError::Unsupported(name.to_owned())),
    }
}

fn act(action: Action, id: u32, command: &str, change: Option<Change>) -> CallStep {
    let mut request = Request::act(action, vec![id.to_string()], command);
    if let Request::Act { change: requested, .. } = &mut request {
        *requested = change.map(Box::new);
    }
    CallStep::Ask(request)
}

fn prepare(ctx: &Ctx, env: &Value) -> Result<CallPlan, CallError> {
    let map = env.as_object().ok_or(CallError::Argument("prepare: expected an object"))?;
    let home = ctx.io.settings.home.to_string_lossy();
    let Prepared { mut spec, vars } = pm2::prepared(map, &home, ostler_sys::machine::cpus::available())?;
    spec.version = Some(version_of(&spec, Rights::look_up(&spec).user()));
    let start = Request::Start {
        apps: vec![spec],
        base_env: vars,
        existing: Existing::PlainScript { force: true },
        command: "prepare".into(),
        confirm: None,
        named_only: false,
        as_pm2: true,
    };
    Ok(CallPlan::of([CallStep::Ask(start), CallStep::ReadDetails(None)], CallResult::Each(ResultForm::Child)))
}

fn start(ctx: &Ctx, id: &Value) -> Result<CallPlan, CallError> {
    let slot = require_instance(ctx, id, "{} id unknown")?;
    let number = slot.durable.pm_id;
    if slot.is_unstarted() {
        return Ok(left_stopped(number));
    }
    match slot.durable.instance.status() {
        "online" => Err(CallError::Already("online")),
        "launching" => Err(CallError::Already("started")),
        _ => Ok(CallPlan::of(
            [CallStep::Version(slot.durable.id), act(Action::Restart, number, "startProcessId", None), CallStep::ReadDetails(Some(number))],
            CallResult::One(ResultForm::Child),
        )),
    }
}

fn stop(ctx: &Ctx, id: &Value) -> Result<CallPlan, CallError> {
    let id = id.get("id").unwrap_or(id);
    let number = require_instance(ctx, id, "{} : id unknown")?.durable.pm_id;
    Ok(CallPlan::of(
        [act(Action::Stop, number, "stopProcessId", None), CallStep::ReadDetails(Some(number))],
        CallResult::One(ResultForm::Formatted),
    ))
}

/// Answers for an app with `autostart: false` that never ran. No call of PM2's daemon starts such
/// an app.
fn left_stopped(number: u32) -> CallPlan {
    CallPlan::of([CallStep::ReadDetails(Some(number))], CallResult::One(ResultForm::Child))
}

/// Plans a restart or reload, with the settings that the caller sends along.
fn plan_restart(ctx: &Ctx, opts: &Value, action: Action, command: &str) -> Result<CallPlan, CallError> {
    let unknown = match action {
        Action::Restart if opts.get("id").is_none_or(Value::is_null) => {
            return Err(CallError::Argument("opts.id not passed to restartProcessId"));
        }
        Action::Restart => "God db process id unknown",
        _ if command == "softReloadProcessId" => "pm_id {} not available in {}",
        _ => "PM2 ID unknown",
    };
    let slot = require_instance(ctx, opts.get("id").unwrap_or(&Value::Null), unknown)?;
    let number = slot.durable.pm_id;
    let change = opts.get("env").and_then(Value::as_object).map(|env| change(ctx, slot, env)).transpose()?.flatten();
    if slot.is_unstarted() {
        return Ok(left_stopped(number));
    }
    // PM2 answers a reload with the replaced worker. Callers need the current one.
    let form = if action == Action::Restart { ResultForm::Child } else { ResultForm::Formatted };
    let alone = (action == Action::Reload).then(|| slot.spec().key().to_owned());
    Ok(CallPlan {
        alone,
        ..CallPlan::of(
            [CallStep::Version(slot.durable.id), act(action, number, command, change), CallStep::ReadDetails(Some(number))],
            CallResult::One(form),
        )
    })
}

/// Returns the change that comes with a restart, or `None` if nothing changes.
fn change(ctx: &Ctx, slot: &Slot, env: &Map<String, Value>) -> Result<Option<Change>, CallError> {
    let none = Map::new();
    let conf = env.get("current_conf").and_then(Value::as_object).unwrap_or(&none);
    let present = super::results::pm2_env(&slot.detail(&ctx.io.settings));
    let mut specs: Vec<_> = pm2::reconfigured(slot.spec(), &present, conf)?.into_iter().collect();
    // The old spec has the version of the last start.
    specs.iter_mut().for_each(|spec| spec.version = Some(version_of(spec, Rights::of(spec).user())));
    // As in PM2, variables of a config file replace the caller's.
    let own = conf.get("env").and_then(Value::as_object).filter(|own| !own.is_empty());
    let vars: EnvMap = pm2::restart_vars(own.unwrap_or(env))?.unwrap_or_default();
    if specs.is_empty() && vars.is_empty() {
        return Ok(None);
    }
    let spec_of = specs.iter().map(|_| (slot.durable.pm_id, 0)).collect();
    Ok(Some(Change { env: (!vars.is_empty()).then_some(vars), specs, spec_of, ..Change::default() }))
}

fn delete(ctx: &Ctx, id: &Value) -> Result<CallPlan, CallError> {
    let number = require_instance(ctx, id, "{} : id unknown")?.durable.pm_id;
    Ok(CallPlan::of(
        [CallStep::ReadDetails(Some(number)), act(Action::Delete, number, "deleteProcessId", None)],
        CallResult::One(ResultForm::Deleted),
    ))
}

fn duplicate(ctx: &Ctx, id: &Value) -> Result<CallPlan, CallError> {
    let name = require_instance(ctx, id, "{} id unknown")?.spec().key().to_owned();
    let scale = Request::Scale { name, cwd: String::new(), to: ScaleTo::By(1), oldest_first: true, confirm: None };
    Ok(CallPlan::of([CallStep::Ask(scale), CallStep::ReadDetails(None)], CallResult::One(ResultForm::Child)))
}

fn reset(ctx: &Ctx, id: &Value) -> Result<CallPlan, CallError> {
    let number = require_instance(ctx, id, "{} id unknown")?.durable.pm_id;
    let mut steps = VecDeque::from([act(Action::Reset, number, "resetMetaProcessId", None)]);
    steps.extend(ctx.state.slots.serving().map(|slot| CallStep::ReadDetails(Some(slot.durable.pm_id))));
    Ok(CallPlan { steps, ..CallPlan::of([], CallResult::Each(ResultForm::Formatted)) })
}

fn signal(ctx: &Ctx, opts: &Value) -> Result<CallPlan, CallError> {
    const UNKNOWN_SIGNAL: &str = "Error when sending signal (signal unknown)";
    let target = match (opts.get("process_id"), opts.get("process_name").and_then(Value::as_str)) {
        (Some(id), _) => require_instance(ctx, id, "{} id unknown")?.durable.pm_id.to_string(),
        (None, Some(name)) if exists(ctx, name) => name.to_owned(),
        (None, _) => return Err(CallError::Unknown("Unknown process name".into())),
    };
    let signal = match opts.get("signal") {
        Some(Value::Number(number)) => number.as_i64().and_then(|number| i32::try_from(number).ok()),
        Some(Value::String(name)) => ostler_sys::process::signal::by_name(name),
        _ => None,
    };
    let signal = match (signal.filter(|signal| (0..=64).contains(signal)), opts.get("signal"), opts.get("process_id")) {
        (Some(signal), ..) => signal,
        (None, Some(name @ Value::String(_)), None) => return Err(CallError::Signal(shown(name))),
        (None, ..) => return Err(CallError::Argument(UNKNOWN_SIGNAL)),
    };
    let mut steps = VecDeque::from([CallStep::Ask(Request::Signal { signal, target })]);
    steps.extend(ctx.state.slots.serving().map(|slot| CallStep::ReadDetails(Some(slot.durable.pm_id))));
    Ok(CallPlan { steps, ..CallPlan::of([], CallResult::Each(ResultForm::Formatted)) })
}

/// Returns true if an app, a namespace or an instance has this name.
fn exists(ctx: &Ctx, name: &str) -> bool {
    let is_called =
        |slot: &Slot| [slot.spec().name.as_str(), &slot.spec().namespace, "all"].contains(&name) || slot.durable.pm_id.to_string() == name;
    ctx.state.slots.serving().any(is_called)
}

/// Writes a line to the standard input of an app unchanged.
fn line(packet: &Value) -> Result<CallPlan, CallError> {
    let (Some(given), Some(line)) = (packet.get("pm_id").filter(|id| !id.is_null()), packet.get("line").and_then(Value::as_str)) else {
        return Err(CallError::Argument("pm_id or line field missing"));
    };
    let Some(id) = id_number(given) else {
        return Err(CallError::Unknown(format!("Process with ID <{}> unknown.", shown(given))));
    };
    Ok(CallPlan::of([CallStep::Ask(Request::Input { id, text: line.to_owned() })], CallResult::Value(packet.clone())))
}

/// Turns file watching on or off for the instances that `{id}`, an id or a name selects. Nothing
/// restarts.
fn watch(ctx: &Ctx, value: Option<&Value>, on: Option<bool>) -> Result<CallPlan, CallError> {
    let value = value.ok_or(CallError::Argument("name the apps to watch"))?;
    let id = id_number(value.get("id").unwrap_or(value));
    let is_meant = |slot: &&Slot| match (id, value) {
        (Some(id), _) => slot.durable.pm_id == id,
        (None, Value::String(name)) => slot.spec().name == *name,
        (None, _) => false,
    };
    let slots: Vec<u32> = ctx.state.slots.serving().filter(is_meant).map(|slot| slot.durable.id).collect();
    if slots.is_empty() {
        return Err(CallError::Unknown("process id doesnt exists".into()));
    }
    Ok(CallPlan::of([CallStep::Watch(slots, on)], CallResult::Value(json!({ "success": true }))))
}

/// Turns off file watching of one or all instances before a client stops or deletes them. An
/// unknown instance is ignored.
fn stop_watching(ctx: &Ctx, method: &Value, value: Option<&Value>) -> CallPlan {
    let is_all = matches!(method.as_str(), Some("stopAll" | "deleteAll"));
    let id = value.and_then(|value| id_number(value.get("id").unwrap_or(value)));
    let is_meant = |slot: &&Slot| is_all || Some(slot.durable.pm_id) == id;
    let slots: Vec<u32> = ctx.state.slots.serving().filter(is_meant).map(|slot| slot.durable.id).collect();
    let steps = if slots.is_empty() { VecDeque::new() } else { [CallStep::Watch(slots, Some(false))].into() };
    CallPlan { steps, ..CallPlan::value(json!({ "success": true })) }
}

/// Sets the mark that `monitor` and `unmonitor` set for the vendor's service. ostler has no such
/// service, but clients can read the mark.
fn marked_for_vendor(ctx: &Ctx, id: &Value, is_shown: bool) -> Result<CallPlan, CallError> {
    let slot = require_instance(ctx, id, "Unknown pm_id")?;
    let result = json!({ "success": true, "pm_id": slot.durable.pm_id });
    Ok(CallPlan::of([CallStep::Mark(slot.durable.id, is_shown)], CallResult::Value(result)))
}

/// Passes on a client's report of an action on an instance to subscribers.
fn notify(ctx: &Ctx, opts: &Value) -> Result<CallPlan, CallError> {
    let id = opts.get("id").filter(|id| !id.is_null()).ok_or(CallError::Argument("process id missing"))?;
    let slot = require_instance(ctx, id, "process id doesnt exists")?;
    let Some(action) = opts.get("action_name").and_then(Value::as_str) else { return Ok(CallPlan::of([], CallResult::Nothing)) };
    if action.len() > MAX_ACTION_BYTES {
        return Err(CallError::LongAction(action.len()));
    }
    let is_manual = opts.get("manually").is_some();
    Ok(CallPlan::of([CallStep::Publish(slot.durable.id, action.to_owned(), is_manual)], CallResult::Nothing))
}

/// Returns what PM2's `report` shows of its daemon. The values of environment variables are hidden
/// because they may be secret.
fn report(ctx: &Ctx) -> Value {
    let env: Map<String, Value> = std::env::vars_os().filter_map(|(name, _)| Some((name.into_string().ok()?, "***".into()))).collect();
    let running = ctx.state.slots.serving().filter(|slot| !matches!(slot.durable.instance.state, InstanceState::Gone)).count();
    json!({
        "pm2_version": ctx.io.settings.pm2_version,
        "node_version": "N/A",
        "node_path": "N/A",
        "argv0": "ostler",
        "argv": std::env::args().collect::<Vec<_>>(),
        "user": std::env::var("USER").ok(),
        "uid": rustix::process::getuid().as_raw(),
        "gid": rustix::process::getgid().as_raw(),
        "env": env,
        "managed_apps": running,
        "started_at": ctx.io.settings.started_ms,
    })
}

#[cfg(test)]
mod tests;
