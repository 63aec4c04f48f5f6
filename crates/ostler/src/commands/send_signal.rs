//! `sendSignal`: a signal to main processes.

use ostler_core::message;
use ostler_proto::control::{Failure, Request};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};
use crate::render::Wording;

/// Sends the signal. PM2 differs: here a signal that does not exist is an error.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let (word, target) = (&call.targets[0], &call.targets[1]);
    let Some(signal) = ostler_sys::process::signal::by_name(word) else {
        let reason = message!("unknown signal {word}; a name such as SIGUSR1 or a number", word = format!("{word:?}"));
        return Err(UsageError::unknown_signal("<signal>", reason, word).into());
    };
    let kind = if target.starts_with(|c: char| c.is_ascii_digit()) { "id" } else { "name" };
    cx.client()?;
    if cx.program.is_pm2() {
        cx.out.info(format_args!("Sending signal to process {kind} {target}"));
    }
    match cx.perform(&Request::Signal { signal, target: target.clone() }, Wording::Signal) {
        Err(CliError::Daemon(Failure::NotFound { .. })) if cx.program.is_pm2() => {
            cx.out.err_line(format_args!("Unknown process {kind}"));
            return Err(CliError::Reported(Status::NotFound));
        }
        other => other?,
    };
    match cx.program.is_pm2() {
        true => cx.out.line(format_args!("successfully sent signal {word} to process {kind} {target}")),
        false => cx.out.info(message!(
            "sent {signal} to {target}",
            signal = ostler_sys::process::signal::name(signal),
            target = crate::text::shown(target)
        )),
    }
    super::table::after_change(cx, call)?;
    Ok(Status::Ok)
}
