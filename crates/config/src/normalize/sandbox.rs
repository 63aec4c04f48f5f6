//! `sandbox`: confinement of the app's processes.

use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::app::sandbox::calls::{self, CAPABILITIES, FAMILIES};
use ostler_core::app::sandbox::{Ports, Profile, SandboxSpec};
use ostler_core::message;
use serde_json::{Map, Value};

use super::AppContext;
use super::listen::{known_keys, meant};
use crate::fault::{Fault, KeyFault, below};
use crate::values::describe_value;

const KEYS: &[&str] = &[
    "profile",
    "read_only",
    "read_only_paths",
    "read_write_paths",
    "bind_ports",
    "connect_ports",
    "private_tmp",
    "protect_proc",
    "capabilities",
    "no_new_privs",
    "system_calls",
    "address_families",
    "required",
];

/// Words of systemd for keys of this table that have another name here.
const SYSTEMD: &[(&str, &str)] = &[
    ("protect_system", "read_only"),
    ("capability_bounding_set", "capabilities"),
    ("no_new_privileges", "no_new_privs"),
    ("system_call_filter", "system_calls"),
    ("restrict_address_families", "address_families"),
    ("socket_bind_allow", "bind_ports"),
];

const PROFILES: &[&str] = &["web", "strict", "none"];

/// Reads the attribute after everything else is known: the rules name paths of the app.
pub(super) fn finish(spec: &mut AppSpec, base: &AppContext<'_>) -> Result<(), KeyFault> {
    let given = spec.given.open();
    let Some(value) = given.get("sandbox").filter(|value| !matches!(value, Value::Null | Value::Bool(false))) else { return Ok(()) };
    let sandbox = read(value, base).and_then(|sandbox| {
        check(&sandbox, spec)?;
        Ok(sandbox)
    });
    let sandbox = sandbox.map_err(|fault| ("sandbox", fault))?;
    drop(given);
    spec.sandbox = Some(Box::new(sandbox));
    Ok(())
}

fn read(value: &Value, base: &AppContext<'_>) -> Result<SandboxSpec, Fault> {
    match value {
        Value::Bool(true) => Ok(SandboxSpec { profile: Profile::Web, ..SandboxSpec::default() }),
        Value::String(name) => Ok(SandboxSpec { profile: profile(name)?, ..SandboxSpec::default() }),
        Value::Object(table) => read_table(table, base),
        other => Err(message!("expected \"web\", \"strict\" or a table, found {found}", found = describe_value(other)).into()),
    }
}

fn profile(name: &str) -> Result<Profile, Fault> {
    match name {
        "web" => Ok(Profile::Web),
        "strict" => Ok(Profile::Strict),
        "none" => Ok(Profile::None),
        other => Err(message!("unknown profile \"{other}\"{near}", other, near = meant(other, PROFILES)).into()),
    }
}

fn read_table(table: &Map<String, Value>, base: &AppContext<'_>) -> Result<SandboxSpec, Fault> {
    if let Some((key, here)) = SYSTEMD.iter().find(|(key, _)| table.contains_key(*key)) {
        return Err(Fault::from(message!("unknown key \"{key}\", did you mean \"{here}\"?", key, here)).below(*key));
    }
    known_keys(table, KEYS)?;
    let value = |key: &str| table.get(key).filter(|value| !value.is_null());
    let flag = |key: &'static str| match value(key) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(other) => {
            Err(Fault::from(message!("expected true or false for \"{key}\", found {found}", key, found = describe_value(other))).below(key))
        }
    };
    let texts = |key: &'static str| value(key).map(|value| texts(key, value).map_err(below(key))).transpose();
    let profile = match value("profile") {
        None => Profile::None,
        Some(Value::String(name)) => profile(name).map_err(below("profile"))?,
        Some(other) => {
            return Err(
                Fault::from(message!("expected a string for \"profile\", found {found}", found = describe_value(other))).below("profile")
            );
        }
    };
    let paths = |key: &'static str| -> Result<Vec<String>, Fault> {
        texts(key)?.unwrap_or_default().iter().map(|path| absolute(path, base).map_err(below(key))).collect()
    };
    Ok(SandboxSpec {
        profile,
        read_only: flag("read_only")?.unwrap_or(false),
        read_only_paths: paths("read_only_paths")?,
        read_write_paths: paths("read_write_paths")?,
        bind_ports: value("bind_ports").map_or(Ok(Ports::Profile), |value| ports("bind_ports", value).map_err(below("bind_ports")))?,
        connect_ports: value("connect_ports")
            .map_or(Ok(Ports::Profile), |value| ports("connect_ports", value).map_err(below("connect_ports")))?,
        private_tmp: flag("private_tmp")?,
        protect_proc: flag("protect_proc")?,
        capabilities: texts("capabilities")?.map(|names| capabilities(&names).map_err(below("capabilities"))).transpose()?,
        no_new_privs: flag("no_new_privs")?,
        system_calls: system_calls(&texts("system_calls")?.unwrap_or_default()).map_err(below("system_calls"))?,
        address_families: texts("address_families")?.map(|names| families(&names).map_err(below("address_families"))).transpose()?,
        required: flag("required")?,
    })
}

