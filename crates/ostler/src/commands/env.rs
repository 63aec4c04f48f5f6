//! `env`: the environment of an app.

use ostler_core::app::EnvMap;
use ostler_proto::control::Failure;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::json;

/// Prints `key: value` lines. PM2 differs: names work too, and internal keys are not mixed in.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let details = match cx.find(&call.targets[..1]) {
        Err(CliError::Daemon(Failure::NotFound { target })) if cx.program.is_pm2() => {
            cx.out.error(format_args!("Modules with id {target} not found"));
            return Err(CliError::Reported(Status::NotFound));
        }
        other => other?,
    };
    for detail in &details {
        let mut env: EnvMap = detail.spec.env.merged();
        env.extend(detail.kept.clone());
        let variable = detail.spec.env.instance_var.as_deref().unwrap_or("NODE_APP_INSTANCE");
        env.insert(variable.to_owned(), detail.index.to_string());
        env.insert("unique_id".into(), detail.unique_id.clone());
        if call.has("json") {
            json(&mut cx.out, &env);
            continue;
        }
        for (key, value) in &env {
            cx.out.line(format_args!("{key}: {value}"));
        }
    }
    Ok(Status::Ok)
}
