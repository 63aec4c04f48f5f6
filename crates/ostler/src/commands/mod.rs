//! One file per command: arguments → request → rendering. A file beside them holds code that
//! several commands share; a command never calls another.

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
mod existing_apps;
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
mod instance_limit;
mod jlist;
mod jobs;
mod kill;
mod launch;
mod list;
#[cfg(feature = "machine")]
mod logrotate;
#[cfg(feature = "export")]
mod logs;
#[cfg(feature = "web")]
mod metrics_history;
#[cfg(feature = "machine")]
mod migrate;
#[cfg(feature = "machine")]
mod modules;
#[cfg(feature = "monit")]
mod monit;
#[cfg(feature = "machine")]
mod otel;
mod overview;
mod pid;
mod ping;
mod ports;
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
mod sandbox;
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
mod wait_healthy;
#[cfg(feature = "web")]
mod web;
mod why;
mod write;

use crate::cli::{Availability, COMMANDS, Call};
use crate::cx::Cx;
use crate::error::{CliError, Status};

#[cfg(all(test, feature = "machine"))]
pub(crate) use doctor::doctor_report;
pub(crate) use foreground::run as in_foreground;
pub(crate) use overview::run as overview;

/// Runs a command.
pub(crate) type Run = fn(&mut Cx, &Call) -> Result<Status, CliError>;

/// Function of a command, or the cargo feature that this program was built without.
pub(crate) type Handler = Result<Run, &'static str>;

/// Handler of a command that belongs to a cargo feature.
macro_rules! part {
    ($feature:literal, $run:path) => {{
        #[cfg(feature = $feature)]
        let handler: Handler = Ok($run);
        #[cfg(not(feature = $feature))]
        let handler: Handler = Err($feature);
        handler
    }};
}

/// Handler of each command that works, by its name in [`COMMANDS`].
const HANDLERS: &[(&str, Handler)] = &[
    ("start", Ok(start::run)),
    ("dev", part!("machine", dev::run)),
    ("up", part!("export", up::run)),
    ("down", part!("export", down::run)),
    ("stop", Ok(act::stop)),
    ("restart", Ok(act::restart)),
    ("reload", Ok(act::reload)),
    ("rollout", Ok(rollout::run)),
    ("delete", Ok(act::delete)),
    ("startOrRestart", Ok(start::or_restart)),
    ("startOrReload", Ok(start::or_reload)),
    ("runtime", Ok(runtime::run)),
    ("scale", Ok(scale::run)),
    ("serve", part!("serve", start::serve)),
    ("reset", Ok(reset::run)),
    ("sendSignal", Ok(send_signal::run)),
    ("trigger", Ok(trigger::run)),
    ("send", Ok(send::run)),
    ("attach", Ok(send::attach)),
    ("list", Ok(list::run)),
    ("doctor", part!("machine", doctor::run)),
    ("jlist", Ok(jlist::run)),
    ("inspect", Ok(inspect::run)),
    ("profile", Ok(profile::run)),
    ("prettylist", Ok(prettylist::run)),
    ("report", Ok(report::run)),
    ("describe", Ok(describe::run)),
    ("jobs", Ok(jobs::run)),
    ("why", Ok(why::run)),
    ("sandbox", Ok(sandbox::run)),
    ("events", Ok(events::run)),
    ("errors", part!("web", errors::run)),
    #[cfg(feature = "export")]
    ("logs", Ok(logs::run)),
    #[cfg(not(feature = "export"))]
    ("logs", Ok(crate::logs::run)),
    ("monit", part!("monit", monit::run)),
    ("stats", part!("web", stats::run)),
    ("top", part!("web", top::run)),
    ("env", Ok(env::run)),
    ("pid", Ok(pid::run)),
    ("id", Ok(id::run)),
    ("health", Ok(health::run)),
    ("slist", Ok(slist::run)),
    ("ping", Ok(ping::run)),
    ("flush", Ok(flush::run)),
    ("reloadLogs", Ok(reload_logs::run)),
    ("logrotate", part!("machine", logrotate::run)),
    ("save", Ok(save::run)),
    ("cleardump", Ok(cleardump::run)),
    ("resurrect", Ok(resurrect::run)),
    ("kill", Ok(kill::run)),
    ("update", Ok(update::run)),
    ("startup", part!("machine", startup::run)),
    ("unstartup", part!("machine", unstartup::run)),
    ("service", part!("machine", service::run)),
    ("validate", Ok(validate::run)),
    ("diff", Ok(diff::run)),
    ("export", part!("export", export::run)),
    ("import", part!("export", import::run)),
    ("ecosystem", part!("machine", ecosystem::run)),
    ("migrate", part!("machine", migrate::run)),
    ("install-otel", part!("machine", otel::install)),
    ("uninstall-otel", part!("machine", otel::uninstall)),
    ("deploy", part!("machine", deploy::run)),
    ("pull", part!("machine", git::pull)),
    ("forward", part!("machine", git::forward)),
    ("backward", part!("machine", git::backward)),
    ("set", Ok(settings::set)),
    ("get", Ok(settings::get)),
    ("multiset", Ok(settings::multiset)),
    ("unset", Ok(settings::unset)),
    ("config", Ok(settings::config)),
    ("conf", Ok(settings::conf)),
    ("install", part!("machine", modules::install)),
    ("uninstall", part!("machine", modules::uninstall)),
    ("web", part!("web", web::run)),
    ("alerts", part!("web", alerts::run)),
    ("module:list", part!("machine", modules::list)),
    ("module:update", part!("machine", modules::update)),
    ("module:generate", part!("machine", modules::generate)),
    ("package", part!("machine", modules::package)),
    ("publish", part!("machine", modules::publish)),
    ("completion", part!("machine", completion::run)),
    ("compat", Ok(compat::run)),
    ("help", Ok(help::run)),
    ("examples", Ok(examples::run)),
];

