//! The ostler binary: client, keeper, daemon and file server in one, so that their versions always
//! match.
#![forbid(unsafe_code)]
// The linker removes shared helpers whose features are left out. The complete build reports unused
// code.
#![cfg_attr(not(feature = "default"), allow(dead_code, unused_imports, reason = "shared helpers of parts that are left out"))]

mod access;
mod app_access;
mod app_files;
mod cli;
mod client;
mod commands;
mod cx;
#[cfg(feature = "machine")]
mod deploy;
#[cfg(feature = "machine")]
mod doctor;
mod error;
#[cfg(feature = "fleet")]
mod fleet;
#[cfg(any(feature = "monit", feature = "web"))]
mod full_screen;
mod home;
mod left_behind;
mod logs;
#[cfg(feature = "machine")]
mod migrate;
mod module_conf;
#[cfg_attr(not(feature = "machine"), path = "modules/left_out.rs")]
mod modules;
mod near_file;
mod other_pm2;
mod owner;
#[cfg(feature = "machine")]
mod pm2_units;
mod preflight;
mod process_1;
mod render;
#[cfg(feature = "machine")]
mod replacement;
mod run;
#[cfg(feature = "machine")]
mod service;
mod signals;
#[cfg(feature = "machine")]
mod startup;
#[cfg(test)]
mod tests;
mod text;
mod unresponsive;
mod versioning;
#[cfg(feature = "web")]
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    match role() {
        Some(main) => main(),
        None => run::client(),
    }
}

/// Returns the role for which this process was started; the keeper sets it for itself and for the
/// daemon.
fn role() -> Option<fn() -> ExitCode> {
    // The file server runs as an ordinary app: the user controls its environment, so a word on the
    // command line selects the role.
    #[cfg(feature = "serve")]
    if std::env::args_os().nth(1).is_some_and(|word| word == ostler_serve::ROLE) {
        return Some(ostler_serve::main);
    }
    #[cfg(feature = "web")]
    if std::env::args_os().nth(1).is_some_and(|word| word == ostler_web::ROLE) {
        return Some(|| {
            let home = std::env::args_os().nth(2);
            home.iter().for_each(|home| text::language::choose_without_terminal(home.as_ref()));
            #[cfg(feature = "fleet")]
            let hosts = fleet::dashboard_hosts;
            #[cfg(not(feature = "fleet"))]
            let hosts: ostler_web::HostsReader = |_| Ok(Vec::new());
            ostler_web::main(home.as_deref(), hosts)
        });
    }
    #[cfg(feature = "web")]
    if std::env::args_os().nth(1).is_some_and(|word| word == ostler_web::SEARCH_ROLE) {
        return Some(logs::log_search);
    }
    match std::env::var_os("OSTLER_ROLE")?.to_str()? {
        "keeper" => Some(ostler_keeper::main),
        "daemon" => Some(ostler_daemon::main),
        "log-reader" => Some(logs::log_reader),
        _ => None,
    }
}
