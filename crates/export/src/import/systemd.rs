//! A service unit of systemd.

use std::collections::BTreeSet;

use ostler_core::message;
use ostler_core::text::language::translated;
use ostler_core::text::units;
use serde_json::{Map, Value};

use super::ini::{Assignment, Section, Syntax, sections};
use super::keys::{has_effect, reason_for_skipping, systemd::KEYS};
use super::systemd_restart::{self, Statuses};
use super::systemd_text::{ResolvedCommand, Specifiers, variables, words};
use super::{App, FileContext, ImportError, Imported, millis, size};

/// `DefaultTimeoutStopSec` and `DefaultTimeoutStartSec`.
const TIMEOUT_MS: u64 = 90_000;
/// `kill_timeout` of a stop that never ends in SIGKILL in systemd.
const VERY_LONG_MS: u64 = 86_400_000;

pub(super) fn read(text: &str, place: &FileContext<'_>) -> Result<Imported, ImportError> {
    let mut all = sections(text, Syntax::Systemd);
    // Files of the folder `<unit>.d` are read after the unit, in the order of their names.
    for (_, text) in (place.files)(&format!("{}.d/*.conf", place.name)) {
        all.extend(sections(&text, Syntax::Systemd));
    }
    let service = assignments(&all, &["Service"]).ok_or(ImportError::NoApps("[Service]"))?;
    let unit = assignments(&all, &["Unit", "Install"]).unwrap_or_default();
    let mut notices = Vec::new();
    let stem = place.name.strip_suffix(".service").unwrap_or(place.name).trim_end_matches('@');
    let app = App::new(if stem.is_empty() { "app" } else { stem }, &mut notices);
    let specifiers = Specifiers::of(place.name, place.folder, place.host);
    let mut unit_reader = Unit { app, specifiers, service, unit, files: place.files };
    unit_reader.all()?;
    let map = unit_reader.app.map;
    Ok(Imported { apps: vec![map], notices })
}

/// Assignments of a key, in their order. An empty value resets the earlier ones, as in systemd.
type Assignments = Vec<(String, Vec<Assignment>)>;

fn assignments(all: &[Section], names: &[&str]) -> Option<Assignments> {
    let own = || all.iter().filter(|section| names.contains(&section.name.as_str()));
    own().next()?;
    let mut out = Assignments::new();
    for line in own().flat_map(|section| &section.lines) {
        // Older names.
        let key = match line.key.as_str() {
            "StartLimitInterval" => "StartLimitIntervalSec",
            "MemoryLimit" => "MemoryMax",
            "BlockIOWeight" => "IOWeight",
            key => key,
        };
        let at = out.iter().position(|(own, _)| own == key).unwrap_or_else(|| {
            out.push((key.to_owned(), Vec::new()));
            out.len() - 1
        });
        if line.value.is_empty() { out[at].1.clear() } else { out[at].1.push(line.clone()) }
    }
    Some(out)
}

struct Unit<'a> {
    app: App<'a>,
    specifiers: Specifiers,
    service: Assignments,
    unit: Assignments,
    files: &'a dyn Fn(&str) -> Vec<(String, String)>,
}

