//! ostler's tables of foreign keys, compared with the formats' own lists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ostler_testkit::{python_program, skip};
use serde_json::{Map, Value};

use crate::setup::home;

/// Returns the schema of the Compose specification that Compose's own program contains.
fn compose_schema(program: &Path) -> Value {
    let bytes = fs::read(program).unwrap();
    let id = b"\"compose_spec.json\"";
    let places = bytes.windows(id.len()).enumerate().filter(|(_, window)| window == id).map(|(at, _)| at);
    let mut schemas = places.filter_map(|at| {
        let begin = bytes[..at].iter().rposition(|byte| *byte == b'{')?;
        serde_json::Deserializer::from_slice(&bytes[begin..]).into_iter::<Value>().next()?.ok()
    });
    schemas.find(|schema| schema["definitions"]["service"].is_object()).expect("the program carries its schema")
}

/// Adds the keys of a part of the schema, with the path of their parents.
fn add_keys(schema: &Value, part: &Value, path: &str, keys: &mut Vec<String>) {
    let named = part["$ref"].as_str().and_then(|name| schema["definitions"].get(name.rsplit('/').next()?));
    let choices = ["oneOf", "anyOf"].iter().filter_map(|word| part[*word].as_array()).flatten();
    for part in named.into_iter().chain(choices) {
        add_keys(schema, part, path, keys);
    }
    for (name, part) in part["properties"].as_object().unwrap_or(&Map::new()) {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        add_keys(schema, part, &key, keys);
        keys.push(key);
    }
}

/// Returns the rows of a table of the reference: key, treatment, note.
fn rows(reference: &str, title: &str) -> BTreeMap<String, (String, String)> {
    let table = reference.split("\n## ").find(|part| part.starts_with(title)).unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
    cells
        .filter_map(|(key, rest)| Some((key.to_owned(), rest.split_once(" | ")?)))
        .map(|(key, (fate, note))| (key, (fate.to_owned(), note.to_owned())))
        .collect()
}

/// Each key of Compose has a row, or a parent whose row covers all its keys.
#[test]
fn compose_table_has_every_key_of_the_specification() {
    let Some(script) = python_program("docker-compose") else { skip!("docker-compose is not installed") };
    let library = PathBuf::from(script).parent().unwrap().parent().unwrap().join("lib");
    let pythons = fs::read_dir(library).unwrap().flatten().map(|entry| entry.path().join("site-packages/compose/docker-compose"));
    let schema = compose_schema(&pythons.into_iter().find(|path| path.exists()).expect("the program of the package"));
    let reference = home().ok("help import --reference").stdout;
    let (top, services) = (rows(&reference, "Compose, top level"), rows(&reference, "Compose, services"));
    for key in schema["properties"].as_object().unwrap().keys() {
        assert!(top.contains_key(key), "no row for {key}");
    }
    let mut keys = Vec::new();
    add_keys(&schema, &schema["definitions"]["service"], "", &mut keys);
    assert!(keys.len() > 100, "{keys:?}");
    for key in &keys {
        let parent = key.rsplit_once('.').and_then(|(parent, _)| services.get(parent));
        let is_covered = key.contains('.') && parent.is_none_or(|(_, note)| !note.starts_with("see its keys"));
        assert!(is_covered || services.contains_key(key), "no row for {key}");
    }
    for key in services.keys() {
        assert!(keys.contains(key) || key.starts_with("env_file."), "{key} is no key of Compose");
    }
}
