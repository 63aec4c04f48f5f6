//! Help texts, from the table.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::commands::COMMANDS;
use super::options::GLOBAL;
use super::table::{Arg, Command, Group, Opt, Section, State};

/// PM2's short usage.
pub(crate) fn short_help(program: &str) -> String {
    format!(
        "usage: {program} [options] <command>\n\n\
         {program} -h, --help             all available commands and options\n\
         {program} examples               display {program} usage examples\n\
         {program} <command> -h           help on a specific command\n\n\
         Access {program} files in ~/.{program}\n"
    )
}

/// Every option and command.
pub(crate) fn full_help(program: &str) -> String {
    let mut out = format!("\n  Usage: {program} <command> [options] [-- arguments of the app]\n");
    for section in SECTIONS {
        let _ = writeln!(out, "\n  {}:\n", section_title(*section));
        pairs(&mut out, COMMANDS.iter().filter(|c| c.section == *section).map(|c| (usage(c), c.help.to_owned())));
    }
    for group in GROUPS {
        let _ = writeln!(out, "\n  {}:\n", group_title(*group));
        pairs(&mut out, GLOBAL.iter().filter(|opt| opt.group == *group).map(|opt| (spelling(opt), opt.help.to_owned())));
    }
    let _ = writeln!(out, "\n  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no daemon, 4 not found (called as pm2: 0 or 1)\n");
    out
}

/// Usage, own options and examples of one command.
pub(crate) fn command_help(program: &str, command: &Command) -> String {
    let mut out = format!("\n  Usage: {program} {} [options]\n\n  {}\n", usage(command), sentence(command.help));
    if matches!(command.state, State::Missing) {
        out.push_str("\n  Not available yet.\n");
    }
    if !command.options.is_empty() {
        out.push_str("\n  Options:\n\n");
        pairs(&mut out, command.options.iter().map(|opt| (spelling(opt), opt.help.to_owned())));
    }
    if !command.examples.is_empty() {
        out.push_str("\n  Examples:\n\n");
        for example in command.examples {
            let _ = writeln!(out, "    $ {program} {example}");
        }
    }
    let _ = writeln!(out, "\n  Options for every command: {program} --help\n");
    out
}

/// The examples of all commands.
pub(crate) fn examples(program: &str) -> String {
    let mut out = String::new();
    for command in COMMANDS.iter().filter(|command| !command.examples.is_empty()) {
        let _ = writeln!(out, "\n- {}\n", sentence(command.help));
        for example in command.examples {
            let _ = writeln!(out, "    $ {program} {example}");
        }
    }
    out.push('\n');
    out
}

pub(super) const SECTIONS: &[Section] = &[Section::Control, Section::Inspect, Section::Keep, Section::Later];
pub(super) const GROUPS: &[Group] = &[Group::Call, Group::App, Group::Env, Group::Lifecycle, Group::Logs, Group::Watch, Group::Accepted];

pub(super) const fn section_title(section: Section) -> &'static str {
    match section {
        Section::Control => "Start and stop",
        Section::Inspect => "Look",
        Section::Keep => "Keep and maintain",
        Section::Later => "Known from PM2, not available yet",
    }
}

pub(super) const fn group_title(group: Group) -> &'static str {
    match group {
        Group::Call => "Options of every command",
        Group::App => "What to run",
        Group::Env => "Environment",
        Group::Lifecycle => "Restart and stop",
        Group::Logs => "Logs",
        Group::Watch => "Watch",
        Group::Accepted => "Accepted for PM2's sake",
    }
}

/// `delete|del <id|name...>`.
pub(super) fn usage(command: &Command) -> String {
    let names = std::iter::once(command.name).chain(command.aliases.iter().copied()).collect::<Vec<_>>().join("|");
    if command.args.is_empty() { names } else { format!("{names} {}", command.args) }
}

/// `-n, --name <name>`.
pub(super) fn spelling(opt: &Opt) -> String {
    let mut names: Vec<String> = opt.short.map(|letter| format!("-{letter}")).into_iter().collect();
    if opt.long.len() > 1 {
        names.push(format!("--{}", opt.long));
    }
    names.extend(opt.aliases.iter().map(|alias| format!("--{alias}")));
    let value = match opt.arg {
        Arg::None => String::new(),
        Arg::Required(name) | Arg::Numbers(name) => format!(" <{name}>"),
        Arg::Optional(name) | Arg::OptionalNumber(name) => format!(" [{name}]"),
    };
    format!("{}{value}", names.join(", "))
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Two columns; a long left side gets a line of its own.
fn pairs(out: &mut String, rows: impl Iterator<Item = (String, String)>) {
    const LEFT: usize = 38;
    for (left, right) in rows {
        if left.width() > LEFT {
            let _ = writeln!(out, "    {left}\n    {:LEFT$} {right}", "");
        } else {
            let _ = writeln!(out, "    {left:LEFT$} {right}");
        }
    }
}
