//! `update`: replace the running daemon and keeper by this program, or by one that is put in its place first. Apps go on.

use super::table;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};

/// Tells the daemon which binary to become, then waits until that one answers.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let updated = match call.value("from") {
        #[cfg(feature = "machine")]
        Some(from) => super::update_from::from_file(cx, call, std::path::Path::new(from))?,
        _ => {
            if let Some(option) = ["sha256", "downgrade"].into_iter().find(|option| call.has(option)) {
                return Err(
                    UsageError::BadValue { option: format!("--{option}"), reason: "only together with --from <file>".into() }.into()
                );
            }
            cx.replace_daemon()?
        }
    };
    let Some(version) = updated else {
        let home = cx.home()?.to_owned();
        cx.refuse_beside_pm2(&home, "update")?;
        cx.out.info("no daemon is running, nothing to update");
        return Ok(Status::Ok);
    };
    cx.out.line(format_args!(">>>>>>>>>> {} updated", cx.program.label()));
    cx.out.info(format_args!("daemon version {version}, all apps kept"));
    #[cfg(feature = "web")]
    crate::web::renew(cx)?;
    table::show(cx, call)?;
    Ok(Status::Ok)
}
