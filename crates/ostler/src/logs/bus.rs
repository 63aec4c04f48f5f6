//! Role of the process that reads log files for PM2's event socket, while a client is connected to
//! the socket.
//!
//! The daemon starts it and publishes its output: packets with whole frames, and the position in
//! the log file after each line. It is a separate process, so that the memory for lines is not the
//! daemon's. A slow subscriber only delays this reader, because the lines wait in their files. The
//! process exits when its output has no reader any more.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use ostler_keeper::HOME_VAR;
use ostler_proto::pm2::ReaderInput;

use super::run::follow_for_bus;
use super::start_positions::StartPositions;
use crate::cli::DaemonUse;
use crate::cx::Cx;
use crate::home::Program;
use crate::render::Out;

/// Follows all logs of apps, from the positions that it reads from its input.
pub(crate) fn main() -> ExitCode {
    let Some(home) = std::env::var_os(HOME_VAR).map(PathBuf::from) else { return ExitCode::FAILURE };
    // The daemon's protection from the OOM killer must not apply to this process.
    let _ = ostler_sys::process::oom::set_own_score_adj(0);
    let Ok(input) = std::io::stdin().as_fd().try_clone_to_owned().map(|fd| ReaderInput::of(File::from(fd))) else {
        return ExitCode::FAILURE;
    };
    let Ok(positions) = input.read() else { return ExitCode::FAILURE };
    let past = StartPositions::from_positions(&home, positions).with_more(input);
    let mut cx = Cx::new(Program::Ostler, Out::new(Program::Ostler), DaemonUse::Reads);
    cx.set_home(home);
    match follow_for_bus(&mut cx, past) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
