//! `static: […]`, beside the apps of a file: folders to serve, each as an app with
//! `script: "serve"`.
//!
//! ```text
//! {static: [{path: 'dist', port: 8080, spa: true, basic_auth: {username: 'u', password: 'p'}}]}
//! ```

use serde_json::{Map, Value};

use ostler_core::text::language::translated;
use ostler_core::{marked, message};

use crate::problem::{Problem, ProblemKind};
use crate::values::describe_value;

/// Keys and the variables that they set.
const VARIABLES: &[(&str, &str)] = &[
    ("port", "PM2_SERVE_PORT"),
    ("host", "PM2_SERVE_HOST"),
    ("path", "PM2_SERVE_PATH"),
    ("spa", "PM2_SERVE_SPA"),
    ("ftp", "PM2_SERVE_FTP"),
    ("homepage", "PM2_SERVE_HOMEPAGE"),
    ("directory", "PM2_SERVE_DIRECTORY"),
    ("monitor", "PM2_SERVE_MONITOR"),
];

/// Returns the apps of a list, or of a single entry. Keys that are not the server's are those of
/// any app.
pub(crate) fn apps(value: Value) -> Result<Vec<(String, Value)>, Problem> {
    let entries = match value {
        Value::Array(items) => items.into_iter().enumerate().map(|(index, item)| (format!("static[{index}]"), item)).collect(),
        table @ Value::Object(_) => vec![("static".to_owned(), table)],
        other => return Err(expected(marked!("a list of folders to serve"), "static", &other)),
    };
    entries
        .into_iter()
        .map(|(path, item)| match item {
            Value::Object(table) => app(table, &path).map(|app| (path, Value::Object(app))),
            other => Err(expected(marked!("a folder to serve (a table)"), &path, &other)),
        })
        .collect()
}

fn app(mut table: Map<String, Value>, path: &str) -> Result<Map<String, Value>, Problem> {
    let mut env = match table.shift_remove("env") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(env)) => env,
        Some(other) => return Err(expected(marked!("variables (a table)"), &format!("{path}.env"), &other)),
    };
    for (key, name) in VARIABLES {
        if let Some(value) = table.shift_remove(*key).filter(|value| !value.is_null()) {
            env.insert((*name).into(), value);
        }
    }
    match table.shift_remove("basic_auth") {
        None | Some(Value::Null) => {}
        Some(Value::Object(login)) => {
            let text = |key: &str| login.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
            // A name without a password, or a password alone, would let every visitor in.
            let (Some(name), Some(password)) = (text("username"), text("password")) else {
                let message = message!("expected `username` and `password`, both as strings");
                return Err(Problem::error(ProblemKind::Value, message).at(format!("{path}.basic_auth")));
            };
            env.insert("PM2_SERVE_BASIC_AUTH".into(), "true".into());
            env.insert("PM2_SERVE_BASIC_AUTH_USERNAME".into(), name.into());
            env.insert("PM2_SERVE_BASIC_AUTH_PASSWORD".into(), password.into());
        }
        Some(other) => return Err(expected(marked!("a table with `username` and `password`"), &format!("{path}.basic_auth"), &other)),
    }
    let port = match env.get("PM2_SERVE_PORT") {
        Some(Value::String(port)) => port.clone(),
        Some(port) => port.to_string(),
        None => "8080".into(),
    };
    table.entry("name").or_insert_with(|| format!("static-page-server-{port}").into());
    table.insert("script".into(), "serve".into());
    table.insert("env".into(), Value::Object(env));
    Ok(table)
}

fn expected(what: &'static str, at: &str, value: &Value) -> Problem {
    Problem::error(
        ProblemKind::Value,
        message!("expected {expected}, found {found}", expected = translated(what), found = describe_value(value)),
    )
    .at(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn static_entries_become_serve_apps() {
        let entry =
            json!([{ "path": "dist", "port": 81, "spa": true, "instances": 2, "basic_auth": { "username": "u", "password": "p" } }]);
        let env = json!({
            "PM2_SERVE_PORT": 81, "PM2_SERVE_PATH": "dist", "PM2_SERVE_SPA": true, "PM2_SERVE_BASIC_AUTH": "true",
            "PM2_SERVE_BASIC_AUTH_USERNAME": "u", "PM2_SERVE_BASIC_AUTH_PASSWORD": "p",
        });
        let app = json!({ "instances": 2, "name": "static-page-server-81", "script": "serve", "env": env });
        assert_eq!(apps(entry).unwrap(), [("static[0]".to_owned(), app)]);
        let named = apps(json!({ "name": "docs" })).unwrap();
        assert_eq!((named[0].0.as_str(), &named[0].1["name"]), ("static", &json!("docs")));
    }

    #[test]
    fn incomplete_basic_auth_is_rejected() {
        for value in [json!([{ "basic_auth": { "username": "u" } }]), json!([{ "basic_auth": true }]), json!([1]), json!("dist")] {
            assert!(apps(value.clone()).is_err(), "{value}");
        }
    }
}
