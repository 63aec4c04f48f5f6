//! First process of the command: it becomes the keeper.

use std::ffi::CString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use ostler_core::message;
use ostler_keeper::{Launcher, runtime_signals};
use ostler_sys::process::signal::{KILL, SignalFd};
use ostler_sys::{
    CStrings, ProcRef, SpawnSpec,
    fd::pipe,
    process,
    process::{child, exec},
};
use rustix::io::Errno;

use super::{settings, starter};
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, CommandError, Status};
use crate::home;

/// Becomes the keeper. Returns only if that fails.
pub(super) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let failed = |what, errno: Errno| CliError::system(what)(errno);
    // From here on, these signals stay pending for the keeper. Otherwise process 1 would lose them.
    let _blocked = SignalFd::new(&runtime_signals().collect::<Vec<_>>()).map_err(|errno| failed(message!("receive signals"), errno))?;
    let spec = settings::spec(cx, call)?;
    let spec = serde_json::to_string(&spec).map_err(CliError::system(message!("describe the runtime")))?;
    let home = find_home(cx)?;
    if cx.running_client()?.is_some() {
        return Err(CommandError::Running { home, program: cx.program.name() }.into());
    }
    cx.refuse_beside_pm2(&home, &message!("start a daemon"))?;
    let (ready, tells) = pipe::pipe().map_err(|errno| failed(message!("make a pipe"), errno))?;
    let starter = ostler_sys::spawn(
        &SpawnSpec { program: exec::OWN_EXE.into(), argv: words(), envp: environment(&home), ..SpawnSpec::default() },
        &[
            (rustix::stdio::stdin(), 0),
            (rustix::stdio::stdout(), 1),
            (rustix::stdio::stderr(), 2),
            (std::os::fd::AsFd::as_fd(&ready), starter::READY_FD),
        ],
    )
    .map_err(CliError::Starter)?;
    cx.out.flush();
    let error = Launcher::new(&home, cx.program.is_pm2()).become_keeper(&spec, starter, &tells);
    give_up(starter);
    Err(CliError::Keeper(error.into()))
}

/// Finds a usable path for the home, and prints it if it is not the usual path.
fn find_home(cx: &mut Cx) -> Result<std::path::PathBuf, CliError> {
    let (home, instead_of) = home::for_runtime(cx.program)?;
    if let Some(error) = instead_of {
        cx.out.warn_err(message!("{error}; using {home} instead", error, home = home.display()));
    }
    cx.set_home(home.clone());
    Ok(home)
}

fn give_up(starter: ProcRef) {
    // The starter is our child and not reaped yet, so the pid is still its own.
    let _ = child::signal(starter.pid, KILL, process::Target::Process);
    child::reap(starter.pid);
}

fn words() -> CStrings {
    std::env::args_os().filter_map(|word| CString::new(word.into_vec()).ok()).collect()
}

/// Returns our environment, with the role of this process.
fn environment(home: &Path) -> CStrings {
    let ours = starter::variables(home);
    let inherited = std::env::vars_os().filter(|(name, _)| !ours.iter().any(|(own, _)| name == own));
    let all = inherited.chain(ours.iter().map(|(name, value)| ((*name).into(), value.clone())));
    all.filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()).collect()
}
