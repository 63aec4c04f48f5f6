//! Translation of a command to the command for a host.

use ostler_config::find::is_config_name;
use ostler_core::message;
use ostler_fleet::Member;
use ostler_fleet::script::{RemoteCommand, script};

use crate::cli::{Call, DaemonUse, Section};
use crate::error::{CliError, UsageError};

/// Options that only the caller handles.
const FLEET_OPTIONS: &[&str] = &["hosts", "batch", "parallel", "json", "color", "no-color"];

/// Option with the time within which apps have to be healthy before the next batch.
const HEALTH_OPTION: &str = "--wait=60s";

/// Kind of answer that a host gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    /// Rows of the list, for one table.
    Rows,
    /// PM2's list: only processes.
    Processes,
    /// JSON, for one value.
    Json,
    /// Lines of text.
    Text,
    /// Lines of logs.
    Logs {
        /// Whether the command follows new lines.
        follow: bool,
    },
    /// Events.
    Events {
        /// Whether the command follows new events.
        follow: bool,
    },
    /// A full-screen view for a user, of one host.
    Screen,
}

/// Command for hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostCommand {
    /// Kind of the answers.
    pub kind: AnswerKind,
    /// Words for `ostler` on the host.
    pub words: Vec<String>,
    /// Whether the command may change something.
    pub changes: bool,
    /// Words of a second command that checks whether all apps are healthy afterwards.
    pub then: Option<Vec<String>>,
}

/// Returns the command for hosts. `hosts`: their number; `in_batches`: whether each batch has to be
/// healthy before the next one; `color`: whether the output is coloured.
///
/// # Errors
/// Returns an error if the command makes no sense on hosts.
pub(super) fn host_command(call: &Call, hosts: usize, in_batches: bool, color: bool) -> Result<HostCommand, CliError> {
    let name = call.command.name;
    let kind = kind(call)?;
    let reads = call.command.daemon == DaemonUse::Reads || call.command.section == Section::Inspect;
    // Commands for inspecting change something only as `jobs run`, `jobs pause` and `jobs resume`.
    let changes = !reads || name == "jobs" && call.targets.first().is_some_and(|word| matches!(word.as_str(), "run" | "pause" | "resume"));
    if kind == AnswerKind::Screen && hosts > 1 {
        return Err(usage(message!("`{command}` is a full-screen command: name one host", command = call.word)));
    }
    if in_batches && !changes {
        return Err(UsageError::BadValue {
            option: "--batch".into(),
            reason: message!("`{command}` changes nothing", command = call.word),
        }
        .into());
    }
    let left_out = |more: &[&str]| call.words_without(&[FLEET_OPTIONS, more].concat());
    let mut words = match kind {
        AnswerKind::Rows => left_out(&["sort", "silent"]),
        AnswerKind::Logs { .. } => left_out(&["raw", "after"]),
        AnswerKind::Events { .. } => left_out(&["all"]),
        _ => left_out(&[]),
    };
    let is_json = matches!(kind, AnswerKind::Rows | AnswerKind::Json | AnswerKind::Logs { .. } | AnswerKind::Events { .. });
    let mut options: Vec<String> = Vec::new();
    if is_json {
        options.push("--json".into());
    } else if color && matches!(kind, AnswerKind::Text) {
        options.push("--color".into());
    }
    if matches!(kind, AnswerKind::Logs { .. }) && !call.has("json") && !call.has("lines") {
        options.push("--lines=15".into());
    }
    // All words after `--` belong to the app.
    let at = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.splice(at..at, options);
    let then = (in_batches && brings_up(name)).then(|| health(call));
    Ok(HostCommand { kind, words, changes, then })
}

/// Returns the script for a host.
pub(super) fn script_for(member: &Member, words: &[String], then: Option<&[String]>, has_terminal: bool) -> String {
    // On this machine it is this very program, at any path.
    let own = std::env::current_exe().ok().and_then(|path| path.into_os_string().into_string().ok()).filter(|_| member.is_local());
    let (program, home) = (member.program.as_deref().or(own.as_deref()), member.home.as_deref());
    script(&RemoteCommand { program, home, words, then, has_terminal })
}

fn kind(call: &Call) -> Result<AnswerKind, CliError> {
    let command = &call.word;
    let json = call.has("json");
    if call.has("no-daemon") || call.has("attach") {
        let reason = message!("`{command}` runs in the foreground with --no-daemon and --attach: log in to the host for that", command);
        return Err(usage(reason));
    }
    Ok(match call.command.name {
        "deploy" => return Err(usage(message!("`{command}` takes its hosts from the ecosystem file", command))),
        "help" | "examples" | "completion" | "service" | "runtime" => {
            return Err(usage(message!("`{command}` runs on this machine only", command)));
        }
        "ecosystem" | "export" | "import" => return Err(usage(message!("`{command}` works on local files only", command))),
        "web" if call.targets.iter().any(|word| word == "passwd") => AnswerKind::Screen,
        "monit" | "attach" | "dev" => AnswerKind::Screen,
        "top" if !call.has("once") && !json => AnswerKind::Screen,
        "list" if call.has("watch") => AnswerKind::Screen,
        "jlist" => AnswerKind::Processes,
        // Output in a format of its own has no time by which lines could be sorted.
        "logs" if call.has("format") || call.has("timestamp") || call.has("timestamps") || call.has("highlight") => AnswerKind::Text,
        "logs" => AnswerKind::Logs { follow: !call.has("nostream") && call.value("until").is_none() },
        "events" => AnswerKind::Events { follow: call.has("follow") },
        _ if json => AnswerKind::Json,
        "list" if call.has("mini-list") => AnswerKind::Text,
        "list" | "start" | "stop" | "restart" | "reload" | "delete" | "startOrRestart" | "startOrReload" | "scale" | "reset"
        | "sendSignal" | "resurrect" => AnswerKind::Rows,
        _ => AnswerKind::Text,
    })
}

