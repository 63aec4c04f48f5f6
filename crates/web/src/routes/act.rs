//! `/api/apps/{name}/{verb}`: commands on behalf of the user, whose name the daemon and the audit
//! log record.

use hyper::{Response, StatusCode};
use ostler_proto::control::{Action, Request, ScaleTo};
use serde::Deserialize;
use serde_json::{Value, json};

use super::apps;
use super::problems::daemon_error;
use crate::access::Identity;
use crate::access::audit::AuditEntry;
use crate::clock::now_ms;
use crate::http::body;
use crate::http::reply::{self, Body, error};
use crate::site::{ClientRequest, Site};
use crate::view::App;

/// Maximum wait for an action of an app.
const ACTION_MS: u64 = 30_000;
/// Maximum number of instances that a request may set.
const MOST_INSTANCES: u32 = 1000;

/// Command for an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppCommand {
    Start,
    Stop,
    Restart,
    Reload,
    Delete,
    Reset,
    Flush,
    Scale,
    Undo,
    Trigger,
    Send,
}

impl AppCommand {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Delete => "delete",
            Self::Reset => "reset",
            Self::Flush => "flush",
            Self::Scale => "scale",
            Self::Undo => "undo",
            Self::Trigger => "trigger",
            Self::Send => "send",
        }
    }
}

/// Parameters of a command.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CommandParams {
    /// `scale`: the new number of instances.
    instances: Option<u32>,
    /// Only this instance (start, stop, restart, delete, reset, trigger, send).
    instance: Option<u32>,
    /// `trigger`: the action.
    action: Option<String>,
    /// `trigger`: text for it.
    param: Option<String>,
    /// `send`: a line for standard input.
    text: Option<String>,
    /// `undo`: the release; none = the previous one.
    release: Option<u32>,
}

pub(super) async fn answer(site: &Site, request: ClientRequest, identity: &Identity, name: &str, verb: AppCommand) -> Response<Body> {
    let from = request.from.map(|from| from.to_string());
    let params: CommandParams = match body::json(request.body).await {
        Ok(params) => params,
        Err(response) => return response,
    };
    let Some((app, is_alone)) = apps::find(site, identity, name).await else { return apps::not_found(name) };
    if let Some(response) = super::problems::guards_module(&app, identity) {
        return response;
    }
    let requests = match requests(&app, is_alone, verb, &params) {
        Ok(requests) => requests,
        Err(text) => return error(StatusCode::BAD_REQUEST, text),
    };
    let mut lines = Vec::new();
    let mut returned = Vec::new();
    let mut result = Ok(());
    for request in requests {
        match site.daemon.run_command(&identity.user, request).await {
            Ok(outcome) => {
                lines.extend(outcome.lines);
                returned.extend(outcome.returned);
                if let Err(failure) = outcome.result {
                    result = Err(failure);
                    break;
                }
            }
            Err(problem) => return daemon_error(&problem),
        }
    }
    let text = result.as_ref().err().map(ToString::to_string);
    match text {
        None => {
            site.audit.write(&entry(identity, from, &app, verb));
            reply::json(&json!({ "done": true, "lines": lines, "output": returned }))
        }
        Some(text) => {
            let text = lines.first().map_or(text.clone(), |line| format!("{text}: {line}"));
            let value: Value = json!({ "error": text, "lines": lines, "output": returned });
            reply::failed(StatusCode::CONFLICT, &text, &value)
        }
    }
}

fn entry(identity: &Identity, from: Option<String>, app: &App, verb: AppCommand) -> AuditEntry {
    let (who, what, namespace) = (identity.user.clone(), verb.word().into(), Some(app.namespace.clone()));
    AuditEntry { at: now_ms(), who, from, what, app: Some(app.name.clone()), namespace, result: "done".into() }
}

