//! `jlist`: PM2's JSON, nothing else on stdout.

use std::collections::BTreeMap;

use ostler_core::app::AppSpec;
use ostler_proto::control::Detail;
use ostler_proto::pm2::process_object;
use serde_json::{Map, Value};

use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;

/// One array in one line, without a final newline, as PM2 prints it.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    let list = processes(cx)?;
    cx.out.data(list.to_string().as_bytes());
    Ok(Status::Ok)
}

/// Every instance in PM2's shape, by id.
pub(super) fn processes(cx: &mut Cx) -> Result<Value, CliError> {
    cx.out.data_only();
    let details = cx.client()?.inspect(&[])?;
    let mut accounts = BTreeMap::new();
    let entry = |detail: &Detail| {
        let mut entry = process_object(detail);
        if let Some(env) = entry.get_mut("pm2_env").and_then(Value::as_object_mut) {
            in_numbers(env, &detail.spec, &mut accounts);
        }
        entry
    };
    Ok(Value::Array(details.iter().map(entry).collect()))
}

/// Whom `uid` and `gid`, as given, mean: looked up once each.
type Accounts = BTreeMap<(Option<String>, Option<String>), Option<(u32, u32)>>;

/// PM2 has the numbers of the user and the group that an app runs as, also where a name was given, and the group also where only the user was.
fn in_numbers(env: &mut Map<String, Value>, spec: &AppSpec, known: &mut Accounts) {
    let Some(uid) = &spec.uid else { return };
    let ids = *known.entry((spec.uid.clone(), spec.gid.clone())).or_insert_with(|| {
        let account = ostler_sys::user::identity(Some(uid), spec.gid.as_deref()).ok().flatten()?;
        Some((account.credentials.uid, account.credentials.gid))
    });
    if let Some((uid, gid)) = ids {
        env.insert("uid".into(), uid.into());
        env.insert("gid".into(), gid.into());
    }
}
