//! Results of calls: instances in PM2's forms.

use ostler_proto::control::Detail;
use ostler_proto::pm2::{self, View};
use serde_json::{Map, Value, json};

/// Form in which PM2 shows a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResultForm {
    /// `pid`, `name`, `pm2_env`, `pm_id`.
    Formatted,
    /// The same for an instance that was deleted.
    Deleted,
    /// Stands for the object of Node's child process that PM2 returns. It has only the fields that
    /// callers read: `pid`, `process.pid`, `pm2_env`.
    Child,
}

/// Returns the attributes of an instance.
pub(super) fn pm2_env(detail: &Detail) -> Map<String, Value> {
    pm2::pm2_env(&View::from(detail))
}

/// Returns an instance in this form.
pub(super) fn shown(detail: &Detail, form: ResultForm) -> Value {
    let mut env = pm2_env(detail);
    let pid = if form == ResultForm::Deleted { 0 } else { detail.instance.pid().unwrap_or(0) };
    match form {
        ResultForm::Formatted => json!({ "pid": pid, "name": detail.spec.name, "pm2_env": env, "pm_id": detail.id }),
        ResultForm::Deleted => {
            env.insert("status".into(), "stopped".into());
            json!({ "pid": pid, "name": detail.spec.name, "pm2_env": env, "pm_id": detail.id })
        }
        ResultForm::Child => json!({ "pid": pid, "process": { "pid": pid }, "pm2_env": env, "pm_id": detail.id }),
    }
}
