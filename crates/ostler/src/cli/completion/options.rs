//! Options that completion offers, and the words that fit as their values.

use ostler_core::text::language::translated;

use super::super::options::GLOBAL;
use super::super::shared_options::OptionUse;
use super::super::table::{Arg, Command, Fits, Group, Opt, Word, word};
use super::suggestion::Suggestion;

/// Options whose value is a list with commas.
const LISTS: &[&str] = &["hosts", "only", "forward-signals"];

const INTERPRETERS: &[Word] = &[
    word("node", ""),
    word("bun", ""),
    word("deno", ""),
    word("python3", ""),
    word("ruby", ""),
    word("php", ""),
    word("perl", ""),
    word("bash", ""),
    word("none", "execute the script directly"),
];

const ENV_POLICIES: &[Word] = &[
    word("inherit", "all variables of the shell"),
    word("clean", "only variables that programs need"),
    word("user", "only variables of the app's user"),
];

const KILL_MODES: &[Word] = &[
    word("mixed", "the main process; then the others are killed"),
    word("tree", "all processes of the tree"),
    word("process", "only the main process"),
];

const SANDBOXES: &[Word] = &[
    word("web", "reads the system and its own directory, binds its ports"),
    word("strict", "also no outgoing connections, fewer system calls"),
];

const FIELDS: &[Word] = &[
    word("name", ""),
    word("id", ""),
    word("pid", ""),
    word("cpu", ""),
    word("cpu:desc", "the busiest first"),
    word("memory", ""),
    word("memory:desc", "the largest first"),
    word("uptime", ""),
    word("uptime:desc", "the youngest first"),
    word("status", ""),
    word("namespace", ""),
];

const DATES: &[Word] = &[word("YYYY-MM-DD HH:mm:ss", ""), word("YYYY-MM-DDTHH:mm:ss.SSSZ", ""), word("HH:mm:ss", "")];

const ROLES: &[Word] =
    &[word("viewer", "sees everything"), word("operator", "also starts and stops apps"), word("admin", "also changes settings")];

const FORWARDED: &[Word] = &[word("HUP", ""), word("USR1", ""), word("USR2", ""), word("WINCH", ""), word("none", "forward no signal")];

const SHELLS: &[Word] = &[word("bash", ""), word("zsh", ""), word("fish", "")];

/// Returns true if the value of this option is a list with commas.
pub(super) fn is_list(opt: &Opt) -> bool {
    LISTS.contains(&opt.long)
}

/// Returns the words that fit as the value of an option.
pub(crate) fn values(command: Option<&Command>, opt: &Opt) -> &'static [Fits] {
    let (Arg::Required(value) | Arg::Optional(value)) = opt.arg else { return &[] };
    match opt.long {
        "app" if command.is_some_and(|command| command.name == "events") => &[Fits::Apps, Fits::Ids],
        "app" | "only" | "exit-code-from" => &[Fits::ProjectApps],
        "scale" => &[Fits::ProjectAppCounts],
        "profile" => &[Fits::ComposeProfiles],
        "namespace" | "project-name" => &[Fits::Namespaces],
        "instances" => const { &[Fits::Words(&[word("max", "one per CPU")])] },
        "interpreter" => &[Fits::Words(INTERPRETERS)],
        "env" => &[Fits::Profiles],
        "env-policy" => &[Fits::Words(ENV_POLICIES)],
        "kill-mode" => &[Fits::Words(KILL_MODES)],
        "sandbox" => &[Fits::Words(SANDBOXES)],
        "kill-signal" => &[Fits::Signals],
        "log-type" => const { &[Fits::Words(&[word("json", "one JSON object per line")])] },
        "log-date-format" | "timestamp" => &[Fits::Words(DATES)],
        "sort" => &[Fits::Words(FIELDS)],
        "timezone" => &[Fits::Zones],
        "hosts" => &[Fits::Hosts],
        "to" => &[Fits::Releases],
        "resolve" => &[Fits::ErrorIds],
        "role" => &[Fits::Words(ROLES)],
        "revoke" => &[Fits::Tokens],
        "forward-signals" => &[Fits::Words(FORWARDED)],
        "shell" => &[Fits::Words(SHELLS)],
        "cwd" | "hp" => &[Fits::Folders],
        "watch" | "ignore-watch" | "ignore" => &[Fits::Files],
        _ => match value {
            "file" => &[Fits::Files],
            "folder" => &[Fits::Folders],
            "user" => &[Fits::Users],
            "group" => &[Fits::Groups],
            _ => &[],
        },
    }
}

