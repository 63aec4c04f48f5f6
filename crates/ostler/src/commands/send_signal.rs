//! `sendSignal`: a signal to main processes.

use ostler_proto::control::{Failure, Request};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};
use crate::render::Wording;

/// Sends the signal. PM2 differs: here a signal that does not exist is an error.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let (word, target) = (&call.targets[0], &call.targets[1]);
    let Some(signal) = ostler_sys::process::signal::by_name(word) else {
        let reason = format!("unknown signal {word:?}; a name such as SIGUSR1 or a number");
        return Err(UsageError::BadValue { option: "<signal>".into(), reason }.into());
    };
    let kind = if target.starts_with(|c: char| c.is_ascii_digit()) { "id" } else { "name" };
    cx.client()?;
    cx.out.info(format_args!("Sending signal to process {kind} {target}"));
    match cx.perform(&Request::Signal { signal, target: target.clone() }, Wording::Signal) {
        Err(CliError::Daemon(Failure::NotFound { .. })) if cx.program.is_pm2() => {
            cx.out.err_line(format_args!("Unknown process {kind}"));
            return Err(CliError::Reported(Status::NotFound));
        }
        other => other?,
    };
    cx.out.line(format_args!("successfully sent signal {word} to process {kind} {target}"));
    super::table::after_change(cx, call)?;
    Ok(Status::Ok)
}
