//! A file of supervisor: its programs.

use ostler_core::args::split;
use serde_json::Value;

use super::ini::{GoesOn, sections};
use super::{App, ImportError, Imported, size};
use crate::Told;

pub(super) fn read(text: &str) -> Result<Imported, ImportError> {
    let mut told: Vec<Told> = Vec::new();
    let mut apps = Vec::new();
    for section in sections(text, GoesOn::Indent) {
        let Some(name) = section.name.strip_prefix("program:") else {
            if !matches!(section.name.as_str(), "supervisord" | "supervisorctl" | "unix_http_server" | "inet_http_server")
                && !section.name.starts_with("rpcinterface:")
            {
                told.push(Told { app: section.name.clone(), key: section.name.clone(), why: "there are programs only".into() });
            }
            continue;
        };
        let mut app = App::new(name.trim(), &mut told);
        let mut expands = false;
        let mut has_command = false;
        for (key, value) in &section.lines {
            // A comment behind a value begins with a blank and a semicolon.
            let value = value.split(" ;").next().unwrap_or_default().trim();
            let value = expand(&mut app, key, value, &mut expands);
            has_command |= one(&mut app, key, &value);
        }
        if expands {
            app.set("env_expand", true);
        }
        let map = app.map;
        if has_command {
            apps.push(map);
        } else {
            told.push(Told { app: name.to_owned(), key: "command".into(), why: "it has no command".into() });
        }
    }
    if apps.is_empty() { Err(ImportError::NoApps("[program:…]")) } else { Ok(Imported { apps, told }) }
}

/// `%(ENV_X)s` as `${X}`, the name of the program, `%%`. What else there is cannot be known here.
fn expand(app: &mut App<'_>, key: &str, value: &str, expands: &mut bool) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let end = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')).and_then(|(name, after)| {
            let letter = after.find(['s', 'd'])?;
            Some((name, after.get(letter + 1..)?))
        });
        let Some((name, after)) = end else {
            out.push('%');
            continue;
        };
        rest = after;
        match name.strip_prefix("ENV_") {
            Some(variable) => {
                *expands = true;
                out.push_str(&format!("${{{variable}}}"));
            }
            None if name == "program_name" || name == "group_name" => out.push_str(&app.name.clone()),
            None if name == "here" => out.push('.'),
            None => {
                app.tell(key, format!("%({name}) is a word of supervisor: write what it stands for"));
                out.push_str(&format!("%({name})"));
            }
        }
    }
    out.push_str(rest);
    out
}

/// Takes a line. True: it was the command.
fn one(app: &mut App<'_>, key: &str, value: &str) -> bool {
    let flag = |value: &str| matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1");
    let number = |app: &mut App<'_>, own: &str, factor: u64| match value.parse::<u64>() {
        Ok(number) => app.set(own, number.saturating_mul(factor)),
        Err(_) => app.tell(key, "it is no number"),
    };
    match key {
        "command" => {
            let words = split(&value.replace('\n', " "));
            return app.command(&words);
        }
        "directory" => app.set("cwd", value),
        "user" => app.set("uid", value),
        "umask" => app.set("umask", value),
        "environment" => environment(app, value),
        "numprocs" => number(app, "instances", 1),
        "autostart" => app.set("autostart", flag(value)),
        "autorestart" => match value.to_ascii_lowercase().as_str() {
            "unexpected" => drop(app.map.entry("stop_exit_codes").or_insert_with(|| vec![0].into())),
            word => {
                app.map.shift_remove("stop_exit_codes");
                app.set("autorestart", flag(word));
            }
        },
        "exitcodes" => {
            let codes: Vec<i32> = value.split(',').filter_map(|code| code.trim().parse().ok()).collect();
            // They count only where an expected end is no reason to restart, which is the usual.
            if app.map.get("autorestart").is_none() {
                app.set("stop_exit_codes", codes);
            }
        }
        "startsecs" => number(app, "min_uptime", 1000),
        "startretries" => number(app, "max_restarts", 1),
        "stopwaitsecs" => number(app, "kill_timeout", 1000),
        "stopsignal" => {
            let name = value.trim_start_matches("SIG");
            app.set("kill_signal", format!("SIG{name}"));
        }
        "stopasgroup" | "killasgroup" => {
            if flag(value) {
                let mode = if key == "stopasgroup" { "tree" } else { "mixed" };
                app.map.entry("kill_mode").or_insert_with(|| mode.into());
            }
        }
        "stdout_logfile" | "stderr_logfile" => {
            let own = if key == "stdout_logfile" { "out_file" } else { "error_file" };
            match value.to_ascii_lowercase().as_str() {
                "auto" | "syslog" => {}
                "none" => app.set(own, "/dev/null"),
                _ => app.set(own, value),
            }
        }
        "redirect_stderr" => {
            if flag(value)
                && let Some(file) = app.map.get("out_file").cloned()
            {
                app.set("error_file", file);
            } else if flag(value) {
                app.tell(key, "name the same file as out_file and error_file");
            }
        }
        "stdout_logfile_maxbytes" => {
            if let Some(size) = size(value).filter(|size| size != "0") {
                app.set("max_log_size", size);
            }
        }
        "stdout_logfile_backups" | "stderr_logfile_maxbytes" | "stderr_logfile_backups" | "process_name" => {}
        "priority" => app.tell(key, "order comes from depends_on"),
        _ => app.tell(key, "there is no such attribute"),
    }
    false
}

/// `A="x,y",B='z',C=1`.
fn environment(app: &mut App<'_>, value: &str) {
    let mut rest = value.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, next) = match after.chars().next() {
            Some(quote @ ('"' | '\'')) => match after[1..].split_once(quote) {
                Some((value, next)) => (value, next),
                None => return app.tell("environment", "a quote is not closed"),
            },
            _ => after.split_once(',').map_or((after, ""), |(value, _)| (value, &after[value.len()..])),
        };
        app.variable(name.trim(), Value::from(value.trim_end_matches(['\n', ' '])));
        rest = next.trim_start().trim_start_matches(',').trim_start();
    }
}
