//! Intended differences from PM2. Each entry points to its row of `parity.toml`.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::Difference;
use super::model::{App, Call, FILE_TARGET, Step};

/// An intended difference.
struct Listed {
    /// Prefix of the row of `parity.toml` that names the difference.
    row: &'static str,
    /// Name of the fact; `*` stands for any text.
    fact: &'static str,
    /// Value with PM2: `-` if PM2 does not have the fact, `?` if any value is fine.
    pm2: &'static str,
    /// Value with ostler, in the same notation.
    ostler: &'static str,
    /// Reason for the difference.
    why: &'static str,
    /// When the difference may occur.
    when: DifferenceScope,
}

/// When a difference may occur.
#[derive(Clone, Copy)]
enum DifferenceScope {
    /// After any step.
    Always,
    /// After one of these keys changed in the configuration of an existing app. From then on the
    /// worlds are not comparable.
    Changed(&'static [&'static str]),
    /// After the key that the fact is about changed in the configuration of an existing app.
    OwnKey,
    /// After such a step. From then on the worlds are not comparable.
    After(fn(&History, &Call) -> bool),
}

/// History of the sequence up to the step.
#[derive(Debug, Default)]
pub struct History {
    /// Last configuration of each app, by name.
    known: BTreeMap<String, App>,
    /// Keys that differed from it when an existing app got a configuration.
    changed: BTreeSet<String>,
    /// The last step, if it was a command.
    call: Option<Call>,
}

impl History {
    /// Records a step. `apps` is the content of the configuration file at that moment.
    pub fn add(&mut self, step: &Step, apps: &[App]) {
        self.call = None;
        let Step::Run(call) = step else { return };
        self.call = Some(call.clone());
        match &call.stdin {
            Some(app) => self.configure(app),
            None if call.targets.iter().any(|target| target == FILE_TARGET) => apps.iter().for_each(|app| self.configure(app)),
            None => self.start_script(call),
        }
    }

    fn configure(&mut self, app: &App) {
        if let Some(known) = self.known.insert(app["name"].clone(), app.clone()) {
            let keys: BTreeSet<&String> = known.keys().chain(app.keys()).collect();
            self.changed.extend(keys.into_iter().filter(|key| known.get(*key) != app.get(*key)).cloned());
        }
    }

    fn start_script(&mut self, call: &Call) {
        let Some(script) = call.targets.iter().find(|target| call.verb == "start" && target.ends_with(".js")) else { return };
        let given = call.options.iter().find_map(|option| option.strip_prefix("--name "));
        let name = format!("\"{}\"", given.unwrap_or_else(|| script.trim_end_matches(".js")));
        let mut app = App::from([("script".to_owned(), format!("\"{script}\""))]);
        if call.options.iter().any(|option| option == "--no-autostart") {
            app.insert("autostart".to_owned(), "false".to_owned());
        }
        self.known.insert(name, app);
    }

    /// Returns true if an app has `autostart: false` and the command names an app.
    fn names_one_without_autostart(&self, call: &Call) -> bool {
        let by_name = |target: &String| target != "all" && target != FILE_TARGET && target != "-";
        let starts = matches!(call.verb.as_str(), "start" | "restart" | "reload") && call.targets.iter().any(by_name);
        starts && self.is_configured_with("autostart", "false")
    }

    /// Returns true if an app has this key with this value.
    fn is_configured_with(&self, key: &str, value: &str) -> bool {
        self.known.values().any(|app| app.get(key).is_some_and(|given| given == value))
    }

    /// Returns true if an app has a variable that increases with each instance.
    fn has_counted_variable(&self, _: &Call) -> bool {
        self.known.values().any(|app| app.contains_key("increment_var"))
    }

    /// Returns true if the call reloads an app that exits immediately.
    fn reloads_a_bad_release(&self, call: &Call) -> bool {
        let ends = |app: &App| app.get("script").is_some_and(|script| script.contains("crash") || script.contains("done"));
        matches!(call.verb.as_str(), "reload" | "startOrReload") && self.known.values().any(ends)
    }

    fn has_changed(&self, keys: &[&str]) -> bool {
        let is_key = |changed: &String, key: &str| changed == key || changed.split_once('.').is_some_and(|(group, _)| group == key);
        keys.iter().any(|key| self.changed.iter().any(|changed| is_key(changed, key)))
    }
}

/// Classification of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceVerdict {
    /// Intended.
    Meant,
    /// Intended; from then on the worlds are not comparable.
    Parting,
    /// Not listed.
    Unlisted,
}

const CLIENT: &str = "PM2's client marks its own environment, and the marks reach the app";
const NAMED: &str = "PM2 gives each app a variable of its name, also without settings";
const CLUSTER: &str = "PM2 sets every key of its list as a variable of a worker";
const KEYS: &str = "PM2 merges the keys of the file into its list unread, under their own names";
const DEFAULTS: &str = "PM2's client sends its defaults along with a plain restart: they undo what the file says";