/// Reads a list of texts, or one text.
fn texts(key: &str, value: &Value) -> Result<Vec<String>, Fault> {
    let bad =
        |found: &Value| message!("expected a string or a list of strings for \"{key}\", found {found}", key, found = describe_value(found));
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(|| bad(item).into())).collect(),
        other => Err(bad(other).into()),
    }
}

/// Returns the absolute form of a path, with its leading `-`.
fn absolute(path: &str, base: &AppContext<'_>) -> Result<String, Fault> {
    let (mark, plain) = match path.strip_prefix('-') {
        Some(plain) => ("-", plain),
        None => ("", path),
    };
    if plain.is_empty() || plain.contains('\0') {
        return Err(message!("a path must not be empty").into());
    }
    Ok(format!("{mark}{}", base.path(plain)))
}

fn ports(key: &str, value: &Value) -> Result<Ports, Fault> {
    let bad = |found: &Value| {
        Fault::from(message!(
            "expected ports from 0 to 65535, or \"any\", for \"{key}\", found {found}",
            key,
            found = describe_value(found)
        ))
    };
    let port = |value: &Value| {
        let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| bad(value))
    };
    match value {
        Value::String(word) if word == "any" => Ok(Ports::Any),
        Value::Array(list) => list.iter().map(port).collect::<Result<_, _>>().map(Ports::Only),
        one => Ok(Ports::Only(vec![port(one)?])),
    }
}

fn capabilities(names: &[String]) -> Result<Vec<String>, Fault> {
    let one = |name: &String| {
        let plain = name.to_ascii_lowercase();
        let plain = plain.strip_prefix("cap_").unwrap_or(&plain);
        match CAPABILITIES.iter().find(|known| **known == plain) {
            Some(known) => Ok((*known).to_owned()),
            None => Err(Fault::from(message!("unknown capability \"{name}\"{near}", name, near = meant(plain, CAPABILITIES)))),
        }
    };
    names.iter().map(one).collect()
}

fn system_calls(names: &[String]) -> Result<Vec<String>, Fault> {
    let one = |name: &String| {
        let Some(plain) = name.strip_prefix('~') else {
            let text = message!("\"{name}\" would be a list of allowed calls, which is not supported; \"~{name}\" denies it", name);
            return Err(Fault::from(text));
        };
        if calls::is_known(plain) {
            return Ok(plain.to_owned());
        }
        let near = calls::near(plain).map(|near| message!(", did you mean \"~{near}\"?", near)).unwrap_or_default();
        Err(message!("unknown system call or group \"{name}\"{near}", name, near).into())
    };
    names.iter().map(one).collect()
}

fn families(names: &[String]) -> Result<Vec<String>, Fault> {
    let known: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
    let one = |name: &String| {
        let plain = name.to_ascii_lowercase();
        let plain = plain.strip_prefix("af_").unwrap_or(&plain).to_owned();
        if known.contains(&plain.as_str()) {
            return Ok(plain);
        }
        Err(Fault::from(message!("unknown address family \"{name}\"{near}", name, near = meant(&plain, &known))))
    };
    names.iter().map(one).collect()
}

/// Reports keys that contradict each other, or that have no effect together.
fn check(sandbox: &SandboxSpec, app: &AppSpec) -> Result<(), Fault> {
    let at = |key: &'static str, text: String| Err(Fault::from(text).below(key));
    let needs_privs = sandbox.profile != Profile::None
        || sandbox.read_only
        || sandbox.protect_proc == Some(true)
        || !sandbox.system_calls.is_empty()
        || sandbox.address_families.is_some()
        || matches!(sandbox.bind_ports, Ports::Only(_))
        || matches!(sandbox.connect_ports, Ports::Only(_));
    if sandbox.no_new_privs == Some(false) && needs_privs {
        return at("no_new_privs", message!("the kernel requires no_new_privs for the other restrictions"));
    }
    if sandbox.profile == Profile::None && !sandbox.read_only {
        for (key, paths) in [("read_only_paths", &sandbox.read_only_paths), ("read_write_paths", &sandbox.read_write_paths)] {
            if !paths.is_empty() {
                return at(key, message!("it has no effect without a profile (\"web\" or \"strict\") or read_only: true"));
            }
        }
    }
    if sandbox.profile == Profile::None && sandbox.read_only && !sandbox.read_only_paths.is_empty() {
        return at("read_only_paths", message!("read_only: true makes every path readable; use a profile (\"web\" or \"strict\")"));
    }
    let is_own = |path: &String| Path::new(&app.cwd).starts_with(path.trim_start_matches('-'));
    if sandbox.profile == Profile::Strict && sandbox.read_write_paths.iter().any(is_own) {
        let text = message!("in \"strict\", the app's own directory is read-only; name the folders in it that the app writes to");
        return at("read_write_paths", text);
    }
    let in_tmp = |path: &str| ["/tmp", "/var/tmp"].iter().any(|tmp| Path::new(path.trim_start_matches('-')).starts_with(tmp));
    let declared = sandbox.read_only_paths.iter().chain(&sandbox.read_write_paths);
    if sandbox.private_tmp == Some(true)
        && let Some(path) = declared.chain([&app.cwd, &app.script]).find(|path| in_tmp(path))
    {
        return at("private_tmp", message!("a private /tmp would hide {path}, which the app needs", path));
    }
    Ok(())
}
