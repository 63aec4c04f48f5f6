//! A file of supervisor: its programs.

use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use serde_json::{Map, Value};

use super::ini::{Assignment, Section, Syntax, sections};
use super::keys::{has_effect, reason_for_skipping, supervisor::KEYS};
use super::python::{ExpressionValues, format, split};
use super::{App, FileContext, ImportError, Imported, size};
use crate::Notice;

/// Sections about supervisor itself, without information about a program.
const OF_ITSELF: &[&str] = &["supervisord", "supervisorctl", "unix_http_server", "inet_http_server", "include"];
/// Largest number of processes of one program.
const MOST_PROCESSES: u64 = 1000;

pub(super) fn read(text: &str, place: &FileContext<'_>) -> Result<Imported, ImportError> {
    let mut notices: Vec<Notice> = Vec::new();
    let mut all = sections(text, Syntax::Supervisor);
    for pattern in included(&all, place, &mut notices) {
        let files = (place.files)(&pattern);
        if files.is_empty() {
            notices.push(Notice::new("-", "include", message!("{pattern}: no readable file matches", pattern)));
        }
        for (_, text) in files {
            all.extend(sections(&text, Syntax::Supervisor));
        }
    }
    let shared = all.iter().filter(|section| section.name == "supervisord").flat_map(|section| &section.lines);
    let shared: Vec<Assignment> = shared.filter(|line| line.key == "environment").cloned().collect();
    let mut apps = Vec::new();
    for section in &all {
        let Some(name) = section.name.strip_prefix("program:") else {
            if let Some(why) = no_program(&section.name) {
                notices.push(Notice::new(section.name.as_str(), section.name.as_str(), translated(why)));
            }
            continue;
        };
        let name = name.trim();
        let group = group_of(name, &all);
        apps.extend(Program { name, group: group.as_deref(), shared: &shared, section, place }.apps(&mut notices)?);
    }
    if apps.is_empty() { Err(ImportError::NoApps("[program:…]")) } else { Ok(Imported { apps, notices }) }
}

/// Returns the patterns of `[include]`, relative to the folder of the file.
fn included(all: &[Section], place: &FileContext<'_>, notices: &mut Vec<Notice>) -> Vec<String> {
    let values = ExpressionValues { place, program: "", group: "", process: 0 };
    let lines = all.iter().filter(|section| section.name == "include").flat_map(|section| &section.lines);
    let mut patterns = Vec::new();
    for line in lines.filter(|line| line.key == "files") {
        let mut unknown = Vec::new();
        let text = format(&line.value, &values, &mut unknown).text;
        for word in unknown {
            notices.push(Notice::new("-", "include", message!("%({word}) is not supported", word)));
        }
        patterns.extend(text.split_whitespace().map(str::to_owned));
    }
    patterns
}

/// Returns the reason why a section is left out; `None`: it concerns supervisor itself, or is read
/// elsewhere.
fn no_program(section: &str) -> Option<&'static str> {
    let kind = section.split(':').next().unwrap_or(section);
    match kind {
        _ if OF_ITSELF.contains(&section) => None,
        "group" | "rpcinterface" | "ctlplugin" => None,
        "eventlistener" => Some(marked!("ostler has no event listeners: see `alerts`, and `ostler events`")),
        "fcgi-program" => Some(marked!("ostler opens no socket for FastCGI on standard input: see `listen`")),
        _ => Some(marked!("supervisor has no such section")),
    }
}

/// Returns the group of `[group:x]` that contains this program.
fn group_of(program: &str, all: &[Section]) -> Option<String> {
    let has = |section: &&Section| {
        let programs = section.lines.iter().rev().find(|line| line.key == "programs");
        section.name.starts_with("group:") && programs.is_some_and(|line| line.value.split(',').any(|name| name.trim() == program))
    };
    all.iter().find(has).and_then(|section| section.name.strip_prefix("group:")).map(|name| name.trim().to_owned())
}

struct Program<'a> {
    name: &'a str,
    group: Option<&'a str>,
    /// `environment` of `[supervisord]`.
    shared: &'a [Assignment],
    section: &'a Section,
    place: &'a FileContext<'a>,
}

