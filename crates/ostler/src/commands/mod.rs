//! One file per command: arguments → request → rendering. What several of them do is a file beside them; a command never calls another.

mod act;
mod alerts;
mod attach;
mod change;
mod cleardump;
mod compat;
mod completion;
mod deploy;
mod describe;
mod dev;
mod diff;
mod doctor;
mod down;
mod ecosystem;
mod env;
mod errors;
mod events;
mod examples;
mod export;
mod files;
mod flush;
mod foreground;
mod git;
mod health;
mod help;
mod id;
mod import;
mod inspect;
mod jlist;
mod jobs;
mod kill;
mod launch;
mod list;
mod logrotate;
mod logs;
mod migrate;
mod modules;
mod monit;
mod otel;
mod past;
mod pid;
mod ping;
mod prettylist;
mod profile;
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
mod service;
mod settings;
mod slist;
mod start;
mod startup;
mod stats;
mod steady;
mod table;
mod top;
mod trigger;
mod unstartup;
mod up;
mod update;
mod validate;
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
        "monit" => monit::run,
        "jobs" => jobs::run,
        "why" => why::run,
        "events" => events::run,
        "errors" => errors::run,
        "logs" => logs::run,
        "up" => up::run,
        "down" => down::run,
        "env" => env::run,
        "pid" => pid::run,
        "stats" => stats::run,
        "top" => top::run,
        "id" => id::run,
        "health" => health::run,
        "slist" => slist::run,
        "ping" => ping::run,
        "flush" => flush::run,
        "reloadLogs" => reload_logs::run,
        "logrotate" => logrotate::run,
        "save" => save::run,
        "cleardump" => cleardump::run,
        "resurrect" => resurrect::run,
        "kill" => kill::run,
        "update" => update::run,
        "startup" => startup::run,
        "unstartup" => unstartup::run,
        "service" => service::run,
        "web" => web::run,
        "alerts" => alerts::run,
        "validate" => validate::run,
        "diff" => diff::run,
        "export" => export::run,
        "import" => import::run,
        "ecosystem" => ecosystem::run,
        "set" => settings::set,
        "get" => settings::get,
        "multiset" => settings::multiset,
        "unset" => settings::unset,
        "config" => settings::config,
        "conf" => settings::conf,
        "install" => modules::install,
        "uninstall" => modules::uninstall,
        "module:list" => modules::list,
        "module:update" => modules::update,
        "module:generate" => modules::generate,
        "package" => modules::package,
        "publish" => modules::publish,
        "deploy" => deploy::run,
        "migrate" => migrate::run,
        "doctor" => doctor::run,
        "send" => send::run,
        "attach" => send::attach,
        "install-otel" => otel::install,
        "uninstall-otel" => otel::uninstall,
        "pull" => git::pull,
        "forward" => git::forward,
        "backward" => git::backward,
        "completion" => completion::run,
        "compat" => compat::run,
        "help" => help::run,
        "examples" => examples::run,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cli::{State, commands};

    #[test]
    fn what_works_has_code_and_nothing_else_has() {
        for command in commands() {
            assert_eq!(super::code(command.name).is_some(), matches!(command.state, State::Works), "{}", command.name);
        }
    }
}
