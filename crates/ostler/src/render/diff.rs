//! `diff` in words.

use std::fmt::Write;

use ostler_config::keys::Accept;
use ostler_core::app::diff::{Difference, Key, looks_secret};
use ostler_core::message;
use ostler_core::text::units;
use serde_json::{Value, json};

use super::style::{Paint, styles};
use crate::text::shown;

/// Mask of a hidden value.
const MASK: &str = "•••";
/// Most characters of a value that are shown.
const WIDTH: usize = 60;

/// Comparison of one app of the file, or of a former app.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AppDiff {
    /// Its name.
    pub name: String,
    /// Result of the comparison.
    pub standing: AppChange,
    /// Existing instances, and instances that the file requests.
    pub instances: (usize, usize),
    /// Differences.
    pub changes: Vec<Difference>,
}

/// Result of comparing an app of a file with the running app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppChange {
    /// It does not exist yet.
    New,
    /// It exists, with other values.
    Changed,
    /// Nothing differs.
    Same,
    /// It came from this file, but is no longer in it.
    Gone,
}

/// Which values of variables are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueDisplay {
    /// All values except those that look secret.
    Shown,
    /// No values.
    Hidden,
}

impl ValueDisplay {
    fn show(self, key: &Key, value: &Value) -> Option<Value> {
        match key {
            Key::Attribute(_) => Some(value.clone()),
            Key::Variable(name) => (self == Self::Shown && !looks_secret(name)).then(|| value.clone()),
        }
    }
}

/// Formats each app with its changes.
pub(crate) fn diff(diffs: &[AppDiff], values: ValueDisplay, paint: Paint) -> String {
    let mut out = String::new();
    for app in diffs {
        let (mark, style, what) = match app.standing {
            AppChange::New => ("+", styles::GREEN, message!("is new: `start` starts it")),
            AppChange::Changed => ("~", styles::YELLOW, message!("changes: `reload` or `restart` with this file")),
            AppChange::Same => ("=", styles::GREY, message!("matches the file")),
            AppChange::Gone => {
                ("-", styles::RED, message!("runs, but is no longer in the file: `delete {name}` stops it", name = shown(&app.name)))
            }
        };
        let _ = writeln!(out, "{} {} {}", paint.with(style, mark), paint.with(styles::BOLD, shown(&app.name)), what);
        let (there, declared) = app.instances;
        if matches!(app.standing, AppChange::Changed | AppChange::Same) && there != declared {
            let name = shown(&app.name);
            let text = message!("{count} instances, {declared} in the file: `scale {name} {declared}`", count = there, declared, name);
            let _ = writeln!(out, "    {text}");
        }
        for change in &app.changes {
            let (mark, style) = match (&change.was, &change.is) {
                (None, _) => ("+", styles::GREEN),
                (_, None) => ("-", styles::RED),
                _ => ("~", styles::YELLOW),
            };
            let side = |value: &Option<Value>| match value {
                None => String::new(),
                Some(value) => {
                    values.show(&change.key, value).map_or_else(|| MASK.to_owned(), |value| short(&as_written(&change.key, value)))
                }
            };
            let arrow = if change.was.is_some() && change.is.is_some() { " → " } else { "" };
            let _ =
                writeln!(out, "    {} {}  {}{arrow}{}", paint.with(style, mark), name_of(&change.key), side(&change.was), side(&change.is));
        }
    }
    out
}

/// Works like [`diff`], as data. Hidden values are left out and marked as hidden.
pub(crate) fn diff_json(diffs: &[AppDiff], values: ValueDisplay) -> Value {
    let apps: Vec<Value> = diffs
        .iter()
        .map(|app| {
            let changes: Vec<Value> = app
                .changes
                .iter()
                .map(|change| {
                    let side =
                        |value: &Option<Value>| value.as_ref().map(|value| values.show(&change.key, value).unwrap_or_else(|| MASK.into()));
                    json!({ "key": name_of(&change.key), "was": side(&change.was), "is": side(&change.is) })
                })
                .collect();
            json!({
                "name": app.name,
                "standing": match app.standing {
                    AppChange::New => "new",
                    AppChange::Changed => "changed",
                    AppChange::Same => "same",
                    AppChange::Gone => "gone",
                },
                "instances": { "is": app.instances.0, "declared": app.instances.1 },
                "changes": changes,
            })
        })
        .collect();
    json!({ "apps": apps })
}

