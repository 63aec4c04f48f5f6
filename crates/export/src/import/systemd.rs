//! A service unit.

use ostler_core::args::split;
use serde_json::{Map, Value};

use super::ini::{GoesOn, sections};
use super::{App, ImportError, Imported, millis, size};

pub(super) fn read(text: &str, name: &str) -> Result<Imported, ImportError> {
    let sections = sections(text, GoesOn::Backslash);
    let service = sections.iter().find(|section| section.name == "Service").ok_or(ImportError::NoApps("[Service]"))?;
    let mut told = Vec::new();
    let stem = name.strip_suffix(".service").unwrap_or(name).trim_end_matches('@');
    let mut app = App::new(if stem.is_empty() { "app" } else { stem }, &mut told);
    let mut has_command = false;
    // Secrets and hooks may come several times; an empty value forgets those before it.
    for (key, value) in &service.lines {
        has_command |= one(&mut app, key, value);
    }
    for section in sections.iter().filter(|section| section.name == "Unit") {
        for (key, value) in &section.lines {
            match key.as_str() {
                "Description" | "Documentation" | "Wants" | "After" if is_of_system(value) => {}
                "Description" | "Documentation" => {}
                "StartLimitBurst" => match value.parse::<u32>() {
                    Ok(most) => app.set("max_restarts", most),
                    Err(_) => app.tell(key, "it is no number"),
                },
                "After" | "Requires" | "Wants" | "BindsTo" | "PartOf" => {
                    let others: Vec<&str> = value.split_whitespace().filter(|unit| !is_of_system(unit)).collect();
                    if !others.is_empty() {
                        app.tell(key, format!("{}: name those that are apps in depends_on", others.join(" ")));
                    }
                }
                _ => app.tell(key, "there is no such attribute"),
            }
        }
    }
    if !has_command {
        return Err(ImportError::NoApps("ExecStart"));
    }
    let map = app.map;
    Ok(Imported { apps: vec![map], told })
}

/// True for units of the system itself, which are there before any app.
fn is_of_system(value: &str) -> bool {
    value.split_whitespace().all(|unit| unit.ends_with(".target") || unit.starts_with("systemd-") || unit == "syslog.service")
}

/// The text without specifiers; those that cannot be known are told.
fn plain(app: &mut App<'_>, key: &str, text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some('n' | 'N' | 'p') => out.push_str(&app.name.clone()),
            Some(other) => {
                app.tell(key, format!("%{other} is a word of systemd: write what it stands for"));
                out.extend(['%', other]);
            }
            None => out.push('%'),
        }
    }
    out
}

/// Words of a command line, without the marks before it.
fn command(app: &mut App<'_>, key: &str, value: &str) -> (bool, Vec<String>) {
    let marks = value.find(|c: char| !"-@:+!|".contains(c)).unwrap_or(value.len());
    let (marks, line) = value.split_at(marks);
    if marks.contains(['+', '!', '@']) {
        app.tell(key, format!("the mark {marks:?} before the command has no equal"));
    }
    let text = plain(app, key, line);
    if text.replace("$$", "").contains('$') {
        app.tell(key, "variables in a command line are not replaced: write what they stand for, or let a shell read it");
    }
    (marks.contains('-'), split(&text.replace("$$", "$")))
}