/// Returns the options that have an effect with a command, or with any command. A switch that was
/// given is not offered again.
pub(super) fn options(command: Option<&Command>, given: &[(&'static Opt, Option<String>)]) -> Vec<Suggestion> {
    let is_useful = |opt: &&Opt| match command {
        Some(command) => !command.has_own(opt) && matches!(command.use_of(opt), OptionUse::Everywhere | OptionUse::Used),
        None => opt.group == Group::Call,
    };
    let own = command.map_or(&[] as &[Opt], |command| command.options).iter().filter(|opt| opt.group != Group::Accepted);
    let is_new = |opt: &&Opt| opt.arg != Arg::None || !given.iter().any(|(other, _)| other.long == opt.long);
    let all = own.chain(GLOBAL.iter().filter(is_useful)).filter(|opt| opt.long.len() > 1).filter(is_new);
    all.map(|opt| Suggestion::new(format!("--{}", opt.long), translated(opt.help))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::commands::COMMANDS;
    use super::*;

    /// Options whose value the user invents: names, numbers, times, texts.
    const FREE: &[&str] = &[
        "name",
        "node-args",
        "nice",
        "umask",
        "filter-env",
        "max-log-size",
        "min-uptime",
        "restart-delay",
        "exp-backoff-restart-delay",
        "kill-timeout",
        "drain-timeout",
        "listen-timeout",
        "max-memory-restart",
        "max-cpu",
        "cron-restart",
        "job",
        "watch-delay",
        "ext",
        "parallel",
        "batch",
        "service-name",
        "port",
        "basic-auth-username",
        "basic-auth-password",
        "monitor",
        "image-name",
        "node-version",
        "sha256",
        "listen",
        "pm2-port",
        "allow-host",
        "trust-origin",
        "history-mb",
        "otlp-port",
        "traces-mb",
        "otlp-to",
        "otlp-header",
        "for",
        "rule",
        "reason",
        "image",
        "tag",
        "ostler-image",
        "host",
        "delay",
        "stop-timeout",
        "secret",
        "public",
        "machine-name",
        "post-exec",
        "canary",
        "lines",
        "grep",
        "since",
        "until",
        "highlight",
        "after",
        "wait-timeout",
        "timeout",
        "min",
        "wait",
        "info-node",
    ];

    #[test]
    fn each_option_with_a_value_has_words_or_is_free() {
        let own = COMMANDS.iter().flat_map(|command| command.options.iter().map(move |opt| (Some(command), opt)));
        for (command, opt) in GLOBAL.iter().map(|opt| (None, opt)).chain(own) {
            let takes = matches!(opt.arg, Arg::Required(_) | Arg::Optional(_));
            let has_words = !values(command, opt).is_empty();
            assert_eq!(takes && !has_words, takes && FREE.contains(&opt.long), "--{}", opt.long);
        }
    }

    #[test]
    fn words_of_enums_are_those_that_the_parser_knows() {
        for (opt, words) in [("kill-mode", KILL_MODES), ("env-policy", ENV_POLICIES), ("sandbox", SANDBOXES)] {
            let help = GLOBAL.iter().find(|option| option.long == opt).map(|option| option.help).unwrap_or_default();
            assert!(words.iter().all(|word| help.contains(word.word)), "{help}");
        }
    }
}