impl Unit<'_> {
    fn all(&mut self) -> Result<(), ImportError> {
        self.environment()?;
        self.command()?;
        self.stop();
        self.restart();
        self.app.set("env_policy", "clean");
        if self.last("WorkingDirectory").is_none() {
            self.app.set("cwd", "/");
        }
        if self.is_notify() && self.timeout("TimeoutStartSec").is_none() {
            self.app.set("listen_timeout", TIMEOUT_MS);
        }
        let (service, unit) = (self.service.clone(), self.unit.clone());
        for (key, lines) in service.iter().chain(&unit) {
            let Some(last) = lines.last().filter(|_| !key.starts_with("X-")) else { continue };
            if has_effect(KEYS, key) {
                self.one(key, &last.value, lines)?;
            } else {
                self.app.report(key, reason_for_skipping(KEYS, key));
            }
        }
        // Standard error goes to the same file as standard output, unless the unit sets another.
        if let Some(file) = self.app.map.get("out_file").cloned()
            && self.last("StandardError").is_none_or(|value| value == "inherit")
        {
            self.app.set("error_file", file);
        }
        Ok(())
    }

    fn lines(&self, key: &str) -> &[Assignment] {
        self.service.iter().chain(&self.unit).find(|(own, _)| own == key).map_or(&[], |(_, lines)| lines)
    }

    fn last(&self, key: &str) -> Option<&str> {
        self.lines(key).last().map(|line| line.value.as_str())
    }

    fn is_notify(&self) -> bool {
        matches!(self.last("Type"), Some("notify" | "notify-reload"))
    }

    /// Replaces the specifiers of a value, and reports those without a known value.
    fn plain(&mut self, key: &str, text: &str) -> String {
        let mut unknown = Vec::new();
        let text = self.specifiers.resolve(text, &mut unknown);
        for letter in unknown {
            self.app.report(key, message!("%{letter} is a specifier without a value here: write the value", letter));
        }
        text
    }

    fn words(&mut self, key: &str, text: &str, number: usize) -> Result<Vec<String>, ImportError> {
        let text = self.plain(key, text);
        words(&text).ok_or_else(|| ImportError::Malformed(message!("line {line}: a quote is not closed in {key}", line = number, key)))
    }

    fn environment(&mut self) -> Result<(), ImportError> {
        for line in self.lines("Environment").to_vec() {
            for word in self.words("Environment", &line.value, line.number)? {
                match word.split_once('=') {
                    Some((name, value)) => self.app.variable(name, value),
                    None => self
                        .app
                        .report("Environment", message!("line {line}: {word} has no `=`", line = line.number, word = format!("{word:?}"))),
                }
            }
        }
        let mut files = Vec::new();
        for line in self.lines("EnvironmentFile").to_vec() {
            let (path, is_required) = line.value.strip_prefix('-').map_or((line.value.as_str(), true), |path| (path, false));
            let path = self.plain("EnvironmentFile", path);
            let paths = if path.contains(['*', '?', '[']) { self.matching(&path) } else { vec![path] };
            for path in paths {
                let mut file = Map::from_iter([("path".to_owned(), Value::from(path)), ("format".to_owned(), "systemd".into())]);
                if !is_required {
                    file.insert("required".into(), false.into());
                }
                files.push(Value::Object(file));
            }
        }
        if !files.is_empty() {
            self.app.set("env_file", files);
            if self.app.map.contains_key("env") {
                self.app.report(
                    "EnvironmentFile",
                    message!("in systemd a file overrides Environment, here `env` overrides a file: remove duplicate variables from `env`"),
                );
            }
        }
        Ok(())
    }

    /// Returns the env files that a pattern matches now, in the order of their names.
    fn matching(&mut self, pattern: &str) -> Vec<String> {
        let found: Vec<String> = (self.files)(pattern).into_iter().map(|(path, _)| path).collect();
        let why = if found.is_empty() {
            message!("no file that can be read matches {pattern}: name the files in env_file", pattern)
        } else {
            message!("{pattern} matches {files} now: add later files to env_file", pattern, files = found.join(", "))
        };
        self.app.report("EnvironmentFile", why);
        found
    }

    /// Returns the words of a command line, and whether it may fail.
    fn command_line(&mut self, key: &str, line: &Assignment) -> Result<(bool, ResolvedCommand), ImportError> {
        let (marks, rest) = line.value.split_at(line.value.find(|c: char| !"-@:+!|".contains(c)).unwrap_or(line.value.len()));
        if marks.contains(['+', '!', '|']) {
            self.app.report(
                key,
                message!("line {line}: the prefix {prefix} has no equivalent here", line = line.number, prefix = format!("{marks:?}")),
            );
        }
        let mut words = self.words(key, rest, line.number)?;
        // With `@`, the second word is the displayed name of the process.
        if marks.contains('@') && words.len() > 1 {
            let name = words.remove(1);
            self.app
                .report(key, message!("line {line}: the process is not shown as {name}", line = line.number, name = format!("{name:?}")));
        }
        if marks.contains(':') {
            return Ok((marks.contains('-'), ResolvedCommand::Words(words)));
        }
        // A file takes precedence over `Environment`, so the value is not certain.
        let is_sure = self.lines("EnvironmentFile").is_empty();
        let env = self.app.map.get("env").and_then(Value::as_object);
        let value = |name: &str| env.filter(|_| is_sure)?.get(name)?.as_str().map(str::to_owned);
        Ok((marks.contains('-'), variables(&words, &value)))
    }

    fn command(&mut self) -> Result<(), ImportError> {
        let mut lines = self.lines("ExecStart").to_vec();
        if lines.is_empty() {
            return Err(ImportError::NoApps("ExecStart"));
        }
        let is_oneshot = self.last("Type") == Some("oneshot");
        if lines.len() > 1 && !is_oneshot {
            self.app.report("ExecStart", message!("only Type=oneshot may have several commands: the last one is used"));
            lines.drain(..lines.len() - 1);
        }
        let mut commands = Vec::new();
        for line in &lines {
            commands.push(self.command_line("ExecStart", line)?);
        }
        let shell = |resolved: &ResolvedCommand| match resolved {
            ResolvedCommand::Shell(text) => text.clone(),
            ResolvedCommand::Words(words) => words.iter().map(|word| crate::quote::sh(word)).collect::<Vec<_>>().join(" "),
        };
        match &commands[..] {
            [(_, ResolvedCommand::Words(words))] => {
                if !self.app.command(words) {
                    return Err(ImportError::NoApps("ExecStart"));
                }
            }
            [(_, resolved)] => self.app.set("script", format!("exec {}", shell(resolved))),
            several => {
                let one = |(may_fail, resolved): &(bool, ResolvedCommand)| {
                    let text = shell(resolved);
                    if *may_fail { format!("{{ {text} || true; }}") } else { text }
                };
                self.app.set("script", several.iter().map(one).collect::<Vec<_>>().join(" && "));
            }
        }
        if let [(true, _)] = commands[..] {
            self.app.report("ExecStart", message!("the prefix \"-\" ignores failures; here the exit code counts"));
        }
        Ok(())
    }

    /// Returns the milliseconds of the later one of a key and `TimeoutSec`. `None`: it is unset or
    /// invalid.
    fn timeout(&self, key: &str) -> Option<Option<u64>> {
        let of = |key: &str| self.lines(key).last();
        let line = [of(key), of("TimeoutSec")].into_iter().flatten().max_by_key(|line| line.number)?;
        match line.value.as_str() {
            "infinity" | "0" => Some(None),
            value => millis(value).map(Some),
        }
    }

    fn stop(&mut self) {
        let is_killed = !matches!(self.last("SendSIGKILL"), Some("no" | "false" | "off" | "0" | "n" | "f"));
        let given = self.timeout("TimeoutStopSec");
        let limit = match given {
            Some(limit) if is_killed => limit,
            None if is_killed => Some(TIMEOUT_MS),
            _ => None,
        };
        self.app.set("kill_timeout", limit.unwrap_or(VERY_LONG_MS));
        if limit.is_none() {
            let key = if is_killed { "TimeoutStopSec" } else { "SendSIGKILL" };
            self.app.report(key, message!("in systemd a stop waits without a limit, here for one day; then SIGKILL follows"));
        }
        let signal = self.last("KillSignal").unwrap_or("SIGTERM").to_owned();
        self.app.set("kill_signal", signal);
        let mode = match self.last("KillMode") {
            None => "control-group",
            Some(mode @ ("control-group" | "mixed" | "process")) => mode,
            Some(_) => "process",
        }
        .to_owned();
        self.app.set("kill_mode", mode);
    }

    fn restart(&mut self) {
        let statuses = |key: &str| -> Statuses {
            let mut all = Statuses::default();
            self.lines(key).iter().flat_map(|line| line.value.split_whitespace()).for_each(|word| all.add(word));
            all
        };
        let [success, prevent, force] =
            ["SuccessExitStatus", "RestartPreventExitStatus", "RestartForceExitStatus"].map(|key| (key, statuses(key)));
        for (key, statuses) in [&success, &prevent, &force] {
            if !statuses.unknown.is_empty() {
                self.app.report(key, message!("{names}: no exit status with this name", names = statuses.unknown.join(" ")));
            }
            if !statuses.signals.is_empty() {
                self.app.report(
                    key,
                    message!("{signals}: after a signal the app is restarted if `autorestart` is on", signals = statuses.signals.join(" ")),
                );
            }
        }
        let word = self.last("Restart").unwrap_or("no").to_owned();
        let Some(policy) = systemd_restart::policy(&word, &success.1.codes, &prevent.1.codes, &force.1.codes) else {
            self.app.report("Restart", message!("{policy}: unknown policy", policy = word));
            return self.app.set("autorestart", false);
        };
        if let Some(why) = policy.differs {
            self.app.report("Restart", format!("{word}: {}", translated(why)));
        }
        let Some(stops_at) = policy.stop_exit_codes else { return self.app.set("autorestart", false) };
        if !stops_at.is_empty() {
            self.app.set("stop_exit_codes", stops_at.into_iter().collect::<Vec<i32>>());
        }
        let delay = self.last("RestartSec").map_or(Some(100), millis);
        self.app.set("restart_delay", delay.unwrap_or(100));
        if delay.is_none() {
            self.app.report("RestartSec", message!("not a valid time"));
        }
        self.start_limit();
    }

    /// Converts the start limit. systemd counts starts within a time, for any reason, so ostler's
    /// count of short runs is off.
    fn start_limit(&mut self) {
        let interval = self.last("StartLimitIntervalSec").map_or(Some(10_000), millis);
        let burst = self.last("StartLimitBurst").map_or(Some(5), |value| value.parse::<u32>().ok());
        self.app.set("max_restarts", systemd_restart::NO_LIMIT);
        match (interval, burst) {
            (Some(0), _) | (_, Some(0)) => {}
            (Some(ms), Some(burst)) => {
                let budget = Map::from_iter([("n".to_owned(), Value::from((burst - 1).min(10_000))), ("window".to_owned(), ms.into())]);
                self.app.set("restart_budget", budget);
            }
            (None, _) if self.last("StartLimitIntervalSec") == Some("infinity") => {
                let burst = burst.unwrap_or(5);
                self.app.set("max_restarts", burst);
                self.app.report("StartLimitIntervalSec", message!("infinity: here only short runs in a row count"));
            }
            (None, _) => self.app.report("StartLimitIntervalSec", message!("not a valid time")),
            (_, None) => self.app.report("StartLimitBurst", message!("not a number")),
        }
    }

    fn one(&mut self, key: &str, value: &str, lines: &[Assignment]) -> Result<(), ImportError> {
        match key {
            // Handled above.
            "ExecStart" | "Environment" | "EnvironmentFile" | "KillSignal" | "TimeoutStopSec" | "SendSIGKILL" | "Restart"
            | "RestartSec" => {}
            "SuccessExitStatus" | "RestartPreventExitStatus" | "RestartForceExitStatus" | "StartLimitIntervalSec" | "StartLimitBurst" => {}
            "KillMode" => {
                if value == "none" {
                    self.app.report(key, message!("none: here the main process is stopped"));
                }
            }
            "ExecStartPre" | "ExecStartPost" | "ExecStop" | "ExecStopPost" => self.hook(key, lines)?,
            "WorkingDirectory" => {
                let path = self.plain(key, value.trim_start_matches('-'));
                if path == "~" && self.last("User").is_some() {
                    self.app.report(key, message!("~ is the home of User in systemd and of the caller here: write the path"));
                }
                self.app.set("cwd", path);
            }
            "User" | "Group" => {
                let name = self.plain(key, value);
                self.app.set(if key == "User" { "uid" } else { "gid" }, name);
            }
            "Type" => match value {
                "simple" | "exec" | "idle" | "oneshot" => {}
                "notify" | "notify-reload" => self.app.set("ready", "notify"),
                "forking" => self
                    .app
                    .report(key, message!("forking: keep the program in the foreground; the exit of its parent counts as an exit here")),
                other => {
                    self.app.report(key, message!("{found}: expected simple, exec, idle, oneshot or notify; simple is used", found = other))
                }
            },
            "TimeoutStartSec" | "TimeoutSec" => match self.timeout("TimeoutStartSec") {
                Some(Some(ms)) if self.is_notify() => self.app.set("listen_timeout", ms),
                Some(None) if self.is_notify() => self.app.set("listen_timeout", VERY_LONG_MS),
                Some(_) => {}
                None => self.app.report(key, message!("not a valid time")),
            },
            "WatchdogSec" | "RuntimeMaxSec" => match millis(value) {
                Some(ms) => self.app.set(if key == "WatchdogSec" { "watchdog" } else { "max_lifetime" }, ms),
                None if value == "infinity" => {}
                None => self.app.report(key, message!("not a valid time")),
            },
            "Nice" | "IOWeight" => match value.parse::<i32>() {
                Ok(number) => self.app.set(if key == "Nice" { "nice" } else { "io_weight" }, number),
                Err(_) => self.app.report(key, message!("not a number")),
            },
            "UMask" => self.app.set("umask", value),
            "TasksMax" => match value.parse::<u32>() {
                Ok(most) => self.app.set("pids_max", most),
                Err(_) if value == "infinity" => {}
                Err(_) => self.app.report(key, message!("only a number has an equivalent")),
            },
            "MemoryMax" => match size(value).or_else(|| value.ends_with('%').then(|| value.to_owned())) {
                Some(size) => self.app.set("memory_max", size),
                None if value == "infinity" => {}
                None => self.app.report(key, message!("not a valid size")),
            },
            "CPUQuota" => match units::whole_percent(value) {
                Some(percent) => self.app.set("cpu_quota", percent),
                None => self.app.report(key, message!("not a number")),
            },
            "StandardOutput" | "StandardError" => self.output(key, value),
            "Slice" => self.app.set("namespace", value.trim_end_matches(".slice")),
            "After" | "Before" | "Requires" | "Requisite" | "Wants" | "BindsTo" | "PartOf" | "Upholds" => {
                let others: BTreeSet<&str> =
                    lines.iter().flat_map(|line| line.value.split_whitespace()).filter(|unit| !is_of_system(unit)).collect();
                if !others.is_empty() {
                    let names: Vec<&str> = others.into_iter().collect();
                    self.app.report(key, message!("{units}: name those that are apps in depends_on", units = names.join(" ")));
                }
            }
            key if key.starts_with("Limit") => limit(&mut self.app, key, value),
            key if HARMLESS.contains(&key) => {}
            key => self.app.report(key, reason_for_skipping(KEYS, key)),
        }
        Ok(())
    }

    fn hook(&mut self, key: &str, lines: &[Assignment]) -> Result<(), ImportError> {
        let (own, limit) = match key {
            "ExecStartPre" => ("pre_start", "TimeoutStartSec"),
            "ExecStartPost" => ("post_start", "TimeoutStartSec"),
            "ExecStop" => ("pre_stop", "TimeoutStopSec"),
            _ => ("post_stop", "TimeoutStopSec"),
        };
        let mut texts = Vec::new();
        let mut single = None;
        let mut may_all_fail = true;
        for line in lines {
            let (may_fail, resolved) = self.command_line(key, line)?;
            may_all_fail &= may_fail;
            let text = match &resolved {
                ResolvedCommand::Shell(text) => text.clone(),
                ResolvedCommand::Words(words) => words.iter().map(|word| crate::quote::sh(word)).collect::<Vec<_>>().join(" "),
            };
            texts.push(if may_fail && lines.len() > 1 { format!("{{ {text} || true; }}") } else { text });
            single = Some(resolved);
            if line.value.contains("$MAINPID") || line.value.contains("${MAINPID}") {
                self.app.report(
                    key,
                    message!("line {line}: MAINPID is not set here; `kill_signal` names the signal of a stop", line = line.number),
                );
            }
        }
        let command: Value = match single {
            Some(ResolvedCommand::Words(words)) if lines.len() == 1 => words.into(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned(), texts.join(" && ")].into(),
        };
        let mut hook = Map::from_iter([("command".to_owned(), command)]);
        // systemd has no limit here, so ostler's longest time is used.
        let ms = self.timeout(limit).map_or(TIMEOUT_MS, |ms| ms.unwrap_or(VERY_LONG_MS));
        hook.insert("timeout".into(), ms.into());
        match own {
            "pre_start" if may_all_fail => drop(hook.insert("on_failure".into(), "continue".into())),
            "post_start" if !may_all_fail => drop(hook.insert("on_failure".into(), "abort".into())),
            _ => {}
        }
        self.app.set(own, hook);
        Ok(())
    }

    fn output(&mut self, key: &str, value: &str) {
        let own = if key == "StandardOutput" { "out_file" } else { "error_file" };
        match value.split_once(':') {
            Some(("append" | "file" | "truncate", path)) => {
                let path = self.plain(key, path);
                self.app.set(own, path);
            }
            _ if value == "null" => self.app.set(own, "/dev/null"),
            _ if matches!(value, "journal" | "inherit" | "kmsg" | "journal+console" | "syslog") => {}
            _ => self.app.report(key, message!("{value} has no equivalent", value)),
        }
    }
}

