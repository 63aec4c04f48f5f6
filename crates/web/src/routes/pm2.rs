//! PM2's JSON page (`pm2 web`, port 9615): the machine and `jlist`, for tools that read it. It
//! needs no login, so values of variables are not in it.

use std::collections::BTreeSet;

use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use ostler_core::logs::masking::{MASK, mask, secrets};
use serde_json::{Value, json};

use super::problems::daemon_error;
use crate::http::reply::{Body, error, json as reply};
use crate::site::Site;

pub(crate) async fn page(site: &Site, head: &Parts) -> Response<Body> {
    if !matches!(head.method, Method::GET | Method::HEAD) || head.uri.path() != "/" {
        return error(StatusCode::NOT_FOUND, "not found: the only path is /");
    }
    let request = site.daemon.query(|client| client.processes());
    let (snapshot, processes) = tokio::join!(async { site.daemon.refresh_table().await }, request);
    let processes = match processes {
        Ok(processes) => masked(serde_json::from_str(processes.text()).unwrap_or_default()),
        Err(problem) => return daemon_error(&problem),
    };
    let (host, node) = (&snapshot.host, rustix::system::uname());
    let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    reply(&json!({
        "system_info": {
            "hostname": node.nodename().to_string_lossy(),
            "uptime": host.uptime,
            "kernel": line("/proc/sys/kernel/osrelease"),
            "arch": std::env::consts::ARCH,
        },
        "monit": {
            "loadavg": host.load,
            "total_mem": host.memory.total,
            "free_mem": host.memory.total.saturating_sub(host.memory.used),
            "cpu": { "count": host.cores },
        },
        "processes": processes,
    }))
}

/// Returns the list without values of variables, neither in `env` nor beside PM2's own keys.
fn masked(mut list: Value) -> Value {
    let hidden = secrets(&list);
    for process in list.as_array_mut().into_iter().flatten() {
        let Some(pm2_env) = process.get_mut("pm2_env").and_then(Value::as_object_mut) else { continue };
        let names: BTreeSet<String> =
            pm2_env.get("env").and_then(Value::as_object).map(|env| env.keys().cloned().collect()).unwrap_or_default();
        for (name, value) in pm2_env.iter_mut() {
            if names.contains(name) && name != "name" && name != "namespace" && value.is_string() {
                *value = MASK.into();
            }
        }
    }
    mask(&mut list, &hidden);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_values_are_masked() {
        let list = masked(json!([{ "name": "api", "pm2_env": {
            "env": { "DB": "postgres://x", "TOKEN": "abcdef", "PORT": "80" }, "DB": "postgres://x", "TOKEN": "abcdef", "PORT": "80",
            "args": ["--token=abcdef"], "status": "online", "restart_time": 2 } }]));
        let text = list.to_string();
        assert!(!text.contains("abcdef") && !text.contains("postgres") && !text.contains("\"80\""), "{text}");
        assert_eq!((&list[0]["pm2_env"]["status"], &list[0]["pm2_env"]["restart_time"]), (&json!("online"), &json!(2)));
    }
}