/// Returns the daemon's requests for a command. Instances are named by their ids if possible,
/// because a name may also be a number, `all` or a pattern, and could select apps that this user
/// does not see. `is_alone`: no other namespace has an app of this name.
fn requests(app: &App, is_alone: bool, verb: AppCommand, params: &CommandParams) -> Result<Vec<Request>, &'static str> {
    let is_selected = |id: u32| params.instance.is_none_or(|only| only == id);
    let ids: Vec<u32> = app.instances.iter().map(|instance| instance.id).filter(|id| is_selected(*id)).collect();
    if ids.is_empty() {
        return Err("the app has no such instance");
    }
    let act = |action: Action, ids: Vec<u32>| Request::act(action, ids.iter().map(u32::to_string).collect(), verb.word());
    // Returns the app's name if the daemon takes it as nothing but this name.
    let plain_name = || {
        let is_plain = is_alone && app.name != "all" && !app.name.starts_with('/') && app.name.parse::<u64>().is_err();
        is_plain.then(|| app.name.clone()).ok_or("an app with this name can only be selected on the command line")
    };
    Ok(match verb {
        AppCommand::Start => {
            let down = |id: &u32| {
                app.instances.iter().any(|instance| instance.id == *id && matches!(instance.state.as_str(), "stopped" | "errored"))
            };
            let ids: Vec<u32> = ids.into_iter().filter(down).collect();
            if ids.is_empty() {
                return Err("all of its instances are running already");
            }
            vec![act(Action::Restart, ids)]
        }
        AppCommand::Stop => vec![act(Action::Stop, ids)],
        AppCommand::Restart => vec![act(Action::Restart, ids)],
        AppCommand::Delete => vec![act(Action::Delete, ids)],
        AppCommand::Reset => vec![act(Action::Reset, ids)],
        AppCommand::Reload => {
            let mut request = act(Action::Reload, ids);
            // A request by name is one rollout, with the batches of the app.
            if let (Ok(name), Request::Act { targets, .. }) = (plain_name(), &mut request) {
                *targets = vec![name];
            }
            vec![request]
        }
        AppCommand::Flush => ids.into_iter().map(|id| Request::Flush { target: Some(id.to_string()), own: None }).collect(),
        AppCommand::Scale => {
            let to = params.instances.filter(|to| (1..=MOST_INSTANCES).contains(to)).ok_or("`instances` must be 1 to 1000")?;
            vec![Request::Scale { name: plain_name()?, cwd: "/".into(), to: ScaleTo::Exactly(to), oldest_first: false, confirm: None }]
        }
        AppCommand::Undo => vec![Request::Undo { app: plain_name()?, to: params.release, command: "undo".into() }],
        AppCommand::Trigger => {
            let action = params.action.clone().filter(|action| !action.is_empty()).ok_or("`action` is missing")?;
            let trigger = |id: u32| Request::Trigger {
                target: id.to_string(),
                action: action.clone(),
                params: params.param.clone(),
                within_ms: ACTION_MS,
            };
            ids.into_iter().map(trigger).collect()
        }
        AppCommand::Send => {
            let text = params.text.as_ref().ok_or("`text` is missing")?;
            ids.into_iter().map(|id| Request::Input { id, text: format!("{text}\n") }).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;
    use crate::view::{apps, tests_row as row};

    fn app(name: &str) -> App {
        let rows = vec![row(3, name, "default", "online"), row(4, name, "default", "stopped")];
        apps(&Snapshot { rows, ..Snapshot::default() }, |_| true).apps.remove(0)
    }

    fn targets(name: &str, verb: AppCommand, params: &CommandParams) -> Vec<String> {
        match requests(&app(name), true, verb, params).unwrap().remove(0) {
            Request::Act { targets, .. } => targets,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn actions_target_instances_by_id() {
        let all = CommandParams::default();
        assert_eq!(targets("api", AppCommand::Stop, &all), ["3", "4"]);
        assert_eq!(targets("api", AppCommand::Start, &all), ["4"], "what runs is left alone");
        assert_eq!(targets("api", AppCommand::Restart, &CommandParams { instance: Some(3), ..CommandParams::default() }), ["3"]);
        assert!(
            requests(&app("api"), true, AppCommand::Restart, &CommandParams { instance: Some(5), ..CommandParams::default() }).is_err(),
            "of another app"
        );
        assert_eq!(targets("api", AppCommand::Reload, &all), ["api"]);
        for name in ["all", "7", "/./"] {
            assert_eq!(targets(name, AppCommand::Reload, &all), ["3", "4"], "{name}");
            assert_eq!(targets(name, AppCommand::Delete, &all), ["3", "4"], "{name}");
            assert!(requests(&app(name), true, AppCommand::Undo, &all).is_err(), "{name}");
        }
    }

    #[test]
    fn actions_spare_same_name_in_another_namespace() {
        let params = CommandParams { instances: Some(2), ..CommandParams::default() };
        assert!(
            requests(&app("api"), true, AppCommand::Scale, &params).is_ok()
                && requests(&app("api"), false, AppCommand::Scale, &params).is_err()
        );
        let reload = requests(&app("api"), false, AppCommand::Reload, &params).unwrap().remove(0);
        assert!(matches!(reload, Request::Act { targets, .. } if targets == ["3", "4"]));
    }

    #[test]
    fn missing_or_invalid_arguments_are_rejected() {
        for (verb, params) in [
            (AppCommand::Scale, CommandParams::default()),
            (AppCommand::Scale, CommandParams { instances: Some(0), ..CommandParams::default() }),
            (AppCommand::Scale, CommandParams { instances: Some(1_000_000), ..CommandParams::default() }),
            (AppCommand::Trigger, CommandParams::default()),
            (AppCommand::Send, CommandParams::default()),
        ] {
            assert!(requests(&app("api"), true, verb, &params).is_err(), "{verb:?}");
        }
    }
}