/// Keys that do not change how an app runs.
const HARMLESS: &[&str] = &[
    "Description",
    "Documentation",
    "SourcePath",
    "WantedBy",
    "RequiredBy",
    "UpheldBy",
    "Alias",
    "Also",
    "SyslogIdentifier",
    "DefaultDependencies",
    "CPUAccounting",
    "MemoryAccounting",
    "TasksAccounting",
    "IOAccounting",
    "BlockIOAccounting",
    "NotifyAccess",
];

/// Returns true for units of the system itself, which exist before any app.
fn is_of_system(unit: &str) -> bool {
    unit.ends_with(".target") || unit.starts_with("systemd-") || unit == "syslog.service"
}

fn limit(app: &mut App<'_>, key: &str, value: &str) {
    let bound = |text: &str| match text {
        "infinity" => Some(Value::from("unlimited")),
        text => text.parse::<u64>().map(Value::from).ok().or_else(|| size(text).map(Value::from)),
    };
    let bounds = match value.split_once(':') {
        Some((soft, hard)) => bound(soft).zip(bound(hard)).map(|(soft, hard)| Value::from(vec![soft, hard])),
        None => bound(value),
    };
    let name = key.trim_start_matches("Limit").to_ascii_lowercase();
    let Some(bounds) = bounds else { return app.report(key, message!("not a number")) };
    let limits = app.map.entry("rlimits").or_insert_with(|| Value::Object(Map::new()));
    if let Some(limits) = limits.as_object_mut() {
        limits.insert(name, bounds);
    }
}
