//! Effects of the global options, by command.
//!
//! PM2 accepts every option with every command, so `stop all --namespace staging` stops all apps.
//! Here an option that the command does not use is rejected; called as `pm2`, the program only
//! warns.

use super::call::Call;
use super::table::{AttributeEffect, Group, Opt};

/// Options that have an effect with every command.
const EVERYWHERE: &[&str] = &["json", "silent", "color", "no-color", "help", "version", "V", "hosts", "batch"];

/// Commands that describe apps: the options that set an attribute have an effect.
const DESCRIBE: &[&str] = &["start", "dev", "runtime", "serve", "restart", "reload", "startOrRestart", "startOrReload"];

/// Commands that start processes or replace them.
const LAUNCH: &[&str] = &["start", "runtime", "serve", "restart", "reload", "startOrRestart", "startOrReload"];

/// Commands that act on apps, by name or by the file that names them.
const ACT: &[&str] = &["stop", "delete", "restart", "reload"];

/// Commands that read a configuration file.
const READ: &[&str] = &["stop", "delete", "validate", "diff", "export", "import", "deploy", "up", "down"];

/// Commands that may use the file of a project, as Compose does.
const PROJECT: &[&str] = &["list", "logs"];

/// Commands that print the list of apps.
const PRINT: &[&str] = &[
    "list",
    "start",
    "serve",
    "stop",
    "delete",
    "restart",
    "reload",
    "startOrRestart",
    "startOrReload",
    "scale",
    "reset",
    "resurrect",
    "send",
    "sendSignal",
    "update",
    "install",
    "uninstall",
    "module:update",
];

/// Options and the commands with which they have an effect.
const EFFECTS: &[(&[&str], &[&[&str]])] = &[
    (&["env"], &[DESCRIBE, &["up", "validate", "diff", "export"]]),
    (&["update-env"], &[LAUNCH]),
    (&["namespace"], &[ACT, &["reset", "web"]]),
    (&["watch"], &[&["stop", "list"]]),
    (&["wait-ready"], &[&["stop", "delete"]]),
    (&["uid", "gid"], &[&["install", "module:update"]]),
    (&["user"], &[&["install", "module:update", "startup", "unstartup", "logrotate"]]),
    (&["hp"], &[&["startup", "unstartup", "logrotate"]]),
    (&["service-name", "wait-ip"], &[&["startup", "unstartup"]]),
    (&["only"], &[DESCRIBE, READ]),
    (&["allow-foreign-file"], &[DESCRIBE, READ, PROJECT]),
    (&["force"], &[LAUNCH, &["save", "ecosystem", "import", "deploy", "compat"]]),
    (&["parallel"], &[ACT, &["startOrReload", "pull", "forward", "backward"]]),
    (&["no-wait", "yes"], &[LAUNCH, &["scale"]]),
    (&["attach"], &[ACT, &["start", "serve"]]),
    (&["mini-list"], &[PRINT]),
    (&["sort"], &[PRINT, &["monit"]]),
    (&["write"], &[LAUNCH]),
    (&["no-daemon"], &[LAUNCH, ACT, &["scale", "resurrect", "logs", "monit", "attach"]]),
];

/// Returns the first option of the call that has no effect with its command.
pub(crate) fn without_effect(call: &Call) -> Option<&'static Opt> {
    let is_own = |opt: &Opt| call.command.options.iter().any(|own| own.long == opt.long);
    let has_effect = |opt: &Opt| is_own(opt) || takes(call.command.name, opt) || (opt.long == "parallel" && call.has("hosts"));
    call.given.iter().map(|(opt, _)| *opt).find(|opt| !has_effect(opt))
}

/// Returns true if this global option has an effect with the command, or never has one
/// ([`Group::Accepted`]).
fn takes(command: &str, opt: &Opt) -> bool {
    let listed =
        |(options, commands): &(&[&str], &[&[&str]])| options.contains(&opt.long) && commands.iter().any(|group| group.contains(&command));
    opt.group == Group::Accepted
        || EVERYWHERE.contains(&opt.long)
        || (opt.sets != AttributeEffect::Nothing && DESCRIBE.contains(&command))
        || EFFECTS.iter().any(listed)
}

#[cfg(test)]
mod tests {
    use super::super::commands::COMMANDS;
    use super::super::options::GLOBAL;
    use super::super::{Parsed, find, parse};
    use super::*;

    fn found(line: &str) -> Option<&'static str> {
        match parse(line.split(' ').map(Into::into).collect()) {
            Ok(Parsed::Run(call)) => without_effect(&call).map(|opt| opt.long),
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
            ("list --namespace staging", Some("namespace")),
            ("kill --force", Some("force")),
            ("save --force --json", None),
            ("flush api --namespace staging", Some("namespace")),
            ("restart api --update-env --trace --attach", None),
            ("startup -u deploy --hp /home/deploy", None),
            ("describe api --env production", Some("env")),
            ("list --watch", None),
            ("logs --lines 5 --raw", None),
        ] {
            assert_eq!(found(line), expected, "{line}");
        }
    }

    #[test]
    fn effect_tables_name_existing_commands_and_options() {
        let groups = EFFECTS.iter().flat_map(|(_, commands)| commands.iter().copied()).chain([DESCRIBE]);
        for name in groups.flatten() {
            assert!(find(name).is_some_and(|command| command.name == *name), "{name}");
        }
        for name in EFFECTS.iter().flat_map(|(options, _)| options.iter()).chain(EVERYWHERE) {
            assert!(GLOBAL.iter().any(|opt| opt.long == *name), "{name}");
        }
        for opt in GLOBAL {
            assert!(COMMANDS.iter().any(|command| takes(command.name, opt)), "--{} has no effect anywhere", opt.long);
        }
    }
}
