//! `docs/reference/cli.md`, from the table.

use std::fmt::Write;

use ostler_core::environment::{SETTINGS, Setting};
use ostler_core::text::language::translated;
use ostler_core::{marked, message};

use super::commands::COMMANDS;
use super::exit_codes::exit_codes;
use super::help::{GROUPS, SECTIONS, group_title, section_title, spelling, usage};
use super::options::GLOBAL;
use super::table::{AppOptions, Availability, DaemonUse, Opt};

/// Returns the whole reference as Markdown.
pub(crate) fn reference(program: &str) -> String {
    let mut out = message!(
        "# Command line of {program}\n\n\
         Made by `{program} help --reference`; do not edit.\n\n\
         Options may come before or after the command. Everything after `--` belongs to the app.\n\n\
         | exit code | meaning |\n|---|---|\n",
        program
    );
    for exit in exit_codes() {
        let _ = writeln!(out, "| {} | {} |", exit.status.code(), translated(exit.meaning));
    }
    out.push_str(&message!("\nCalled as `pm2`, every failure is 1.\n"));
    for section in SECTIONS {
        let _ = writeln!(out, "\n## {}\n", section_title(*section));
        for command in COMMANDS.iter().filter(|command| command.section == *section) {
            match command.state {
                Availability::Works => {}
                Availability::Elsewhere(what) => {
                    let _ = writeln!(out, "- `{}`: {}", usage(command), translated(what));
                    continue;
                }
            }
            let daemon = match command.daemon {
                DaemonUse::Starts => marked!("Starts the daemon when none runs."),
                DaemonUse::Reads => marked!("Never starts a daemon (called as `pm2` it does)."),
                DaemonUse::Unused | DaemonUse::NoHome => "",
            };
            let help = translated(command.help);
            let help = match translated(daemon) {
                "" => message!("{help}.", help),
                daemon => message!("{help}. {daemon}", help, daemon),
            };
            let _ = writeln!(out, "### `{}`\n\n{help}\n", usage(command));
            options(&mut out, command.options.iter());
            let mut others: Vec<String> = command.listed_options().map(|opt| format!("`--{}`", opt.long)).collect();
            others.extend((command.app_options != AppOptions::None).then(|| message!("[the options of apps](#options)")));
            if !others.is_empty() {
                let _ = writeln!(out, "{}\n", message!("Also: {options}.", options = others.join(", ")));
            }
            for example in command.examples {
                let _ = writeln!(out, "    {program} {example}");
            }
            if !command.examples.is_empty() {
                out.push('\n');
            }
        }
    }
    let _ = writeln!(out, "\n## {}", message!("Options"));
    for group in GROUPS {
        let _ = writeln!(out, "\n### {}\n", group_title(*group));
        options(&mut out, GLOBAL.iter().filter(|opt| opt.group == *group));
    }
    out.push_str(translated(JSON));
    let _ = write!(out, "\n## {}\n\n{}", message!("Environment"), environment());
    out
}

/// Returns the table of the environment variables, as in `docs/environment.md`.
pub(crate) fn environment() -> String {
    let mut out = format!("{}\n|---|---|---|---|---|\n", message!("| variable | read by | values | default | effect |"));
    for Setting { name, reader, values, default, meaning } in SETTINGS {
        let [reader, values, default, meaning] = [reader, values, default, meaning].map(translated);
        let _ = writeln!(out, "| `{name}` | {reader} | {values} | {default} | {meaning} |");
    }
    out
}

/// The shapes of `--json`.
const JSON: &str = marked!(
    "
## `--json`

Stdout carries one JSON value on one line; messages go to stderr. Times are milliseconds, sizes bytes. `jlist` and
`prettylist` keep PM2's shape instead.

| command | value |
|---|---|
| `list`, and every command that prints the list | list of `{id, name, namespace, version, mode, pid, status, uptime_ms, restarts, unstable, monit: {cpu_pct, memory_bytes, processes}, user, watching, script, out_file, error_file, log_file, pid_file}` |
| `describe` | list of `{id, index, unique_id, spec, instance, learned, monit, files, user, home}` |
| `why` | list of `{id, name, status, restarts, exits: [{inc, pid, started, ended, ending, cause, last_lines}], failed_reload, cause, events}`; `cause` and `events` as in [events](../events.md) |
| `env` | `{NAME: value}`, one line per instance |
| `pid`, `id` | list of numbers |
| `ping` | `{msg, daemon: {version, pid, keeper_pid}}` |
| `flush`, `save` | list of paths |
| `validate` | `{valid, apps: [name], problems: [{severity, app, file, line, column, key, message}]}` |
| `diff` | `{apps: [{name, standing, instances: {is, declared}, changes: [{key, was, is}]}]}`; `standing` is new, changed, same or gone |
| any failure | `{error, exit_code}` |
"
);

fn options(out: &mut String, options: impl Iterator<Item = &'static Opt>) {
    let mut options = options.peekable();
    if options.peek().is_none() {
        return;
    }
    let _ = writeln!(out, "{}\n|---|---|", message!("| option | meaning |"));
    for opt in options {
        let _ = writeln!(out, "| `{}` | {} |", spelling(opt).replace('|', "\\|"), translated(opt.help).replace('|', "\\|"));
    }
    out.push('\n');
}
