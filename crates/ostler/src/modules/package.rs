//! `package.json` of a module: its name, its settings, and its apps.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

use ostler_core::marked;

use super::name;
use crate::error::ModuleError;

/// Most bytes of a `package.json`.
const MAX_BYTES: u64 = 4 << 20;
/// Most apps of one module.
const MAX_APPS: usize = 64;

/// Package that is a module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Package {
    /// Name, which is one folder and one section of the settings.
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    /// Default settings, used if the user has set none.
    pub(crate) defaults: Map<String, Value>,
    /// Apps, as in a config file.
    pub(crate) apps: Vec<Map<String, Value>>,
}

impl Package {
    /// Reads the package in this folder.
    ///
    /// # Errors
    /// Returns an error if the folder has no package, or if the package cannot be a module.
    pub(crate) fn read(folder: &Path) -> Result<Self, ModuleError> {
        let path = folder.join("package.json");
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        match read.map(|_| serde_json::from_str(&text)) {
            Err(source) => Err(ModuleError::File { what: marked!("read"), path, source }),
            Ok(Err(source)) => Err(ModuleError::Json { path, source }),
            Ok(Ok(value)) => Self::of(&value).map_err(|source| ModuleError::Package { path, source: Box::new(source) }),
        }
    }

    /// Returns the names of its processes.
    pub(super) fn names(&self) -> Vec<&str> {
        self.apps.iter().filter_map(|app| app.get("name").and_then(Value::as_str)).collect()
    }

    fn of(value: &Value) -> Result<Self, ModuleError> {
        let name = value["name"].as_str().ok_or(ModuleError::NoName)?;
        name::check(name)?;
        let version = value["version"].as_str().map(str::to_owned);
        let defaults = value["config"].as_object().cloned().unwrap_or_default();
        let apps = apps(value)?;
        if apps.is_empty() || apps.len() > MAX_APPS {
            return Err(ModuleError::AppCount { most: MAX_APPS, count: apps.len() });
        }
        Ok(Self { name: name.to_owned(), version, defaults, apps: named(apps, name) })
    }
}

/// Checks that a folder is a module.
///
/// # Errors
/// Returns an error if it is not.
pub(crate) fn check(folder: &Path) -> Result<(), ModuleError> {
    Package::read(folder).map(drop)
}

/// Returns the apps that it names, else its main program.
fn apps(value: &Value) -> Result<Vec<Map<String, Value>>, ModuleError> {
    for key in ["apps", "pm2"] {
        let given = match &value[key] {
            Value::Null => continue,
            Value::Object(app) if app.contains_key("apps") => &app["apps"],
            given => given,
        };
        let apps = given.as_array().map_or_else(|| vec![given], |list| list.iter().collect());
        return apps.into_iter().map(|app| app.as_object().cloned().ok_or(ModuleError::NoApps(key))).collect();
    }
    let program = match &value["bin"] {
        Value::String(path) => Some(path.as_str()),
        Value::Object(programs) => programs.values().find_map(Value::as_str),
        _ => None,
    };
    let script = program.or_else(|| value["main"].as_str()).unwrap_or("index.js");
    Ok(vec![Map::from_iter([("script".to_owned(), json!(script))])])
}

/// Gives the apps their names: a single app gets the module's name; several apps get `module:app`.
fn named(apps: Vec<Map<String, Value>>, module: &str) -> Vec<Map<String, Value>> {
    let is_single = apps.len() == 1;
    let named = apps.into_iter().enumerate().map(|(position, mut app)| {
        let own = app.get("name").and_then(Value::as_str).map(|own| own.chars().filter(|c| !c.is_control()).collect::<String>());
        let name = match own {
            _ if is_single => module.to_owned(),
            Some(own) if !own.is_empty() => format!("{module}:{own}"),
            _ => format!("{module}:{position}"),
        };
        app.insert("name".to_owned(), name.into());
        app
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts(value: &Value) -> Vec<(String, String)> {
        let package = Package::of(value).unwrap();
        let text = |app: &Map<String, Value>, key: &str| app[key].as_str().unwrap().to_owned();
        package.apps.iter().map(|app| (text(app, "name"), text(app, "script"))).collect()
    }

    #[test]
    fn module_script_follows_apps_bin_or_main() {
        let one = |name: &str, script: &str| vec![(name.to_owned(), script.to_owned())];
        for (value, expected) in [
            (json!({"name": "m"}), one("m", "index.js")),
            (json!({"name": "m", "main": "a.js"}), one("m", "a.js")),
            (json!({"name": "m", "bin": "cli.js", "main": "a.js"}), one("m", "cli.js")),
            (json!({"name": "m", "bin": {"x": "x.js", "y": "y.js"}}), one("m", "x.js")),
            (json!({"name": "m", "apps": {"script": "s.js", "name": "other"}, "main": "a.js"}), one("m", "s.js")),
            (json!({"name": "m", "pm2": [{"script": "s.js"}]}), one("m", "s.js")),
            (json!({"name": "m", "pm2": {"apps": [{"script": "s.js"}]}}), one("m", "s.js")),
        ] {
            assert_eq!(scripts(&value), expected, "{value}");
        }
        let two = json!({"name": "m", "apps": [{"script": "a.js", "name": "a"}, {"script": "b.js"}]});
        assert_eq!(scripts(&two), [("m:a".to_owned(), "a.js".to_owned()), ("m:1".to_owned(), "b.js".to_owned())]);
    }

    #[test]
    fn invalid_packages_are_rejected() {
        for value in [
            json!({}),
            json!([]),
            json!({"name": 1}),
            json!({"name": "../up"}),
            json!({"name": "m", "apps": []}),
            json!({"name": "m", "apps": "x"}),
            json!({"name": "m", "apps": [1]}),
            json!({"name": "m", "apps": vec![json!({"script": "a.js"}); MAX_APPS + 1]}),
        ] {
            assert!(Package::of(&value).is_err(), "{value}");
        }
    }
}
