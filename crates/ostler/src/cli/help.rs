//! Help texts, from the table.

use std::fmt::Write;

use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use unicode_width::UnicodeWidthStr;

use super::commands::COMMANDS;
use super::exit_codes::exit_codes;
use super::options::GLOBAL;
use super::table::{AppOptions, Arg, Availability, Command, Group, Opt, Section};
use crate::text::wrap_words;

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
pub(crate) fn full_help(program: &str, width: Option<usize>) -> String {
    let mut out = String::from("\n");
    sentences(&mut out, &message!("Usage: {program} <command> [options] [-- arguments of the app]", program), width);
    for section in SECTIONS.iter().filter(|section| **section != Section::Later) {
        title(&mut out, section_title(*section));
        pairs(&mut out, COMMANDS.iter().filter(|c| c.section == *section).map(|c| (usage(c), translated(c.help).to_owned())), width);
    }
    out.push('\n');
    sentences(&mut out, &message!("Options of one command, with examples: {program} <command> -h", program), width);
    for group in GROUPS {
        title(&mut out, group_title(*group));
        pairs(&mut out, GLOBAL.iter().filter(|opt| opt.group == *group).map(|opt| (spelling(opt), translated(opt.help).to_owned())), width);
    }
    title(&mut out, section_title(Section::Later));
    words(&mut out, COMMANDS.iter().filter(|command| command.section == Section::Later).map(|command| command.name.to_owned()), width);
    let codes: Vec<_> = exit_codes().iter().map(|exit| format!("{} {}", exit.status.code(), translated(exit.short))).collect();
    out.push('\n');
    sentences(&mut out, &message!("Exit codes: {codes} (called as pm2: 0 or 1)", codes = codes.join(", ")), width);
    out.push('\n');
    out
}

/// Usage, examples and options of one command.
pub(crate) fn command_help(program: &str, command: &Command, width: Option<usize>) -> String {
    let mut out = String::from("\n");
    sentences(&mut out, &message!("Usage: {program} {command} [options]", program, command = usage(command)), width);
    out.push('\n');
    sentences(&mut out, &sentence(translated(command.help)), width);
    match command.state {
        Availability::Works => {}
        Availability::Elsewhere(what) => {
            out.push('\n');
            sentences(&mut out, &sentence(translated(what)), width);
        }
    }
    if !command.examples.is_empty() {
        title(&mut out, &message!("Examples"));
        for example in command.examples {
            let _ = writeln!(out, "    $ {program} {example}");
        }
    }
    let is_accepted = |opt: &&Opt| opt.group == Group::Accepted;
    let others = |group: Group| command.used_options().filter(move |opt| opt.group == group);
    let own = command.options.iter().filter(|opt| !is_accepted(opt));
    let mut own = own.chain(others(Group::Call)).peekable();
    if own.peek().is_some() {
        title(&mut out, &message!("Options"));
        pairs(&mut out, own.map(|opt| (spelling(opt), translated(opt.help).to_owned())), width);
    }
    for group in GROUPS.iter().filter(|group| !matches!(group, Group::Call | Group::Accepted)) {
        let mut options = others(*group).peekable();
        if options.peek().is_some() {
            title(&mut out, group_title(*group));
            pairs(&mut out, options.map(|opt| (spelling(opt), translated(opt.help).to_owned())), width);
        }
    }
    let own = command.options.iter().filter(is_accepted).map(|opt| opt.long);
    let mut accepted = own.chain(command.ignores.iter().copied()).peekable();
    if accepted.peek().is_some() {
        title(&mut out, &message!("Accepted for PM2, without effect"));
        words(&mut out, accepted.map(|long| format!("--{long}")), width);
    }
    if command.app_options == AppOptions::AttributesAndArguments {
        out.push_str("\n  ");
        out.push_str(&message!("Everything after -- belongs to the app."));
    }
    out.push('\n');
    sentences(
        &mut out,
        &message!("Every command accepts --json, -s, --no-color and -h; all options: {program} help --all", program),
        width,
    );
    out.push('\n');
    out
}

/// Returns the examples of all commands.
pub(crate) fn examples(program: &str) -> String {
    let mut out = String::new();
    for command in COMMANDS.iter().filter(|command| !command.examples.is_empty()) {
        let _ = writeln!(out, "\n- {}\n", sentence(translated(command.help)));
        for example in command.examples {
            let _ = writeln!(out, "    $ {program} {example}");
        }
    }
    out.push('\n');
    out
}

pub(super) const SECTIONS: &[Section] = &[Section::Control, Section::Inspect, Section::Keep, Section::Later];
pub(super) const GROUPS: &[Group] = &[Group::Call, Group::App, Group::Env, Group::Lifecycle, Group::Logs, Group::Watch, Group::Accepted];

/// Returns the heading in the language of this process.
pub(super) fn section_title(section: Section) -> &'static str {
    translated(match section {
        Section::Control => marked!("Start and stop"),
        Section::Inspect => marked!("Look"),
        Section::Keep => marked!("Keep and maintain"),
        Section::Later => marked!("Known from PM2, and not here"),
    })
}

