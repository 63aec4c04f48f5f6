//! Environments of the `deploy` section of a config file.

use std::collections::BTreeMap;

use ostler_core::message;
use ostler_fleet::ssh::{self, Host};
use serde_json::{Map, Value};

use super::action::git_ref;

/// Most hosts of one environment.
const MAX_HOSTS: usize = 256;

/// Commands around a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hooks {
    /// Runs on the host, before anything exists there.
    pub pre_setup: Option<String>,
    /// Runs on the host, after the clone.
    pub post_setup: Option<String>,
    /// Runs on this machine, once, before all hosts.
    pub pre_deploy_local: Option<String>,
    /// Runs on the host, before the new release is fetched.
    pub pre_deploy: Option<String>,
    /// Runs on the host after the new release was fetched: installs and reloads.
    pub post_deploy: Option<String>,
}

/// Environment of the `deploy` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Name of the environment.
    pub name: String,
    /// Hosts, each once.
    pub hosts: Vec<Host>,
    /// Repository, as git on the hosts receives it.
    pub repo: String,
    /// Branch, tag or commit; PM2's form is `origin/master`.
    pub reference: String,
    /// Folder on the hosts.
    pub path: String,
    /// Key file for `ssh`.
    pub key: Option<String>,
    /// Options for `ssh -o`.
    pub ssh_options: Vec<String>,
    /// Whether the caller's ssh agent is forwarded to the hosts.
    pub forward_agent: bool,
    /// Whether the commands on the hosts need a terminal.
    pub needs_tty: bool,
    /// Whether only the last commits are fetched.
    pub fetch_fast: bool,
    /// Variables for post-deploy.
    pub env: BTreeMap<String, String>,
    /// Commands.
    pub hooks: Hooks,
    /// Seconds within which the apps have to be healthy.
    pub health_seconds: u32,
}

/// Returns the name of the hooks that run on this machine, for messages.
pub(crate) fn hooks_local(target: &Target) -> Option<&str> {
    target.hooks.pre_deploy_local.as_deref()
}

/// Keys of an environment.
const KEYS: &[&str] = &[
    "user",
    "host",
    "repo",
    "path",
    "ref",
    "key",
    "port",
    "ssh_options",
    "forward-agent",
    "needs_tty",
    "fetch",
    "env",
    "pre-setup",
    "post-setup",
    "pre-deploy-local",
    "pre-deploy",
    "post-deploy",
    "health_timeout",
];

/// Default time within which the apps have to be healthy.
const HEALTH_SECONDS: u32 = 60;

impl Target {
    /// Reads one environment. Also returns the unknown keys, for a warning.
    ///
    /// # Errors
    /// Returns an error that names the key and the problem.
    pub(crate) fn of(name: &str, value: &Value) -> Result<(Self, Vec<String>), String> {
        let map = value.as_object().ok_or_else(|| message!("expected a table with host, repo, path and ref"))?;
        let user = text(map, "user")?.map(|user| ssh_name("user", &user)).transpose()?;
        let port = map.get("port").filter(|port| !port.is_null()).map(ssh_port).transpose()?;
        let hosts = hosts(map.get("host"), user.as_ref(), port)?;
        let path = needed(map, "path")?;
        if path.contains('\0') || path.trim_matches('/').is_empty() || path.starts_with('-') {
            return Err(message!("path: {path} is not a folder to deploy to", path = format!("{path:?}")));
        }
        let repo = needed(map, "repo")?;
        if repo.starts_with('-') {
            return Err(message!("repo: {repo} is not a repository", repo = format!("{repo:?}")));
        }
        let target = Self {
            name: name.to_owned(),
            hosts,
            repo,
            reference: git_ref(&needed(map, "ref")?).map_err(|why| format!("ref: {why}"))?,
            path: path.trim_end_matches('/').to_owned(),
            key: text(map, "key")?,
            ssh_options: list(map, "ssh_options")?,
            forward_agent: flag(map, "forward-agent")?,
            needs_tty: flag(map, "needs_tty")?,
            fetch_fast: text(map, "fetch")?.as_deref() == Some("fast"),
            env: variables(map.get("env"))?,
            hooks: Hooks {
                pre_setup: hook(map, "pre-setup")?,
                post_setup: hook(map, "post-setup")?,
                pre_deploy_local: hook(map, "pre-deploy-local")?,
                pre_deploy: hook(map, "pre-deploy")?,
                post_deploy: hook(map, "post-deploy")?,
            },
            health_seconds: health_seconds(map)?,
        };
        let unknown = map.keys().filter(|key| !KEYS.contains(&key.as_str())).cloned().collect();
        Ok((target, unknown))
    }
}