fn name_of(key: &Key) -> String {
    match key {
        Key::Attribute(name) => shown(name),
        Key::Variable(name) => format!("env.{}", shown(name)),
    }
}

/// Formats sizes and times as in files. (As data they are numbers.)
fn as_written(key: &Key, value: Value) -> Value {
    let (Key::Attribute(name), Some(count)) = (key, value.as_u64()) else { return value };
    let accepts = ostler_config::keys::find(name).map_or(&[][..], |key| key.accepts);
    if accepts.contains(&Accept::Bytes) {
        return units::bytes_text(count).into();
    }
    if accepts.contains(&Accept::Millis) { units::millis_text(count).into() } else { value }
}

fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), |text| if text.is_empty() { "\"\"".into() } else { text.to_owned() });
    let text = shown(&text);
    if text.chars().count() <= WIDTH {
        return text;
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(standing: AppChange, changes: Vec<Difference>) -> AppDiff {
        AppDiff { name: "api".into(), standing, instances: (2, 3), changes }
    }

    fn change(key: Key, was: Option<&str>, is: Option<&str>) -> Difference {
        Difference { key, was: was.map(Value::from), is: is.map(Value::from) }
    }

    #[test]
    fn variable_values_are_hidden_by_default() {
        let changes = vec![change(Key::Variable("MODE".into()), None, Some("prod"))];
        let app = [app(AppChange::Changed, changes)];
        let told = |values| diff(&app, values, Paint(false));
        assert!(told(ValueDisplay::Hidden).ends_with("    + env.MODE  •••\n"), "{}", told(ValueDisplay::Hidden));
        assert!(told(ValueDisplay::Shown).ends_with("    + env.MODE  prod\n"), "{}", told(ValueDisplay::Shown));
        assert_eq!(diff_json(&app, ValueDisplay::Hidden)["apps"][0]["changes"][0], json!({"key": "env.MODE", "was": null, "is": "•••"}));
    }

    #[test]
    fn sizes_and_times_are_human_readable() {
        let of = |key: &str, was: Value, is: Value| Difference { key: Key::Attribute(key.into()), was: Some(was), is: Some(is) };
        let changes = vec![
            of("max_memory_restart", json!(209_715_200), json!(314_572_800)),
            of("max_memory_restart", json!("25%"), json!(1)),
            of("kill_timeout", json!(1600), json!(3000)),
            of("max_restarts", json!(16), json!(1024)),
            Difference { key: Key::Variable("kill_timeout".into()), was: Some(json!(1024)), is: Some(json!(1024)) },
        ];
        let told = diff(&[app(AppChange::Changed, changes.clone())], ValueDisplay::Shown, Paint(false));
        let lines: Vec<&str> = told.lines().skip(2).map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "~ max_memory_restart  200M → 300M",
                "~ max_memory_restart  25% → 1",
                "~ kill_timeout  1600ms → 3s",
                "~ max_restarts  16 → 1024",
                "~ env.kill_timeout  1024 → 1024",
            ]
        );
        let data = diff_json(&[app(AppChange::Changed, changes)], ValueDisplay::Shown);
        assert_eq!(data["apps"][0]["changes"][0]["was"], 209_715_200);
    }

    #[test]
    fn long_values_are_truncated_and_escaped() {
        assert_eq!(short(&json!("")), "\"\"");
        assert_eq!(short(&json!(["a", 1])), r#"["a",1]"#);
        assert_eq!(short(&json!("x".repeat(100))).chars().count(), WIDTH);
        assert!(!short(&json!("\u{1b}[31m")).contains('\u{1b}'));
    }
}
