//! Role of the process that reads log files for PM2's event socket, as long as somebody is connected to it.
//!
//! The daemon starts it and publishes what it writes: packets with whole frames, and how far into which
//! file the lines before go. It is a process of its own, so that what lines cost is not the daemon's memory, and a
//! slow subscriber holds up this reader only; the lines wait in their files. It ends when nobody reads its output any more.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use ostler_keeper::HOME_VAR;
use ostler_proto::pm2::ReaderInput;

use super::beginning::Past;
use super::run::follow_for_bus;
use crate::cli::Daemon;
use crate::cx::Cx;
use crate::home::Program;
use crate::render::Out;

/// Follows all logs of apps from the places on that it reads from its input.
pub(crate) fn main() -> ExitCode {
    let Some(home) = std::env::var_os(HOME_VAR).map(PathBuf::from) else { return ExitCode::FAILURE };
    // The daemon's protection is not for us.
    let _ = ostler_sys::process::oom::set_own_score_adj(0);
    let Ok(input) = std::io::stdin().as_fd().try_clone_to_owned().map(|fd| ReaderInput::of(File::from(fd))) else {
        return ExitCode::FAILURE;
    };
    let Ok(told) = input.read() else { return ExitCode::FAILURE };
    let past = Past::told(&home, told).with_more(input);
    let mut cx = Cx::new(Program::Ostler, Out::new(Program::Ostler), Daemon::Reads);
    cx.set_home(home);
    match follow_for_bus(&mut cx, past) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