/// Returns a row with its columns in the order of [`Listed`].
const fn row(row: &'static str, fact: &'static str, pm2: &'static str, ostler: &'static str, why: &'static str) -> Listed {
    Listed { row, fact, pm2, ostler, why, when: DifferenceScope::Always }
}

/// Returns a row for an intended difference after a step.
const fn after(row: &'static str, fact: &'static str, why: &'static str, when: fn(&History, &Call) -> bool) -> Listed {
    Listed { row, fact, pm2: "?", ostler: "?", why, when: DifferenceScope::After(when) }
}

fn starts_script_elsewhere(_: &History, call: &Call) -> bool {
    call.options.iter().any(|option| option.starts_with("--cwd"))
}

/// Returns a row for the effect of changing these keys.
const fn change(keys: &'static [&'static str], fact: &'static str) -> Listed {
    let why = "PM2 ignores these keys of a changed file until the app is deleted and started";
    Listed { row: "changing a running app", fact, pm2: "?", ostler: "?", why, when: DifferenceScope::Changed(keys) }
}

const LEAKS: &str = "`PM2_USAGE`, `PM2_JSON_PROCESSING`";
const WORKERS: &str = "cluster: `_pm2_version`";
const STRAY: &str = "`script`, `cwd`, `out_file`, `error_file`, `pid_file`";
const EARLY: &str = "`version`, `_pm2_version`: from the first";

const LISTED: &[Listed] = &[
    row(LEAKS, "*PM2_JSON_PROCESSING", "true", "-", CLIENT),
    row(LEAKS, "*PM2_USAGE", "*", "*", CLIENT),
    row(LEAKS, "*PM2_INTERACTOR_PROCESSING", "true", "-", CLIENT),
    row(LEAKS, "*updateEnv", "true", "-", CLIENT),
    row("a variable named like the app", "*", "{}", "-", NAMED),
    row("a variable named like the app", "[*] sees *", "[object Object]", "-", NAMED),
    row(WORKERS, "[*] sees SILENT", "true", "-", CLUSTER),
    row(WORKERS, "[*] sees _pm2_version", "*", "-", CLUSTER),
    row(WORKERS, "[*] sees *", "[object Object]", "-", CLUSTER),
    row(WORKERS, "[*] sees args", "*", "-", CLUSTER),
    row(WORKERS, "[*] sees node_args", "*", "-", CLUSTER),
    row(WORKERS, "[*] sees watch", "lib", "-", CLUSTER),
    row(WORKERS, "[*] sees filter_env", "*", "-", CLUSTER),
    row(WORKERS, "[*] sees stop_exit_codes", "*", "-", CLUSTER),
    row("`version`: from the first start", "[*] sees version", "-", "*", "ostler reads the version before the first start"),
    row(STRAY, "* script", "*.js", "-", KEYS),
    row(STRAY, "* cwd", "*", "-", KEYS),
    row(STRAY, "* out_file", "*", "-", KEYS),
    row(STRAY, "* error_file", "*", "-", KEYS),
    row(
        "`env`: after a restart with the file",
        "* env *",
        "-",
        "*",
        "PM2 shows the variables of the file alone, although the app keeps the others",
    ),
    row("a plain restart", "* filter_env", "[]", "*", DEFAULTS),
    row("a plain restart", "* filter_env", "-", "[]", DEFAULTS),
    row("a plain restart", "* filter_env", "[]", "-", DEFAULTS),
    row("a plain restart", "* merge_logs", "true", "-", DEFAULTS),
    row("a plain restart", "* WORKER", "*", "-", DEFAULTS),
    row("a plain restart", "* NODE_APP_INSTANCE", "-", "*", DEFAULTS),
    row("a plain restart", "* instance_var", "NODE_APP_INSTANCE", "WORKER", DEFAULTS),
    row("falsy values of keys", "* exp_backoff_restart_delay", "-", "0", "a zero of the file is kept"),
    row("`watch`: always", "* watch", "-", "false", "PM2 lacks the key for apps from standard input"),
    row("`watch`: always", "* watch", "false", "-", "PM2 keeps what its client filled in at a start by options"),
    row("`watch`: always", "* sees watch", "false", "-", "PM2 keeps what its client filled in at a start by options"),
    row(EARLY, "* _pm2_version", "-", "*", "PM2 sets it when the worker starts"),
    row("values of `env_<name>`", "* env_*", "{*", "{*", "PM2 does not give objects to the app"),
    row("values of `env_<name>`", "*", "?", "{\"a\":1}", "PM2 does not give objects to the app"),
    row("`dump.pm2`", "dump* ostler", "-", "*", "what PM2's dump cannot say"),
    row(
        "`PWD`: the folder",
        "* PWD",
        "*",
        "*",
        "PM2 gives the text of `cwd`, also to the apps that follow in the file, or the caller's folder",
    ),
    row("a command that fails", "daemon", "runs", "does not run", "PM2 starts its daemon before it looks at the words"),
    row("`instances`", "* instances", "0", "*", "PM2 keeps the word; here it is the number of instances"),
    row("`exit_code`: kept", "* exit_code", "*", "-", "PM2 copies the entry of the first instance to a new one"),
    row("a plain restart", "* NODE_APP_INSTANCE", "*", "-", DEFAULTS),
    row("a plain restart", "* WORKER", "*", "*", DEFAULTS),
    row("`--watch` with a path", "* watch", "true", "[\"lib\"]", "PM2 takes the path for another app, or for nothing"),
    row("`--watch` with a path", "* sees watch", "true", "-", "PM2 takes the path for another app, or for nothing"),
    row(EARLY, "* version", "-", "*", "PM2 reads it when the app starts"),
    row("`exit_code`: kept", "* exit_code", "-", "*", "the last exit of an instance is kept over a reload"),
    Listed {
        row: "changing a running app",
        fact: "*",
        pm2: "?",
        ostler: "?",
        why: "PM2 keeps what a file no longer has",
        when: DifferenceScope::OwnKey,
    },
    change(&["args"], "* process args"),
    change(&["args"], "file *"),
    row(
        "a variable named like a setting",
        "* kill_timeout",
        "777",
        "*",
        "in PM2 it hides the setting in the list, although the setting is in force",
    ),
    row(
        "a variable named like a setting",
        "* kill_timeout",
        "777",
        "-",
        "in PM2 it hides the setting in the list, although the setting is in force",
    ),
    after("options of `start all`", "*", "PM2 takes no options there", |_, call| {
        call.verb == "start" && call.targets == ["all"] && !call.options.is_empty()
    }),
    row("changing a running app", "* autorestart", "true", "false", "PM2 lays its default over an option of the command line"),
    after("`increment_var`: after", "* PORT", "PM2 gives the value of the file unchanged", History::has_counted_variable),
    change(&["out_file", "merge_logs"], "* pm_out_log_path"),
    change(&["error_file", "merge_logs"], "* pm_err_log_path"),
    change(&["out_file", "error_file", "merge_logs"], "file *"),
    change(&["cwd"], "* PWD"),
    change(&["cwd"], "* pm_cwd"),
    change(&["cwd"], "* pm_exec_path"),
    change(&["cwd"], "* process cwd"),
    change(&["cwd"], "* process script"),
    change(&["exec_mode", "instances", "script", "autostart"], "*"),
    after("`autostart`: a command", "*", "PM2 7 has no command that starts such an app", History::names_one_without_autostart),
    after("`reload`", "*", "a release that ends at once is a bad one", History::reloads_a_bad_release),
    after("`start`", "*", "PM2 looks for a running script in the caller's folder instead", starts_script_elsewhere),
];

