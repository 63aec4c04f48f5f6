//! One file per command: arguments → request → rendering. What several of them do is a file beside them; a command never calls another.

mod act;
#[cfg(feature = "web")]
mod alerts;
mod attach;
mod change;
mod cleardump;
mod compat;
#[cfg(feature = "machine")]
mod completion;
#[cfg(feature = "machine")]
mod deploy;
mod describe;
#[cfg(feature = "machine")]
mod dev;
mod diff;
#[cfg(feature = "machine")]
mod doctor;
#[cfg(feature = "export")]
mod down;
#[cfg(feature = "machine")]
mod ecosystem;
mod env;
#[cfg(feature = "web")]
mod errors;
mod events;
mod examples;
#[cfg(feature = "export")]
mod export;
mod files;
mod flush;
mod foreground;
#[cfg(feature = "machine")]
mod git;
mod health;
mod help;
mod id;
#[cfg(feature = "export")]
mod import;
mod inspect;
mod jlist;
mod jobs;
mod kill;
mod launch;
mod list;
#[cfg(feature = "machine")]
mod logrotate;
#[cfg(feature = "export")]
mod logs;
#[cfg(feature = "machine")]
mod migrate;
#[cfg(feature = "machine")]
mod modules;
#[cfg(feature = "monit")]
mod monit;
#[cfg(feature = "machine")]
mod otel;
#[cfg(feature = "web")]
mod past;
mod pid;
mod ping;
mod plausible;
mod ports;
mod present;
mod prettylist;
mod profile;
#[cfg(feature = "export")]
mod project;
mod reload_logs;
mod report;
mod request;
mod reset;
mod resurrect;
mod rollout;
mod runtime;
mod save;
mod scale;
mod selected;
mod send;
mod send_signal;
#[cfg(feature = "machine")]
mod service;
mod settings;
mod slist;
mod start;
#[cfg(feature = "machine")]
mod startup;
#[cfg(feature = "web")]
mod stats;
mod steady;
mod table;
#[cfg(feature = "web")]
mod top;
mod trigger;
#[cfg(feature = "machine")]
mod unstartup;
#[cfg(feature = "export")]
mod up;
mod update;
#[cfg(feature = "machine")]
mod update_from;
mod validate;
#[cfg(feature = "web")]
mod web;
mod why;
mod write;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};

pub(crate) use foreground::run as in_foreground;

/// Runs a command.
pub(crate) type Run = fn(&mut Cx, &Call) -> Result<Status, CliError>;

/// The code of the command with this name in the table of [`crate::cli`]; none for one that is not there yet.
pub(crate) fn code(name: &str) -> Option<Run> {
    Some(match name {
        "start" => start::run,
        #[cfg(feature = "machine")]
        "dev" => dev::run,
        "stop" => act::stop,
        "restart" => act::restart,
        "reload" => act::reload,
        "rollout" => rollout::run,
        "delete" => act::delete,
        "startOrRestart" => start::or_restart,
        "startOrReload" => start::or_reload,
        "runtime" => runtime::run,
        "scale" => scale::run,
        "reset" => reset::run,
        #[cfg(feature = "serve")]
        "serve" => start::serve,
        "sendSignal" => send_signal::run,
        "trigger" => trigger::run,
        "inspect" => inspect::run,
        "profile" => profile::run,
        "report" => report::run,
        "list" => list::run,
        "jlist" => jlist::run,
        "prettylist" => prettylist::run,
        "describe" => describe::run,
        #[cfg(feature = "monit")]
        "monit" => monit::run,
        "jobs" => jobs::run,
        "why" => why::run,
        "events" => events::run,
        #[cfg(feature = "web")]
        "errors" => errors::run,
        #[cfg(feature = "export")]
        "logs" => logs::run,
        #[cfg(not(feature = "export"))]
        "logs" => crate::logs::run,
        #[cfg(feature = "export")]
        "up" => up::run,
        #[cfg(feature = "export")]
        "down" => down::run,
        "env" => env::run,
        "pid" => pid::run,
        #[cfg(feature = "web")]
        "stats" => stats::run,
        #[cfg(feature = "web")]
        "top" => top::run,
        "id" => id::run,
        "health" => health::run,
        "slist" => slist::run,
        "ping" => ping::run,
        "flush" => flush::run,
        "reloadLogs" => reload_logs::run,
        #[cfg(feature = "machine")]
        "logrotate" => logrotate::run,
        "save" => save::run,
        "cleardump" => cleardump::run,
        "resurrect" => resurrect::run,
        "kill" => kill::run,
        "update" => update::run,
        #[cfg(feature = "machine")]
        "startup" => startup::run,
        #[cfg(feature = "machine")]
        "unstartup" => unstartup::run,
        #[cfg(feature = "machine")]
        "service" => service::run,
        #[cfg(feature = "web")]
        "web" => web::run,
        #[cfg(feature = "web")]
        "alerts" => alerts::run,
        "validate" => validate::run,
        "diff" => diff::run,
        #[cfg(feature = "export")]
        "export" => export::run,
        #[cfg(feature = "export")]
        "import" => import::run,
        #[cfg(feature = "machine")]
        "ecosystem" => ecosystem::run,
        "set" => settings::set,
        "get" => settings::get,
        "multiset" => settings::multiset,
        "unset" => settings::unset,
        "config" => settings::config,
        "conf" => settings::conf,
        #[cfg(feature = "machine")]
        "install" => modules::install,
        #[cfg(feature = "machine")]
        "uninstall" => modules::uninstall,
        #[cfg(feature = "machine")]
        "module:list" => modules::list,
        #[cfg(feature = "machine")]
        "module:update" => modules::update,
        #[cfg(feature = "machine")]
        "module:generate" => modules::generate,
        #[cfg(feature = "machine")]
        "package" => modules::package,
        #[cfg(feature = "machine")]
        "publish" => modules::publish,
        #[cfg(feature = "machine")]
        "deploy" => deploy::run,
        #[cfg(feature = "machine")]
        "migrate" => migrate::run,
        #[cfg(feature = "machine")]
        "doctor" => doctor::run,
        "send" => send::run,
        "attach" => send::attach,
        #[cfg(feature = "machine")]
        "install-otel" => otel::install,
        #[cfg(feature = "machine")]
        "uninstall-otel" => otel::uninstall,
        #[cfg(feature = "machine")]
        "pull" => git::pull,
        #[cfg(feature = "machine")]
        "forward" => git::forward,
        #[cfg(feature = "machine")]
        "backward" => git::backward,
        #[cfg(feature = "machine")]
        "completion" => completion::run,
        "compat" => compat::run,
        "help" => help::run,
        "examples" => examples::run,
        _ => return None,
    })
}

