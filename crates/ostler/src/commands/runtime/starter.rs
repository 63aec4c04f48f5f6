//! Process that starts the apps.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ostler_core::message;
use ostler_keeper::ROLE_VAR;

use super::settings;
use crate::cli::{self, Call};
use crate::commands::launch;
use crate::cx::Cx;
use crate::error::{CliError, CommandError, Status};

/// Role of the starter in our environment.
const ROLE: &str = "starter";
/// Variable with the home that the first process has chosen.
const HOME_VAR: &str = "OSTLER_STARTER";
/// Descriptor of the pipe on which the keeper reports that it listens.
pub(super) const READY_FD: i32 = 3;

/// Variables that make a process the starter for this home.
pub(super) fn variables(home: &Path) -> [(&'static str, OsString); 2] {
    [(ROLE_VAR, ROLE.into()), (HOME_VAR, home.into())]
}

/// Home in which the starter starts apps, and the pipe for the keeper's report.
pub(super) struct StarterContext {
    home: PathBuf,
    ready: OwnedFd,
}

impl StarterContext {
    /// Takes the context from the environment. Returns `None` in a process that is not the starter.
    pub(super) fn take() -> Option<Self> {
        let home = std::env::var_os(HOME_VAR).filter(|_| std::env::var_os(ROLE_VAR).is_some_and(|role| role == ROLE))?;
        Some(Self { home: home.into(), ready: ostler_sys::fd::fdpass::inherited(READY_FD).ok()? })
    }
}

/// Starts everything, and exits.
pub(super) fn run(cx: &mut Cx, call: &Call, context: StarterContext) -> Result<Status, CliError> {
    // Standard output is reserved for the lines of apps.
    cx.out.only_trouble();
    cx.set_home(context.home);
    cx.wait_for_keeper(context.ready);
    std::thread::sleep(Duration::from_millis(settings::delay_ms(call)?));
    if launch::in_front(cx, call)? {
        crate::modules::start_all(cx)?;
        return Ok(Status::Ok);
    }
    if cx.program.is_pm2() {
        cx.out.err_line(cli::command_help(cx.program.name(), call.command, None).trim_end());
    }
    Err(CommandError::NothingToStart(message!("name a script, a command or a config file")).into())
}