/// Returns true if the command creates processes, which have to become healthy.
fn brings_up(name: &str) -> bool {
    matches!(
        name,
        "start"
            | "restart"
            | "reload"
            | "startOrRestart"
            | "startOrReload"
            | "scale"
            | "resurrect"
            | "pull"
            | "forward"
            | "backward"
            | "update"
    )
}

/// Returns the check whether the affected apps are healthy: the named apps, or all if none is
/// named.
fn health(call: &Call) -> Vec<String> {
    let named = match call.command.name {
        "restart" | "reload" => call.targets.as_slice(),
        "scale" | "pull" | "forward" | "backward" => call.targets.get(..1).unwrap_or_default(),
        _ => &[],
    };
    let is_plain = |word: &String| word != "all" && word != "-" && !word.contains('/') && !is_config_name(word);
    let names = if named.iter().all(is_plain) { named } else { &[] };
    std::iter::once("health".to_owned()).chain(names.iter().cloned()).chain([HEALTH_OPTION.to_owned()]).collect()
}

fn usage(reason: String) -> CliError {
    UsageError::BadValue { option: "--hosts".into(), reason }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Parsed, parse};

    fn call(line: &str) -> Call {
        match parse(line.split_whitespace().map(Into::into).collect()) {
            Ok(Parsed::Run(call)) => call,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn command_is_rewritten_for_hosts() {
        for (line, kind, words, changes) in [
            ("list -H a --sort cpu", AnswerKind::Rows, "list --json", false),
            ("ls --hosts=a,b --parallel 3", AnswerKind::Rows, "ls --json", false),
            ("-H a list --json", AnswerKind::Json, "list --json", false),
            ("list -H a -m", AnswerKind::Text, "list --mini-list", false),
            ("jlist -H a", AnswerKind::Processes, "jlist", false),
            ("-H a restart api 3 --update-env", AnswerKind::Rows, "restart api 3 --update-env --json", true),
            ("start app.js --watch -H a -- --json x", AnswerKind::Rows, "start app.js --watch --json -- --json x", true),
            ("start --watch app.js -H a", AnswerKind::Rows, "start --watch=app.js --json", true),
            ("scale api -1 -H a", AnswerKind::Rows, "scale api -1 --json", true),
            ("why api -H a", AnswerKind::Text, "why api", false),
            ("jobs run api -H a", AnswerKind::Text, "jobs run api", true),
            ("set a:b c -H a", AnswerKind::Text, "set a:b c", true),
            ("logs api -H a --raw", AnswerKind::Logs { follow: true }, "logs api --json --lines=15", false),
            ("logs -H a --json", AnswerKind::Logs { follow: true }, "logs --json", false),
            ("logs -H a --nostream --lines 3", AnswerKind::Logs { follow: false }, "logs --nostream --lines=3 --json", false),
            ("events --follow -H a", AnswerKind::Events { follow: true }, "events --follow --json", false),
            ("monit -H a", AnswerKind::Screen, "monit", false),
            ("top -H a", AnswerKind::Screen, "top", false),
        ] {
            let host_command = host_command(&call(line), 1, false, false).unwrap();
            assert_eq!((host_command.kind, host_command.words.join(" ").as_str(), host_command.changes), (kind, words, changes), "{line}");
        }
        assert_eq!(host_command(&call("why api -H a"), 2, false, true).unwrap().words, ["why", "api", "--color"]);
    }

    #[test]
    fn interactive_and_local_commands_are_rejected_on_hosts() {
        for (line, hosts, batches) in [
            ("monit -H a", 2, false),
            ("list --watch -H a", 2, false),
            ("deploy production -H a", 1, false),
            ("completion bash -H a", 1, false),
            ("start a.js --attach -H a", 1, false),
            ("list -H a", 1, true),
            ("logs -H a", 1, true),
        ] {
            assert!(host_command(&call(line), hosts, batches, false).is_err(), "{line}");
        }
    }

    #[test]
    fn batched_changes_wait_for_healthy_apps() {
        for (line, health) in [
            ("reload api web -H a", Some("health api web --wait=60s")),
            ("reload all -H a", Some("health --wait=60s")),
            ("reload ecosystem.config.js -H a", Some("health --wait=60s")),
            ("scale api 3 -H a", Some("health api --wait=60s")),
            ("start x.js -H a", Some("health --wait=60s")),
            ("stop api -H a", None),
        ] {
            let then = host_command(&call(line), 3, true, false).unwrap().then;
            assert_eq!(then.map(|words| words.join(" ")).as_deref(), health, "{line}");
        }
    }
}