impl Program<'_> {
    /// Returns the value of a key as written; the last one counts.
    fn value(&self, key: &str) -> Option<&str> {
        self.section.lines.iter().rev().find(|line| line.key == key).map(|line| line.value.as_str())
    }

    /// Returns one app, or one for each process if a value contains the number of the process.
    fn apps(&self, notices: &mut Vec<Notice>) -> Result<Vec<Map<String, Value>>, ImportError> {
        let number = |key: &str, usual: u64| self.value(key).map_or(usual, |value| value.parse().unwrap_or(usual));
        let (count, first) = (number("numprocs", 1).min(MOST_PROCESSES), number("numprocs_start", 0));
        let has_number = |line: &&Assignment| line.key != "process_name" && line.value.contains("%(process_num)");
        let differ = count > 1 && self.section.lines.iter().chain(self.shared).any(|line| has_number(&line));
        let mut apps = Vec::new();
        let each = if differ { first..first + count } else { first..first + 1 };
        for process in each {
            let values = ExpressionValues { place: self.place, program: self.name, group: self.group.unwrap_or(self.name), process };
            let name = match self.value("process_name") {
                Some(name) if count == 1 || differ => format(name, &values, &mut Vec::new()).text,
                _ if differ => format!("{}_{process:02}", self.name),
                _ => self.name.to_owned(),
            };
            let before = notices.len();
            apps.extend(self.app(&name, &values, if differ { 1 } else { count }, notices)?);
            // The second process has the same reports.
            if process > first {
                notices.truncate(before);
            }
        }
        Ok(apps)
    }

    fn app(
        &self,
        name: &str,
        values: &ExpressionValues<'_>,
        count: u64,
        notices: &mut Vec<Notice>,
    ) -> Result<Option<Map<String, Value>>, ImportError> {
        let mut app = App::new(name, notices);
        let mut reader = Reader { expands: false, redirects: false, has_command: false };
        // The program takes precedence over supervisord.
        for line in self.shared.iter().chain(&self.section.lines) {
            if !has_effect(KEYS, &line.key) {
                app.report(&line.key, reason_for_skipping(KEYS, &line.key));
                continue;
            }
            let mut unknown = Vec::new();
            let value = format(&line.value, values, &mut unknown);
            for word in unknown {
                app.report(&line.key, message!("%({word}) is not supported: write its value", word));
            }
            reader.expands |= value.has_variable;
            reader.one(&mut app, line, &value.text)?;
        }
        if !reader.has_command {
            app.report("command", message!("it has no command"));
            return Ok(None);
        }
        if count > 1 {
            app.set("instances", count);
        }
        self.finish(&mut app, &reader);
        Ok(Some(app.map))
    }

    /// Writes the defaults of supervisor that differ from ostler's.
    fn finish(&self, app: &mut App<'_>, reader: &Reader) {
        let number = |key: &str, usual: u64| self.value(key).and_then(|value| value.parse::<u64>().ok()).unwrap_or(usual);
        if let Some(group) = self.group {
            app.set("namespace", group);
        }
        let restart = self.value("autorestart").unwrap_or("unexpected").to_ascii_lowercase();
        if restart == "unexpected" {
            let codes = self.value("exitcodes").unwrap_or("0");
            let codes: Vec<i32> =
                codes.split(',').filter_map(|code| code.trim().parse().ok()).filter(|code| (0..=255).contains(code)).collect();
            app.set("stop_exit_codes", codes);
        } else if !is_on(&restart) {
            app.set("autorestart", false);
        }
        // N retries are N + 1 starts; each retry waits one second longer than the one before.
        app.set("max_restarts", number("startretries", 3).saturating_add(1).min(1_000_000_000));
        app.set("exp_backoff_restart_delay", 1000);
        let signal = self.value("stopsignal").unwrap_or("TERM").to_ascii_uppercase();
        app.set("kill_signal", if signal.starts_with("SIG") || signal.parse::<u8>().is_ok() { signal } else { format!("SIG{signal}") });
        app.set("kill_timeout", number("stopwaitsecs", 10).saturating_mul(1000));
        app.set("kill_mode", if self.value("stopasgroup").is_some_and(is_on) { "tree" } else { "mixed" });
        if reader.redirects {
            match app.map.get("out_file").cloned() {
                Some(file) => app.set("error_file", file),
                None => app.report("redirect_stderr", message!("set out_file and error_file to the same file")),
            }
        }
        self.rotation(app);
        if reader.expands {
            app.set("env_expand", true);
            // References in `script` stay unchanged.
            if app.map.get("script").and_then(Value::as_str).is_some_and(|script| script.contains('$')) {
                let mut words: Vec<Value> = vec![app.map.get("script").cloned().unwrap_or_default()];
                words.splice(0..0, app.map.shift_remove("interpreter"));
                words.extend(app.map.get("args").and_then(Value::as_array).into_iter().flatten().cloned());
                app.set("script", "/usr/bin/env");
                app.set("args", words);
            }
        }
    }

    fn rotation(&self, app: &mut App<'_>) {
        let max = self.value("stdout_logfile_maxbytes").map_or(Some("50M".to_owned()), size);
        match max.as_deref() {
            Some("0") => app.set("log_rotate", false),
            Some(max) => {
                let retain = self.value("stdout_logfile_backups").and_then(|count| count.parse::<u64>().ok()).unwrap_or(10);
                app.set("log_rotate", Map::from_iter([("max_size".to_owned(), Value::from(max)), ("retain".to_owned(), retain.into())]));
            }
            None => app.report("stdout_logfile_maxbytes", message!("not a valid size")),
        }
    }
}

