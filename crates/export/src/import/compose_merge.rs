//! Merges compose files by the chapter "Merge" of the Compose specification: maps merge, lists
//! append, commands replace, variables merge by name.

use serde_json::{Map, Value};

use super::yaml::{OVERRIDE, RESET};

/// Keys whose list replaces the former one.
const REPLACED: &[&str] = &["command", "entrypoint", "test"];
/// Keys that may be a list of `NAME=value` or a map.
const BY_NAME: &[&str] = &["environment", "labels", "annotations", "args", "sysctls", "extra_hosts", "additional_contexts"];
/// Keys that may be a list of names or a map of tables.
const NAMED_TABLES: &[&str] = &["depends_on", "networks"];
/// Keys whose entries replace those with the same path in the container.
const BY_TARGET: &[&str] = &["volumes", "secrets", "configs", "devices"];
/// Keys that may be one text or a list.
const LISTS: &[&str] = &["env_file", "dns", "dns_search", "tmpfs", "label_file"];

/// Merges a file over another one. Tags stay on new keys; [`without_tags`] removes them.
pub(super) fn merge(base: Value, over: Value) -> Value {
    merge_key("", base, over)
}

fn merge_key(key: &str, base: Value, over: Value) -> Value {
    match over {
        Value::Object(over) if over.contains_key(OVERRIDE) || over.contains_key(RESET) => Value::Object(over),
        over if is_tag(&base) => merge_key(key, untagged(base).unwrap_or(Value::Null), over),
        Value::Null => base,
        over => {
            let (base, over) = (in_one_form(key, base), in_one_form(key, over));
            match (base, over) {
                (Value::Object(base), Value::Object(over)) if key == "logging" && base.get("driver") != over.get("driver") => {
                    Value::Object(if over.contains_key("driver") { over } else { maps(base, over) })
                }
                (Value::Object(base), Value::Object(over)) => Value::Object(maps(base, over)),
                (Value::Array(base), Value::Array(over)) if !REPLACED.contains(&key) => Value::Array(lists(key, base, over)),
                (_, over) => over,
            }
        }
    }
}

fn maps(mut base: Map<String, Value>, over: Map<String, Value>) -> Map<String, Value> {
    for (key, value) in over {
        let merged = match base.get_mut(&key).map(Value::take) {
            Some(own) => merge_key(&key, own, value),
            None => value,
        };
        base.insert(key, merged);
    }
    base
}

fn lists(key: &str, mut base: Vec<Value>, over: Vec<Value>) -> Vec<Value> {
    let target = |value: &Value| match value {
        Value::String(text) => text.split(':').nth(usize::from(text.contains(':'))).map(str::to_owned),
        other => other.get("target").or_else(|| other.get("source")).and_then(Value::as_str).map(str::to_owned),
    };
    for item in over {
        let same = base.iter().position(|own| *own == item || BY_TARGET.contains(&key) && target(own) == target(&item));
        match same.and_then(|at| base.get_mut(at)) {
            Some(own) => *own = item,
            None => base.push(item),
        }
    }
    base
}

/// Returns the long form of a value, so that both forms can be merged.
fn in_one_form(key: &str, value: Value) -> Value {
    match value {
        Value::Array(list) if BY_NAME.contains(&key) => {
            let pair = |item: Value| {
                let text = item.as_str()?;
                Some(text.split_once('=').map_or((text.to_owned(), Value::Null), |(name, value)| (name.to_owned(), value.into())))
            };
            Value::Object(list.into_iter().filter_map(pair).collect())
        }
        Value::Array(list) if NAMED_TABLES.contains(&key) => {
            let table = |name: Value| Some((name.as_str()?.to_owned(), Value::Object(Map::new())));
            Value::Object(list.into_iter().filter_map(table).collect())
        }
        Value::String(text) if LISTS.contains(&key) => Value::Array(vec![text.into()]),
        Value::String(context) if key == "build" => Value::Object(Map::from_iter([("context".to_owned(), context.into())])),
        Value::String(service) if key == "extends" => Value::Object(Map::from_iter([("service".to_owned(), service.into())])),
        other => other,
    }
}

fn is_tag(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.contains_key(OVERRIDE) || map.contains_key(RESET))
}

/// Returns the value under a tag; none if it was reset.
fn untagged(value: Value) -> Option<Value> {
    match value {
        Value::Object(mut map) if map.contains_key(OVERRIDE) => map.shift_remove(OVERRIDE),
        Value::Object(map) if map.contains_key(RESET) => None,
        other => Some(other),
    }
}