/// Returns the heading in the language of this process.
pub(super) fn group_title(group: Group) -> &'static str {
    translated(match group {
        Group::Call => marked!("Options of every command"),
        Group::App => marked!("Program and arguments"),
        Group::Env => marked!("Environment"),
        Group::Lifecycle => marked!("Restart and stop"),
        Group::Logs => marked!("Logs"),
        Group::Watch => marked!("Watch"),
        Group::Accepted => marked!("Accepted for PM2's sake"),
    })
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
        Arg::Attached(name) => format!("[={name}]"),
        Arg::Required(name) | Arg::Numbers(name) => format!(" <{name}>"),
        Arg::Optional(name) | Arg::OptionalNumber(name) => format!(" [{name}]"),
    };
    format!("{}{value}", names.join(", "))
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn title(out: &mut String, title: &str) {
    let _ = writeln!(out, "\n  {title}:\n");
}

/// Words separated by commas, in lines.
fn words(out: &mut String, words: impl Iterator<Item = String>, width: Option<usize>) {
    let list = words.collect::<Vec<_>>().join(", ");
    for line in wrap_words(&list, width.unwrap_or(80).saturating_sub(4)) {
        let _ = writeln!(out, "    {line}");
    }
}

/// Adds a sentence, wrapped to the width of a terminal.
fn sentences(out: &mut String, text: &str, width: Option<usize>) {
    for line in wrap_words(text, width.unwrap_or(usize::MAX).saturating_sub(2)) {
        let _ = writeln!(out, "  {line}");
    }
}

/// Adds two columns. A long left side gets its own line; in a narrow terminal, every left side
/// does.
fn pairs(out: &mut String, rows: impl Iterator<Item = (String, String)>, width: Option<usize>) {
    /// Width of the left column in a terminal that is wide enough.
    const LEFT: usize = 38;
    const NARROW: usize = 72;
    let is_narrow = width.is_some_and(|width| width < NARROW);
    let left_columns = if is_narrow { 4 } else { LEFT };
    for (left, right) in rows {
        let mut right = wrap_words(&right, width.unwrap_or(usize::MAX).saturating_sub(left_columns + 5)).into_iter();
        if !is_narrow && left.width() <= LEFT {
            let _ = writeln!(out, "    {left:LEFT$} {}", right.next().unwrap_or_default());
        } else {
            wrap_words(&left, width.unwrap_or(usize::MAX).saturating_sub(4)).iter().for_each(|line| out.push_str(&format!("    {line}\n")));
        }
        for line in right {
            let _ = writeln!(out, "    {:left_columns$} {line}", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::lookup::find;

    fn help_of(name: &str) -> String {
        command_help("ostler", find(name).unwrap(), None)
    }

    #[test]
    fn options_named_by_config_keys_exist() {
        let text = crate::cli::reference::reference("ostler");
        let known: std::collections::BTreeSet<&str> = text.split(|c: char| !(c.is_alphanumeric() || c == '-')).collect();
        for key in ostler_config::keys::KEYS {
            for option in key.options {
                assert!(known.contains(option), "{option} of {}", key.name);
            }
        }
    }

    #[test]
    fn each_command_shows_its_own_options_after_its_examples() {
        for (command, has, has_not) in [
            (
                "start",
                vec!["--name <name>", "--instances <number>", "--max-memory-restart", "--watch", "--env <name", "--output"],
                vec!["--hp", "<tree>", "--parallel"],
            ),
            ("restart", vec!["--update-env", "--node-args", "--parallel", "--only", "--no-wait"], vec!["--container", "--wait-ip"]),
            ("deploy", vec!["-f, --force", "--only"], vec!["--name", "--parallel"]),
            ("list", vec!["--sort", "--mini-list"], vec!["--name", "--instances", "--force"]),
            ("startup", vec!["--user <user>", "--hp <path>", "--check"], vec!["--name", "--uid <user>"]),
            ("save", vec!["--force"], vec!["--name", "--sort"]),
            ("ping", vec!["--json"], vec!["--force", "Options:"]),
        ] {
            let text = help_of(command);
            has.iter().for_each(|word| assert!(text.contains(word), "{command} has no {word}:\n{text}"));
            has_not.iter().for_each(|word| assert!(!text.contains(word), "{command} has {word}:\n{text}"));
        }
        let text = help_of("start");
        let place = |word: &str| text.find(word).unwrap();
        assert!(place("Examples:") < place("Options:") && place("--name <name>") < place("--container"), "{text}");
        assert!(text.lines().filter(|line| line.trim_start().starts_with("--container")).count() == 0, "a list of its own:\n{text}");
    }

    #[test]
    fn unsupported_commands_are_listed_last() {
        let text = full_help("ostler", None);
        let place = |word: &str| text.find(word).unwrap();
        assert!(place("profile:cpu, ") > place("--max-memory-restart").max(place("--help")), "{text}");
        assert!(text.lines().any(|line| line.contains(", unlink")), "in few lines:\n{text}");
        assert!(COMMANDS.iter().all(|command| text.contains(command.name)));
    }
}
