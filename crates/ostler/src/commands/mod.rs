//! One file per command: arguments → request → rendering. What several of them do is a file beside them; a command never calls another.

mod act;
#[cfg(feature = "web")]
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
#[cfg(feature = "web")]
mod errors;
mod events;
mod examples;
#[cfg(feature = "export")]
mod export;
mod files;
mod flush;
mod foreground;
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
mod logrotate;
mod logs;
mod migrate;
mod modules;
mod monit;
mod otel;
#[cfg(feature = "web")]
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
#[cfg(feature = "web")]
mod stats;
mod steady;
mod table;
#[cfg(feature = "web")]
mod top;
mod trigger;
mod unstartup;
mod up;
mod update;
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
        "monit" => monit::run,
        "jobs" => jobs::run,
        "why" => why::run,
        "events" => events::run,
        #[cfg(feature = "web")]
        "errors" => errors::run,
        "logs" => logs::run,
        "up" => up::run,
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
        "logrotate" => logrotate::run,
        "save" => save::run,
        "cleardump" => cleardump::run,
        "resurrect" => resurrect::run,
        "kill" => kill::run,
        "update" => update::run,
        "startup" => startup::run,
        "unstartup" => unstartup::run,
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

/// The feature without which this program was built and that the command with this name belongs to; none for all others.
pub(crate) fn left_out(name: &str) -> Option<&'static str> {
    let feature = match name {
        "web" | "alerts" | "errors" | "stats" | "top" => "web",
        "export" | "import" => "export",
        "serve" => "serve",
        _ => return None,
    };
    code(name).is_none().then_some(feature)
}

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
    #[cfg(all(feature = "web", feature = "export", feature = "serve"))]
    fn nothing_is_left_out_of_the_complete_program() {
        for command in commands() {
            assert_eq!(super::left_out(command.name), None, "{}", command.name);
        }
    }
}
