//! `scale`: more or fewer instances.

use ostler_core::message;
use ostler_proto::control::{Failure, Request, ScaleTo};

use super::request::proof;
use super::{instance_limit, table};
use crate::cli::Call;
use crate::cx::{self, Cx};
use crate::error::{CliError, Status, UsageError};
use crate::render::Wording;

/// Runs `scale` with `4`, `+2`, `-1`; also `scale app -- -1`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let name = call.targets.first().or(call.app_args.as_ref().and_then(|args| args.first())).cloned().unwrap_or_default();
    let number = call.targets.get(1).or(call.app_args.as_ref().and_then(|args| args.last())).cloned().unwrap_or_default();
    let to = match amount(&number) {
        Some(to) => to,
        None if cx.program.is_pm2() => return Err(Failure::NothingToDo.into()),
        None => {
            let reason = message!("expected a whole number, +N, -N or max, found {found}", found = format!("{number:?}"));
            return Err(UsageError::BadValue { option: "number".into(), reason }.into());
        }
    };
    instance_limit::check(
        cx,
        call,
        &name,
        match to {
            ScaleTo::Exactly(count) => count,
            ScaleTo::By(more) => u32::try_from(more).unwrap_or(0),
        },
    )?;
    let request = Request::Scale { name: name.clone(), cwd: cx::cwd()?, to, oldest_first: cx.program.is_pm2(), confirm: proof(cx, call) };
    match cx.perform(&request, Wording::Scale) {
        Err(CliError::Daemon(Failure::Other(reason))) if !cx.program.is_pm2() => {
            return Err(CliError::unchanged(CliError::Daemon(Failure::Other(reason))));
        }
        Err(CliError::Daemon(Failure::NotFound { .. })) if cx.program.is_pm2() => {
            return Err(CliError::NotFound(message!("Application {name} not found", name)));
        }
        // The app is as the caller wants it, so a script may repeat the command.
        Err(CliError::Daemon(Failure::NothingToDo)) if !cx.program.is_pm2() => {
            let name = crate::text::shown(&name);
            cx.out.info(match to {
                ScaleTo::Exactly(1) => message!("{name} already has 1 instance", name),
                ScaleTo::Exactly(count) => message!("{name} already has {count} instances", name, count),
                ScaleTo::By(_) => message!("{name} keeps its number of instances", name),
            });
        }
        other => drop(other?),
    }
    table::after_change(cx, call)?;
    Ok(Status::Ok)
}

fn amount(text: &str) -> Option<ScaleTo> {
    if text == "max" {
        return Some(ScaleTo::Exactly(ostler_sys::machine::cpus::available()));
    }
    if text.starts_with(['+', '-']) { text.parse().ok().map(ScaleTo::By) } else { text.parse().ok().map(ScaleTo::Exactly) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amount_parses_absolute_relative_and_max() {
        for (text, to) in [
            ("4", Some(ScaleTo::Exactly(4))),
            ("0", Some(ScaleTo::Exactly(0))),
            ("+2", Some(ScaleTo::By(2))),
            ("-1", Some(ScaleTo::By(-1))),
            ("max", Some(ScaleTo::Exactly(ostler_sys::machine::cpus::available()))),
            ("", None),
            ("many", None),
            ("4.5", None),
            ("99999999999", None),
        ] {
            assert_eq!(amount(text), to, "{text}");
        }
    }
}