/// Returns the classification of this difference.
pub fn verdict(difference: &Difference, history: &History) -> DifferenceVerdict {
    let is_like = |listed: &&Listed| {
        is_like(&difference.fact, listed.fact) && is_value(&difference.pm2, listed.pm2) && is_value(&difference.ostler, listed.ostler)
    };
    let verdicts = LISTED.iter().filter(is_like).map(|listed| match listed.when {
        DifferenceScope::Always => DifferenceVerdict::Meant,
        DifferenceScope::OwnKey if history.has_changed(&[difference.key()]) => DifferenceVerdict::Meant,
        DifferenceScope::Changed(keys) if history.has_changed(keys) => DifferenceVerdict::Parting,
        DifferenceScope::After(is_such) if history.call.as_ref().is_some_and(|call| is_such(history, call)) => DifferenceVerdict::Parting,
        DifferenceScope::OwnKey | DifferenceScope::Changed(_) | DifferenceScope::After(_) => DifferenceVerdict::Unlisted,
    });
    verdicts.min_by_key(|verdict| *verdict as u8).unwrap_or(DifferenceVerdict::Unlisted)
}

fn is_value(value: &Option<String>, pattern: &str) -> bool {
    match value {
        Some(value) => pattern != "-" && is_like(value, pattern),
        None => pattern == "-" || pattern == "?",
    }
}

/// Returns true if the text matches the pattern.
fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern || pattern == "?",
        Some((begin, rest)) => {
            let Some(left) = text.strip_prefix(begin) else { return false };
            (0..=left.len()).any(|at| left.get(at..).is_some_and(|left| is_like(left, rest)))
        }
    }
}

#[test]
fn each_listed_difference_has_a_row() {
    let rows = include_str!("../parity.toml");
    let is_row = |listed: &&Listed| rows.contains(&format!("    ['{}", listed.row)) || rows.contains(&format!("    [\"{}", listed.row));
    let without: Vec<_> = LISTED.iter().filter(|listed| !is_row(listed)).map(|listed| (listed.row, listed.why)).collect();
    assert!(without.is_empty(), "without a row in parity.toml: {without:?}");
}

#[test]
fn pattern_wildcards_match_any_text() {
    let cases = [
        ("[0] sees A", "[*] sees *", true),
        ("[0] A", "[*] sees *", false),
        ("[0] cwd", "* cwd", true),
        ("{}", "{*", true),
        ("x", "?", true),
    ];
    assert_eq!(cases.map(|(text, pattern, _)| is_like(text, pattern)), cases.map(|(_, _, expected)| expected));
}