fn ssh_name(key: &str, text: &str) -> Result<String, String> {
    ssh::name(key, text).map_err(|error| error.to_string())
}

fn ssh_port(value: &Value) -> Result<u16, String> {
    ssh::port(value).map_err(|error| error.to_string())
}

fn hosts(value: Option<&Value>, user: Option<&String>, port: Option<u16>) -> Result<Vec<Host>, String> {
    let one = |value: &Value| -> Result<Host, String> {
        let default = Host { name: String::new(), user: user.cloned(), port };
        match value {
            Value::String(text) => {
                let (of, name) = text.rsplit_once('@').map_or((None, text.as_str()), |(of, name)| (Some(of), name));
                let user = of.map(|of| ssh_name("host", of)).transpose()?.or(default.user);
                Ok(Host { name: ssh_name("host", name)?, user, port })
            }
            Value::Object(map) => {
                let name = text(map, "host")?.ok_or_else(|| message!("host: each entry of the list needs a `host`"))?;
                let user = text(map, "user")?.map(|user| ssh_name("user", &user)).transpose()?.or(default.user);
                let port = map.get("port").map(ssh_port).transpose()?.or(port);
                Ok(Host { name: ssh_name("host", &name)?, user, port })
            }
            other => Err(message!("host: expected a name, found {other}", other)),
        }
    };
    let mut hosts: Vec<Host> = Vec::new();
    let found = match value {
        Some(Value::Array(items)) => items.iter().map(one).collect::<Result<Vec<_>, _>>()?,
        None | Some(Value::Null) => return Err(message!("host: is missing")),
        Some(value) => vec![one(value)?],
    };
    for host in found {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    match hosts.len() {
        0 => Err(message!("host: the list is empty")),
        1..=MAX_HOSTS => Ok(hosts),
        many => Err(message!("host: {count} are too many, at most {most}", count = many, most = MAX_HOSTS)),
    }
}

/// Reads a text; a number counts as a text. Returns none if the value is absent, empty or null.
fn text(map: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    let text = match map.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(other) => return Err(message!("{key}: expected a text, found {other}", key, other)),
    };
    if text.contains('\0') {
        return Err(message!("{key}: contains a NUL byte", key));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn needed(map: &Map<String, Value>, key: &str) -> Result<String, String> {
    text(map, key)?.ok_or_else(|| message!("{key}: is missing", key))
}

/// Reads a command. A list of commands runs in order, and stops when one fails.
fn hook(map: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match map.get(key) {
        Some(Value::Array(_)) => Ok(Some(list(map, key)?.join(" && ")).filter(|text| !text.is_empty())),
        _ => text(map, key),
    }
}

fn list(map: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    match map.get(key) {
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| {
                item.as_str()
                    .filter(|text| !text.contains('\0'))
                    .map(str::to_owned)
                    .ok_or_else(|| message!("{key}: expected texts, found {item}", key, item))
            })
            .collect(),
        _ => Ok(text(map, key)?.into_iter().collect()),
    }
}

fn flag(map: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(Value::String(text)) if matches!(text.as_str(), "true" | "yes") => Ok(true),
        Some(Value::String(text)) if matches!(text.as_str(), "false" | "no" | "") => Ok(false),
        Some(other) => Err(message!("{key}: expected true or false, found {other}", key, other)),
    }
}

/// Reads the variables, in upper case as PM2 exports them.
fn variables(value: Option<&Value>) -> Result<BTreeMap<String, String>, String> {
    let map = match value {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(value) => value.as_object().ok_or_else(|| message!("env: expected a table of variables"))?,
    };
    let mut variables = BTreeMap::new();
    for (name, value) in map {
        let is_name =
            |name: &str| !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || !is_name(name) {
            return Err(message!("env: {name} is not a valid variable name", name = format!("{name:?}")));
        }
        let value = match value {
            Value::String(text) if text.contains('\0') => return Err(message!("env.{name}: contains a NUL byte", name)),
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null => continue,
            other => return Err(message!("env.{name}: expected a text, found {other}", name, other)),
        };
        variables.insert(name.to_ascii_uppercase(), value);
    }
    Ok(variables)
}