/// Returns the handler of the command with this name; none if the command is [`Availability::Elsewhere`].
pub(crate) const fn handler(name: &str) -> Option<Handler> {
    let mut rows = HANDLERS;
    while let [(named, handler), rest @ ..] = rows {
        if is_same(name.as_bytes(), named.as_bytes()) {
            return Some(*handler);
        }
        rows = rest;
    }
    None
}

/// Compares texts. `==` is not const.
const fn is_same(mut one: &[u8], mut other: &[u8]) -> bool {
    while let ([a, one_rest @ ..], [b, other_rest @ ..]) = (one, other) {
        if *a != *b {
            return false;
        }
        (one, other) = (one_rest, other_rest);
    }
    one.is_empty() && other.is_empty()
}

/// Stops the compiler if a command that works has no handler, or if a handler has no such command.
const _: () = {
    let (mut commands, mut working) = (COMMANDS, 0);
    while let [command, rest @ ..] = commands {
        if matches!(command.state, Availability::Works) {
            working += 1;
            if handler(command.name).is_none() {
                panic!("{}", command.name); // This command is not in HANDLERS.
            }
        }
        commands = rest;
    }
    assert!(working == HANDLERS.len(), "a row of HANDLERS has no command in cli/commands.rs");
};

/// Returns the option of this call whose cargo feature this program was built without: its
/// spelling, and the feature.
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

/// Options of commands that also exist without the feature.
const OPTIONS_OF_PARTS: &[OptionsOf] = &[
    OptionsOf { feature: "fleet", is_built: cfg!(feature = "fleet"), commands: &[], options: &["hosts"] },
    OptionsOf { feature: "machine", is_built: cfg!(feature = "machine"), commands: &["update"], options: &["from", "sha256", "downgrade"] },
    OptionsOf { feature: "search", is_built: cfg!(feature = "search"), commands: &["logs"], options: &["regex", "ignore-case"] },
    OptionsOf { feature: "export", is_built: cfg!(feature = "export"), commands: &["list", "logs"], options: &["file", "project-name"] },
];
