//! `service`: commands that a service manager calls; not for users.

use ostler_core::message;
use ostler_sys::process::ProcRef;
use ostler_sys::process::signal::HUP;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};
use crate::service::{self, TakeoverMode};

/// `service run [unit]` is the main process of a service. `service reload` replaces keeper, daemon
/// and that process with this program.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let words: Vec<&str> = call.targets.iter().map(String::as_str).collect();
    let of_user = call.has("user-unit");
    match words[..] {
        ["run"] => service::run(cx, None, of_user, TakeoverMode::Replace),
        ["run", service::AGAIN] => service::run(cx, None, of_user, TakeoverMode::Keep),
        ["run", unit] => service::run(cx, Some(unit), of_user, TakeoverMode::Replace),
        ["run", unit, service::AGAIN] => service::run(cx, Some(unit), of_user, TakeoverMode::Keep),
        ["reload"] => reload(cx),
        _ => Err(UsageError::UnknownArgument { word: words.join(" ") }.into()),
    }
}

/// Reloads. Returns when the new daemon answers. The service manager shows which process is its
/// main process.
fn reload(cx: &mut Cx) -> Result<Status, CliError> {
    match cx.replace_daemon()? {
        Some(version) => cx.out.info(message!("daemon version {version}, all apps kept", version)),
        None => cx.out.info(message!("no daemon is running")),
    }
    let main = std::env::var("MAINPID").ok().and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 1);
    if let Some(main) = main {
        let result = ProcRef::of(main).and_then(|main| main.signal(HUP));
        result.map_err(CliError::system(message!("signal the main process {pid}", pid = main)))?;
    }
    Ok(Status::Ok)
}
