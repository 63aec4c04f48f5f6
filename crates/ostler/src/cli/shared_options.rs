//! Use of the global options by each command.
//!
//! PM2 accepts every option with every command, so `stop all --namespace staging` stops all apps.
//! Here the row of a command names the global options that it uses. Help, completion and reference
//! show these, and any other option is rejected. Called as `pm2`, the program only warns.

use super::options::GLOBAL;
use super::table::{AppOptions, AttributeEffect, Command, Group, Opt};

/// Options that have an effect with every command.
const EVERYWHERE: &[&str] = &["json", "silent", "color", "no-color", "help", "version", "V", "hosts", "batch"];

/// Options of commands that read a config file.
pub(super) const APP_FILE: &[&str] = &["only", "allow-foreign-file"];

/// Options of commands that start the apps of a config file or of the command line.
pub(super) const LAUNCH: &[&str] = &["env", "yes", "write"];

/// Options of commands that print the list of apps.
pub(super) const TABLE: &[&str] = &["mini-list", "sort"];

/// Options of commands that install a module.
pub(super) const MODULE: &[&str] = &["uid", "gid", "user"];

/// Use of a global option by a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OptionUse {
    /// Every command uses it.
    Everywhere,
    /// This command uses it.
    Used,
    /// The command accepts it without an effect, because scripts for PM2 pass it.
    Ignored,
    /// The command has no use for it.
    NoEffect,
}

impl Command {
    /// Returns the use of a global option.
    pub(super) fn use_of(&self, opt: &Opt) -> OptionUse {
        let is_of_app = opt.sets != AttributeEffect::Nothing && self.app_options != AppOptions::None;
        if EVERYWHERE.contains(&opt.long) {
            OptionUse::Everywhere
        } else if opt.group == Group::Accepted || self.ignores.contains(&opt.long) {
            OptionUse::Ignored
        } else if is_of_app || self.shared.iter().any(|list| list.contains(&opt.long)) {
            OptionUse::Used
        } else {
            OptionUse::NoEffect
        }
    }

    /// Returns the global options that this command uses and others do not.
    pub(super) fn used_options(&self) -> impl Iterator<Item = &'static Opt> {
        GLOBAL.iter().filter(|opt| self.use_of(opt) == OptionUse::Used)
    }

    /// Returns these options without the options of apps, which a reference does not repeat.
    pub(super) fn listed_options(&self) -> impl Iterator<Item = &'static Opt> {
        let has_app_options = self.app_options != AppOptions::None;
        self.used_options().filter(move |opt| !has_app_options || opt.sets == AttributeEffect::Nothing)
    }

    /// Returns true if the command has an own option of this name.
    pub(super) fn has_own(&self, opt: &Opt) -> bool {
        self.options.iter().any(|own| own.long == opt.long)
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::Call;
    use super::super::commands::COMMANDS;
    use super::super::help::{command_help, spelling, usage};
    use super::super::table::{Arg, Availability};
    use super::super::{Parsed, candidates, parse, reference};
    use super::*;

    fn call(line: &str) -> Call {
        match parse(line.split(' ').map(Into::into).collect()) {
            Ok(Parsed::Run(call)) => call,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_without_effect_are_detected() {
        for (line, expected) in [
            ("stop all --namespace staging", None),
            ("delete z --name other", Some("name")),
            ("scale x 3 --parallel 2", Some("parallel")),
            ("scale x 3 --parallel 2 --hosts a,b", None),
            ("stop api --kill-timeout 3s", Some("kill-timeout")),
            ("stop api --watch --wait-ready", None),
            ("list --namespace staging", Some("namespace")),
            ("kill --force", Some("force")),
            ("save --force --json", None),
            ("flush api --namespace staging", Some("namespace")),
            ("restart api --update-env --trace --attach --force", None),
            ("startup -u deploy --hp /home/deploy", None),
            ("describe api --env production", Some("env")),
            ("list --watch", None),
            ("logs --lines 5 --raw", None),
            ("serve --only api", Some("only")),
        ] {
            assert_eq!(call(line).without_effect().map(|opt| opt.long), expected, "{line}");
        }
    }

    #[test]
    fn rows_name_existing_options() {
        for command in COMMANDS {
            let shared = command.shared.iter().copied().flatten();
            for name in shared.clone().chain(command.ignores).chain(EVERYWHERE) {
                assert!(GLOBAL.iter().any(|opt| opt.long == *name), "{}: {name}", command.name);
            }
            let repeated =
                shared.clone().find(|name| command.ignores.contains(name) || shared.clone().filter(|other| other == name).count() > 1);
            assert_eq!(repeated, None, "{}", command.name);
        }
        for opt in GLOBAL {
            let has_effect = |command: &Command| command.use_of(opt) != OptionUse::NoEffect;
            assert!(COMMANDS.iter().any(has_effect), "--{} has no effect anywhere", opt.long);
        }
    }

    /// Parser, help, completion and reference agree about each global option of each command.
    #[test]
    fn each_option_of_each_command_is_described_where_it_works() {
        let reference = reference("ostler");
        let is_row = |line: &str, opt: &Opt| {
            line.trim_start().strip_prefix(&spelling(opt)).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        let has_line = |text: &str, opt: &Opt| text.lines().any(|line| is_row(line, opt));
        for command in COMMANDS.iter().filter(|command| matches!(command.state, Availability::Works)) {
            let help = command_help("ostler", command, None);
            let (shown, unused) = help.split_once("Accepted for PM2").unwrap_or((&help, ""));
            let (_, section) = reference.split_once(&format!("\n### `{}`\n", usage(command))).unwrap();
            let section = section.split("\n#").next().unwrap();
            let is_completed = |opt: &Opt| {
                let words = [command.name.to_owned(), format!("--{}", opt.long)];
                candidates(&words, &[]).contains(&words[1])
            };
            for opt in GLOBAL.iter().filter(|opt| opt.long.len() > 1 && !matches!(opt.long, "help" | "version") && !command.has_own(opt)) {
                let name = format!("{} --{}", command.name, opt.long);
                let value = if opt.arg == Arg::None { "" } else { "=1" };
                let targets = " 1".repeat(command.min_args);
                let rejected = call(&format!("{}{targets} --{}{value}", command.name, opt.long)).without_effect().is_some();
                let is_listed = section.contains(&format!("`--{}`", opt.long))
                    || opt.sets != AttributeEffect::Nothing && section.contains("the options of apps");
                let (is_used, is_ignored, is_rejected) = match command.use_of(opt) {
                    OptionUse::Everywhere => (false, false, false),
                    OptionUse::Used => (true, false, false),
                    // A list for all commands has the options that PM2 alone knows.
                    OptionUse::Ignored => (false, opt.group != Group::Accepted, false),
                    OptionUse::NoEffect => (false, false, true),
                };
                assert_eq!(rejected, is_rejected, "{name}: parser");
                assert_eq!(has_line(shown, opt), is_used, "{name}: help\n{help}");
                assert_eq!(
                    unused.split([',', '\n']).any(|word| word.trim() == format!("--{}", opt.long)),
                    is_ignored,
                    "{name}: help\n{help}"
                );
                assert_eq!(is_completed(opt), is_used || command.use_of(opt) == OptionUse::Everywhere, "{name}: completion");
                assert_eq!(is_listed && opt.group != Group::Accepted, is_used, "{name}: reference\n{section}");
            }
        }
    }
}