/// Takes a line. True: it was the command.
fn one(app: &mut App<'_>, key: &str, value: &str) -> bool {
    match key {
        "ExecStart" => {
            let (_, words) = command(app, key, value);
            return app.command(&words);
        }
        "ExecStartPre" | "ExecStartPost" | "ExecStop" | "ExecStopPost" => hook(app, key, value),
        "WorkingDirectory" => {
            let path = plain(app, key, value.trim_start_matches('-'));
            app.set("cwd", path);
        }
        "User" => app.set("uid", value),
        "Group" => app.set("gid", value),
        "Environment" => {
            for word in split(&plain(app, key, value)) {
                match word.split_once('=') {
                    Some((name, value)) => app.variable(name, value),
                    None => app.tell(key, "an assignment has no `=`"),
                }
            }
        }
        "EnvironmentFile" => {
            let path = plain(app, key, value.trim_start_matches('-'));
            let files = app.map.entry("env_file").or_insert_with(|| Value::Array(Vec::new()));
            if let Some(files) = files.as_array_mut() {
                files.push(path.into());
            }
        }
        "Restart" => match value {
            "no" | "" => app.set("autorestart", false),
            "always" => {}
            "on-failure" => app.set("stop_exit_codes", vec![0]),
            other => app.tell(key, format!("{other}: there is always, on-failure and no")),
        },
        "RestartPreventExitStatus" => {
            let codes: Vec<i32> = value.split_whitespace().filter_map(|code| code.parse().ok()).collect();
            app.set("stop_exit_codes", codes);
        }
        "Type" => match value {
            "simple" | "exec" | "" => {}
            "notify" | "notify-reload" => app.set("ready", "notify"),
            "oneshot" => app.set("autorestart", false),
            other => app
                .tell(key, format!("{other}: what forks itself into the background cannot be supervised; have it stay in the foreground")),
        },
        "KillSignal" => app.set("kill_signal", value),
        "KillMode" => match value {
            "control-group" | "mixed" | "process" => app.set("kill_mode", value),
            other => app.tell(key, format!("{other} has no equal")),
        },
        "RestartSec" | "TimeoutStopSec" | "TimeoutStartSec" | "WatchdogSec" | "RuntimeMaxSec" => {
            let own = match key {
                "RestartSec" => "restart_delay",
                "TimeoutStopSec" => "kill_timeout",
                "TimeoutStartSec" => "listen_timeout",
                "WatchdogSec" => "watchdog",
                _ => "max_lifetime",
            };
            match millis(value) {
                Some(ms) => app.set(own, ms),
                None if value == "infinity" => app.tell(key, "no limit is the usual, or cannot be"),
                None => app.tell(key, "it is no time"),
            }
        }
        "Nice" => match value.parse::<i32>() {
            Ok(nice) => app.set("nice", nice),
            Err(_) => app.tell(key, "it is no number"),
        },
        "UMask" => app.set("umask", value),
        "TasksMax" => match value.parse::<u32>() {
            Ok(most) => app.set("pids_max", most),
            Err(_) => app.tell(key, "only a number has an equal"),
        },
        "IOWeight" => match value.parse::<u32>() {
            Ok(weight) => app.set("io_weight", weight),
            Err(_) => app.tell(key, "it is no number"),
        },
        "MemoryMax" | "MemoryLimit" => match size(value).or_else(|| value.ends_with('%').then(|| value.to_owned())) {
            Some(size) => app.set("memory_max", size),
            None => app.tell(key, "it is no size"),
        },
        "CPUQuota" => match value.trim_end_matches('%').parse::<u32>() {
            Ok(percent) => app.set("cpu_quota", percent),
            Err(_) => app.tell(key, "it is no number"),
        },
        "StandardOutput" | "StandardError" => output(app, key, value),
        "Slice" => app.set("namespace", value.trim_end_matches(".slice")),
        key if key.starts_with("Limit") => limit(app, key, value),
        key => app.tell(key, "there is no such attribute"),
    }
    false
}

fn hook(app: &mut App<'_>, key: &str, value: &str) {
    let own = match key {
        "ExecStartPre" => "pre_start",
        "ExecStartPost" => "post_start",
        "ExecStop" => "pre_stop",
        _ => "post_stop",
    };
    let (may_fail, words) = command(app, key, value);
    if words.is_empty() {
        app.map.shift_remove(own);
        return;
    }
    if app.map.contains_key(own) {
        app.tell(key, format!("{own} is one command: put all of them into one script"));
        return;
    }
    let mut hook = Map::new();
    hook.insert("command".into(), words.into());
    if own == "pre_start" && may_fail {
        hook.insert("on_failure".into(), "continue".into());
    }
    app.set(own, hook);
}

fn output(app: &mut App<'_>, key: &str, value: &str) {
    let own = if key == "StandardOutput" { "out_file" } else { "error_file" };
    match value.split_once(':') {
        Some(("append" | "file" | "truncate", path)) => app.set(own, path),
        _ if value == "null" => app.set(own, "/dev/null"),
        _ if matches!(value, "journal" | "inherit" | "") => {}
        _ => app.tell(key, format!("{value} has no equal")),
    }
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
    let Some(bounds) = bounds else { return app.tell(key, "it is no number") };
    let limits = app.map.entry("rlimits").or_insert_with(|| Value::Object(Map::new()));
    if let Some(limits) = limits.as_object_mut() {
        limits.insert(name, bounds);
    }
}
