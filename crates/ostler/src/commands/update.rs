//! `update`: replace the running daemon and keeper with this program, or with a new program that is
//! installed first. Apps keep running.

use ostler_core::message;
use ostler_proto::control::{Failure, Request};

use super::table;
use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};

/// Sends the daemon the path of the new binary, then waits until the new daemon answers.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let updated = match call.value("from") {
        #[cfg(feature = "machine")]
        Some(from) => super::update_from::from_file(cx, call, std::path::Path::new(from))?,
        _ => {
            if let Some(option) = ["sha256", "downgrade"].into_iter().find(|option| call.has(option)) {
                return Err(
                    UsageError::BadValue { option: format!("--{option}"), reason: message!("only together with --from <file>") }.into()
                );
            }
            cx.replace_daemon()?
        }
    };
    if updated.is_some() && cx.program.is_pm2() {
        save_list(cx)?;
    }
    let Some(version) = updated else {
        let home = cx.home()?.to_owned();
        cx.refuse_beside_pm2(&home, &message!("update"))?;
        cx.out.info(message!("no daemon is running, nothing to update"));
        return Ok(Status::Ok);
    };
    if cx.program.is_pm2() {
        cx.out.line(format_args!(">>>>>>>>>> {} updated", cx.program.label()));
    }
    cx.out.info(message!("daemon version {version}, all apps kept", version));
    #[cfg(feature = "web")]
    crate::web::renew(cx)?;
    table::after_change(cx, call)?;
    Ok(Status::Ok)
}

/// Saves the list as PM2's `update` does, so that a reboot restores the apps. An empty list is not
/// saved.
fn save_list(cx: &mut Cx) -> Result<(), CliError> {
    match cx.client()?.request(&Request::Save { force: false, files: None }, &mut |_| {}) {
        Ok(_) | Err(ClientError::Refused(Failure::NothingToSave)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