fn health_seconds(map: &Map<String, Value>) -> Result<u32, String> {
    let Some(value) = map.get("health_timeout").filter(|value| !value.is_null()) else { return Ok(HEALTH_SECONDS) };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let millis = ostler_core::text::units::millis(&text).map_err(|error| format!("health_timeout: {error}"))?;
    Ok(u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX).min(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Returns a complete environment in which these members replace the defaults.
    fn with(members: Value) -> Result<Target, String> {
        let mut all = json!({"host": "h", "repo": "r", "path": "/p", "ref": "origin/main"});
        for (key, value) in members.as_object().unwrap() {
            all[key] = value.clone();
        }
        Target::of("production", &all).map(|(target, _)| target)
    }

    #[test]
    fn hosts_parse_in_every_form() {
        let host = |name: &str, user: Option<&str>, port| Host { name: name.into(), user: user.map(str::to_owned), port };
        for (members, hosts) in [
            (json!({}), vec![host("h", None, None)]),
            (json!({"user": "u", "port": 22}), vec![host("h", Some("u"), Some(22))]),
            (json!({"port": "2222"}), vec![host("h", None, Some(2222))]),
            (json!({"host": "me@h", "user": "u"}), vec![host("h", Some("me"), None)]),
            (json!({"host": ["a", "b", "a"]}), vec![host("a", None, None), host("b", None, None)]),
            (
                json!({"user": "u", "port": 1, "host": [{"host": "a", "port": "7"}, {"host": "b", "user": "v"}, "::1"]}),
                vec![host("a", Some("u"), Some(7)), host("b", Some("v"), Some(1)), host("::1", Some("u"), Some(1))],
            ),
        ] {
            assert_eq!(with(members.clone()).unwrap().hosts, hosts, "{members}");
        }
    }

    #[test]
    fn old_and_new_keys_parse() {
        let target = with(json!({
            "path": "/srv/app/", "ssh_options": "StrictHostKeyChecking=no", "forward-agent": "yes", "needs_tty": true, "fetch": "fast",
            "env": {"node_env": "production", "N": 1, "NO": null}, "post-deploy": ["a", "b"], "pre-setup": "", "health_timeout": "5s",
        }))
        .unwrap();
        assert_eq!((target.path.as_str(), target.ssh_options.as_slice()), ("/srv/app", &["StrictHostKeyChecking=no".to_owned()][..]));
        assert!(target.forward_agent && target.needs_tty && target.fetch_fast);
        assert_eq!(target.env, [("NODE_ENV".to_owned(), "production".to_owned()), ("N".to_owned(), "1".to_owned())].into());
        assert_eq!((target.hooks.post_deploy.as_deref(), target.hooks.pre_setup, target.health_seconds), (Some("a && b"), None, 5));
        assert_eq!(with(json!({"ssh_options": ["A=1", "B=2"]})).unwrap().ssh_options, ["A=1", "B=2"]);
    }

    #[test]
    fn invalid_target_settings_are_reported_with_their_key() {
        for (members, key) in [
            (json!({"host": "-oProxyCommand=x"}), "host"),
            (json!({"host": "a b"}), "host"),
            (json!({"host": "u@-h"}), "host"),
            (json!({"host": "-l@h"}), "host"),
            (json!({"host": []}), "host"),
            (json!({"host": null}), "host"),
            (json!({"host": [{"user": "u"}]}), "host"),
            (json!({"host": 7}), "host"),
            (json!({"user": "-x"}), "user"),
            (json!({"user": "a;b"}), "user"),
            (json!({"port": 0}), "port"),
            (json!({"port": 70000}), "port"),
            (json!({"port": "x"}), "port"),
            (json!({"repo": "--upload-pack=x"}), "repo"),
            (json!({"repo": ""}), "repo"),
            (json!({"ref": "--all"}), "ref"),
            (json!({"ref": null}), "ref"),
            (json!({"path": "/"}), "path"),
            (json!({"path": "-p"}), "path"),
            (json!({"path": null}), "path"),
            (json!({"env": {"A-B": "x"}}), "env"),
            (json!({"env": {"A": {}}}), "env"),
            (json!({"needs_tty": 3}), "needs_tty"),
            (json!({"post-deploy": {}}), "post-deploy"),
            (json!({"ssh_options": [1]}), "ssh_options"),
            (json!({"health_timeout": "x"}), "health_timeout"),
        ] {
            let error = with(members.clone()).unwrap_err();
            assert!(error.starts_with(key), "{members}: {error}");
        }
        let (_, unknown) = Target::of("p", &json!({"host": "h", "repo": "r", "path": "p", "ref": "x", "post_deploy": "x"})).unwrap();
        assert_eq!(unknown, ["post_deploy"]);
        assert!(Target::of("p", &json!([])).is_err());
    }
}