fn is_on(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1")
}

/// State of reading one program.
struct Reader {
    expands: bool,
    redirects: bool,
    has_command: bool,
}

impl Reader {
    fn one(&mut self, app: &mut App<'_>, line: &Assignment, value: &str) -> Result<(), ImportError> {
        let key = line.key.as_str();
        let unclosed = || ImportError::Malformed(message!("line {line}: a quote is not closed in {key}", line = line.number, key));
        match key {
            "command" => {
                let words = split(value).ok_or_else(unclosed)?;
                self.has_command = app.command(&words);
            }
            "environment" => {
                for (name, value) in assignments(value).ok_or_else(unclosed)? {
                    app.variable(&name, value);
                }
            }
            "directory" => app.set("cwd", value),
            "user" => app.set("uid", value),
            "umask" => app.set("umask", value),
            "autostart" => app.set("autostart", is_on(value)),
            "startsecs" => match value.parse::<u64>() {
                Ok(seconds) => app.set("min_uptime", seconds.saturating_mul(1000)),
                Err(_) => app.report(key, message!("not a number of seconds")),
            },
            "stdout_logfile" | "stderr_logfile" => {
                let own = if key == "stdout_logfile" { "out_file" } else { "error_file" };
                match value.to_ascii_lowercase().as_str() {
                    "auto" | "syslog" | "" => {}
                    "none" => app.set(own, "/dev/null"),
                    _ => app.set(own, value),
                }
            }
            "redirect_stderr" => self.redirects = is_on(value),
            // An invalid number counts as the default.
            "numprocs" | "numprocs_start" | "startretries" | "stopwaitsecs" | "stdout_logfile_backups" => {
                if value.parse::<u64>().is_err() {
                    app.report(key, message!("not a number: the default of supervisor is used"));
                }
            }
            "process_name" | "autorestart" | "exitcodes" | "stopsignal" | "stopasgroup" | "killasgroup" | "stdout_logfile_maxbytes" => {}
            key => app.report(key, reason_for_skipping(KEYS, key)),
        }
        Ok(())
    }
}

/// Reads `A="x,y",B='z',C=1`. `None`: a quote is not closed.
fn assignments(text: &str) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    let mut rest = text.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let mut value = String::new();
        let mut quote = None;
        let mut end = after.len();
        for (at, c) in after.char_indices() {
            match (quote, c) {
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                (None, ',' | '\n') => {
                    end = at;
                    break;
                }
                (_, c) => value.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        let is_quoted = after.starts_with(['"', '\'']);
        all.push((name.trim().to_owned(), if is_quoted { value } else { value.trim_end().to_owned() }));
        rest = after.get(end..).unwrap_or_default().trim_start_matches([',', '\n', ' ', '\t']);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_assignments_parse_with_quotes() {
        let pairs = |text: &str| assignments(text);
        let own = |pairs: &[(&str, &str)]| Some(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect());
        assert_eq!(pairs(r#"A="x,y",B='z',C=1"#), own(&[("A", "x,y"), ("B", "z"), ("C", "1")]));
        assert_eq!(pairs("A=\"x=1\",\nB=2 ,\n C = \"\","), own(&[("A", "x=1"), ("B", "2"), ("C", "")]));
        assert_eq!(pairs("A=\"x"), None);
    }
}