/// Removes reset values and the marks of overridden values.
pub(super) fn without_tags(value: Value) -> Option<Value> {
    Some(match untagged(value)? {
        Value::Object(map) => {
            Value::Object(map.into_iter().filter_map(|(key, value)| Some((key, without_tags(value)?))).collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.into_iter().filter_map(without_tags).collect()),
        other => other,
    })
}

/// Makes the relative paths of a service relative to another folder.
pub(super) fn rebase(service: &mut Value, folder: &str) {
    if folder.is_empty() || folder == "." {
        return;
    }
    let moved = |path: &str| {
        let is_relative = !path.starts_with(['/', '~']) && !path.contains("://");
        is_relative.then(|| format!("{folder}/{}", path.trim_start_matches("./")))
    };
    let set = |value: &mut Value| {
        if let Some(path) = value.as_str().and_then(moved) {
            *value = path.into();
        }
    };
    let Some(service) = service.as_object_mut() else { return };
    if let Some(build) = service.get_mut("build") {
        match build {
            Value::Object(build) => set(build.entry("context").or_insert_with(|| ".".into())),
            other => set(other),
        }
    }
    match service.get_mut("env_file") {
        Some(Value::Array(files)) => files.iter_mut().for_each(|file| match file {
            Value::Object(file) => file.get_mut("path").into_iter().for_each(set),
            other => set(other),
        }),
        Some(file) => set(file),
        None => {}
    }
    for mount in service.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        match mount {
            Value::String(text) if text.starts_with('.') => {
                if let Some(path) = moved(text) {
                    *text = path;
                }
            }
            Value::Object(mount) => {
                mount
                    .get_mut("source")
                    .filter(|source| source.as_str().is_some_and(|text| text.starts_with('.')))
                    .into_iter()
                    .for_each(set);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::yaml::parse;
    use super::*;

    #[test]
    fn merge_follows_compose_rules() {
        for (base, over, expected) in [
            ("command: [a, b]", "command: c", json!({"command": "c"})),
            ("command: [a, b]", "command: [c]", json!({"command": ["c"]})),
            ("environment: [A=1, B=2, C]", "environment: {B: 3, D: 4}", json!({"environment": {"A": "1", "B": "3", "C": null, "D": "4"}})),
            ("ports: ['80:80']", "ports: ['81:81', '80:80']", json!({"ports": ["80:80", "81:81"]})),
            ("volumes: ['./a:/x', './b:/y']", "volumes: ['./c:/x:ro']", json!({"volumes": ["./c:/x:ro", "./b:/y"]})),
            ("env_file: a.env", "env_file: [b.env]", json!({"env_file": ["a.env", "b.env"]})),
            ("build: ./x", "build: {target: t}", json!({"build": {"context": "./x", "target": "t"}})),
            ("depends_on: [a]", "depends_on: {b: {condition: c}}", json!({"depends_on": {"a": {}, "b": {"condition": "c"}}})),
            (
                "healthcheck: {test: [CMD, a], retries: 1}",
                "healthcheck: {test: [CMD, b]}",
                json!({"healthcheck": {"test": ["CMD", "b"], "retries": "1"}}),
            ),
            ("ports: ['80:80']", "ports: !override ['81:81']", json!({"ports": ["81:81"]})),
            ("{ports: ['80:80'], a: 1}", "ports: !reset []", json!({"a": "1"})),
            ("environment: {A: 1, B: 2}", "environment: {A: !reset null}", json!({"environment": {"B": "2"}})),
            ("deploy: {replicas: 2, mode: x}", "deploy: {replicas: 3}", json!({"deploy": {"replicas": "3", "mode": "x"}})),
            ("restart: always", "restart: 'no'", json!({"restart": "no"})),
            ("ports: !override ['1:1']", "ports: ['2:2']", json!({"ports": ["1:1", "2:2"]})),
        ] {
            let merged = merge(parse(base).unwrap(), parse(over).unwrap());
            assert_eq!(without_tags(merged), Some(expected), "{base} + {over}");
        }
        let mut service = json!({"build": "app", "env_file": ["a.env", {"path": "./b.env"}, "/c"], "volumes": ["./d:/d", "data:/e"]});
        rebase(&mut service, "sub");
        assert_eq!(
            service,
            json!({"build": "sub/app", "env_file": ["sub/a.env", {"path": "sub/b.env"}, "/c"], "volumes": ["sub/d:/d", "data:/e"]})
        );
    }
}