/// The feature without which this program was built and that the command with this name belongs to; none for all others.
pub(crate) fn left_out(name: &str) -> Option<&'static str> {
    let feature = match name {
        "web" | "alerts" | "errors" | "stats" | "top" => "web",
        "export" | "import" | "up" | "down" => "export",
        "serve" => "serve",
        "monit" => "monit",
        "completion" | "deploy" | "dev" | "doctor" | "ecosystem" | "logrotate" | "migrate" => "machine",
        "startup" | "unstartup" | "service" => "machine",
        "install" | "uninstall" | "module:list" | "module:update" | "module:generate" | "package" | "publish" => "machine",
        "install-otel" | "uninstall-otel" | "pull" | "forward" | "backward" => "machine",
        _ => return None,
    };
    code(name).is_none().then_some(feature)
}

/// The option of this call that belongs to a part which this program was built without: how it is typed, and the feature.
pub(crate) fn left_out_option(call: &Call) -> Option<(String, &'static str)> {
    let is_given = |name: &str| call.has(name) || call.value(name).is_some();
    OPTIONS_OF_PARTS.iter().filter(|of| !of.is_built).find_map(|of| {
        let is_of = of.commands.is_empty() || of.commands.contains(&call.command.name);
        let name = of.options.iter().find(|name| is_of && is_given(name))?;
        Some((format!("{} --{name}", call.word), of.feature))
    })
}

/// Options that go with a feature.
struct OptionsOf {
    feature: &'static str,
    is_built: bool,
    /// Commands whose options they are; empty: all.
    commands: &'static [&'static str],
    options: &'static [&'static str],
}

/// Options whose command is there without them.
const OPTIONS_OF_PARTS: &[OptionsOf] = &[
    OptionsOf { feature: "fleet", is_built: cfg!(feature = "fleet"), commands: &[], options: &["hosts"] },
    OptionsOf { feature: "machine", is_built: cfg!(feature = "machine"), commands: &["update"], options: &["from", "sha256", "downgrade"] },
    OptionsOf { feature: "search", is_built: cfg!(feature = "search"), commands: &["logs"], options: &["regex", "ignore-case"] },
    OptionsOf { feature: "export", is_built: cfg!(feature = "export"), commands: &["list", "logs"], options: &["file", "project-name"] },
];

#[cfg(test)]
mod tests {
    use crate::cli::{State, commands};

    #[test]
    fn what_works_has_code_and_nothing_else_has() {
        for command in commands() {
            let has_code = super::code(command.name).is_some() || super::left_out(command.name).is_some();
            assert_eq!(has_code, matches!(command.state, State::Works), "{}", command.name);
        }
    }

    #[test]
    #[cfg(feature = "default")]
    fn nothing_is_left_out_of_the_complete_program() {
        for command in commands() {
            assert_eq!(super::left_out(command.name), None, "{}", command.name);
        }
    }
}
