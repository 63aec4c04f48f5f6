//! Configuration of an app in the words of its ecosystem file: the keys that were set, and the
//! effective values of the usual ones. Pure.

use ostler_core::app::{AppSpec, ExecMode};
use ostler_proto::control::Files;
use serde::Serialize;
use serde_json::{Value, json};

/// Keys that the program sets itself.
const INTERNAL: &[&str] = &["pmx_module"];
/// Keys whose derived value is shown instead of the spelling.
const DERIVED: &[&str] = &["script", "cwd", "exec_interpreter", "exec_mode", "out_file", "error_file", "log_file", "pid_file"];

/// One key of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Setting {
    /// Name, as in the reference.
    pub(super) key: String,
    pub(super) value: Value,
    /// `file`, `option` (of a command), or `default`.
    pub(super) from: &'static str,
}

/// Returns the settings: the usual ones in the order of the reference, then the others in the order
/// in which they were given.
pub(super) fn settings(spec: &AppSpec, files: &Files) -> Vec<Setting> {
    let given = spec.given.open();
    let from = |key: &str| match given.contains_key(key) {
        false => "default",
        true if spec.config_file.is_none() || spec.options.contains_key(key) => "option",
        true => "file",
    };
    let usual = usual(spec, files);
    let shown = |(key, value): &(&str, Value)| {
        let spelled = given.get(*key).filter(|_| !DERIVED.contains(key)).cloned();
        Setting { key: (*key).to_owned(), value: spelled.unwrap_or_else(|| value.clone()), from: from(key) }
    };
    let is_other = |(key, _): &(&String, &Value)| !INTERNAL.contains(&key.as_str()) && usual.iter().all(|(known, _)| known != key);
    let others = given.iter().filter(is_other).map(|(key, value)| Setting { key: key.clone(), value: value.clone(), from: from(key) });
    usual.iter().map(shown).chain(others).collect()
}

/// Returns the effective values of the usual keys.
fn usual(spec: &AppSpec, files: &Files) -> Vec<(&'static str, Value)> {
    let restart = &spec.restart;
    // A command line runs in a shell.
    let (script, args) = match &spec.args[..] {
        [_, command, ..] if spec.shell => (command, &[][..]),
        args => (&spec.script, args),
    };
    let backoff = restart.exp_backoff_ms;
    // The files of several instances have different names.
    let file = |file: &Option<String>| if spec.instances == 1 || spec.logs.merge_logs { json!(file) } else { Value::Null };
    let all = [
        ("name", json!(spec.name)),
        ("namespace", json!(spec.namespace)),
        ("script", json!(script)),
        ("args", if args.is_empty() { Value::Null } else { json!(args) }),
        ("cwd", json!(spec.cwd)),
        ("exec_interpreter", json!(spec.interpreter.as_deref().unwrap_or("none"))),
        ("node_args", if spec.interpreter_args.is_empty() { Value::Null } else { json!(spec.interpreter_args) }),
        ("exec_mode", json!(if spec.mode == ExecMode::Cluster { "cluster" } else { "fork" })),
        ("instances", json!(spec.instances)),
        ("out_file", file(&files.out)),
        ("error_file", file(&files.error)),
        ("log_file", file(&files.combined)),
        ("merge_logs", json!(spec.logs.merge_logs)),
        ("autostart", json!(spec.autostart)),
        ("autorestart", json!(restart.autorestart)),
        ("max_restarts", restart.max_restarts.map_or_else(|| if backoff > 0 { Value::Null } else { json!(16) }, |most| json!(most))),
        ("min_uptime", json!(restart.min_uptime_ms.unwrap_or(1000))),
        ("restart_delay", json!(restart.restart_delay_ms)),
        ("exp_backoff_restart_delay", json!(backoff)),
        ("wait_ready", json!(spec.ready.wait_ready)),
    ];
    all.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(given: &Value) -> AppSpec {
        AppSpec {
            name: "api".into(),
            script: "/srv/api.js".into(),
            cwd: "/srv".into(),
            interpreter: Some("node".into()),
            instances: 4,
            given: given.as_object().cloned().unwrap_or_default().into(),
            config_file: Some("/srv/ecosystem.config.js".into()),
            options: [("restart_delay".to_owned(), true)].into(),
            ..AppSpec::default()
        }
    }

    fn found(spec: &AppSpec, key: &str) -> Option<(Value, &'static str)> {
        let all = settings(spec, &Files { out: Some("/logs/api-out.log".into()), ..Files::default() });
        assert!(all.iter().filter(|setting| setting.key == key).count() <= 1, "{key} once");
        all.into_iter().find(|setting| setting.key == key).map(|setting| (setting.value, setting.from))
    }

    #[test]
    fn settings_have_the_words_of_the_file_and_their_source() {
        let given = json!({
            "name": "api", "script": "./api.js", "instances": "max", "max_memory_restart": "400M", "restart_delay": "2s",
            "log_rotate": { "max_size": "10M" }, "pmx_module": true,
        });
        let spec = spec(&given);
        for (key, expected) in [
            ("script", Some((json!("/srv/api.js"), "file"))),
            ("instances", Some((json!("max"), "file"))),
            ("max_memory_restart", Some((json!("400M"), "file"))),
            ("restart_delay", Some((json!("2s"), "option"))),
            ("log_rotate", Some((json!({ "max_size": "10M" }), "file"))),
            ("cwd", Some((json!("/srv"), "default"))),
            ("exec_mode", Some((json!("fork"), "default"))),
            ("out_file", None),
            ("max_restarts", Some((json!(16), "default"))),
            ("args", None),
            ("log_file", None),
            ("pmx_module", None),
        ] {
            assert_eq!(found(&spec, key), expected, "{key}");
        }
        let alone = AppSpec { instances: 1, ..spec.clone() };
        assert_eq!(found(&alone, "out_file"), Some((json!("/logs/api-out.log"), "default")));
        let started = AppSpec { config_file: None, ..spec };
        assert_eq!(found(&started, "max_memory_restart"), Some((json!("400M"), "option")), "started without a file");
    }

    #[test]
    fn command_line_is_shown_as_it_was_given() {
        let spec =
            AppSpec { shell: true, script: "/bin/bash".into(), args: vec!["-c".into(), "sleep 9 && true".into()], ..AppSpec::default() };
        assert_eq!(found(&spec, "script"), Some((json!("sleep 9 && true"), "default")));
        assert_eq!(found(&spec, "args"), None);
    }

    #[test]
    fn usual_keys_are_in_the_reference() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/ecosystem.md");
        let page = std::fs::read_to_string(page).unwrap();
        let spec = AppSpec { args: vec!["x".into()], interpreter_args: vec!["x".into()], ..AppSpec::default() };
        let files = Files { out: Some("o".into()), error: Some("e".into()), combined: Some("c".into()), ..Files::default() };
        for (key, _) in usual(&spec, &files) {
            assert!(page.contains(&format!("\n| `{key}` |")), "{key} is no key of the reference");
        }
    }
}
