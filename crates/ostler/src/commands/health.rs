//! `health`: one line and an exit code, as the health check of a container wants it.

use ostler_core::causes::with_causes;
use ostler_proto::control::{HealthRow, Request, Response};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};

/// Prints one line. Exit code 0 or 1, nothing else: engines keep the others for themselves. Never starts a daemon.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let (healthy, line) = match ask(cx, call) {
        Ok(verdict) => verdict,
        Err(error) => (false, with_causes(&error)),
    };
    cx.out.line(format_args!("{}: {line}", if healthy { "healthy" } else { "unhealthy" }));
    Ok(if healthy { Status::Ok } else { Status::Failed })
}

fn ask(cx: &mut Cx, call: &Call) -> Result<(bool, String), CliError> {
    let min = call.value("min").map(number).transpose()?;
    let targets: Vec<String> = call.targets.iter().filter(|target| *target != "all").cloned().collect();
    let home = cx.home()?.display().to_string();
    let client = cx.running_client()?.ok_or(ClientError::NotRunning { home })?;
    match client.request(&Request::Health { targets: targets.clone() }, &mut |_| {})? {
        Response::Health(rows) => Ok(verdict(&rows, !targets.is_empty(), min)),
        _ => Err(ClientError::Unexpected.into()),
    }
}

fn number(text: &str) -> Result<usize, UsageError> {
    text.parse().map_err(|_| UsageError::BadValue { option: "--min".into(), reason: format!("expected a number, found {text:?}") })
}

/// The verdict. `named`: the instances were asked for by name, so each of them counts; else one that is stopped does not, because somebody stopped it, or
/// it has done its job.
fn verdict(rows: &[HealthRow], named: bool, min: Option<usize>) -> (bool, String) {
    let fault = |row: &HealthRow| match (&row.trouble, row.status.as_str()) {
        (Some(trouble), _) => Some(format!("{}:{} {} ({trouble})", row.name, row.id, row.status)),
        (None, "online") => None,
        (None, status) => Some(format!("{}:{} {status}", row.name, row.id)),
    };
    let counted: Vec<&HealthRow> = rows.iter().filter(|row| named || row.status != "stopped").collect();
    let faults: Vec<String> = counted.iter().filter_map(|row| fault(row)).collect();
    let good = counted.len() - faults.len();
    // Of very many the first few say enough.
    let shown = faults.iter().take(5).map(|fault| crate::text::shown(fault)).collect::<Vec<_>>().join(", ");
    let line = match (shown.is_empty(), counted.len()) {
        (_, 0) => "nothing runs".to_owned(),
        (true, all) => format!("{good} of {all} online"),
        (false, all) => format!("{good} of {all} online; {shown}"),
    };
    (min.map_or(good > 0 && faults.is_empty(), |min| good >= min), line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_healthy() {
        let row = |name: &str, status: &str, trouble: Option<&str>| HealthRow {
            id: 0,
            name: name.into(),
            status: status.into(),
            trouble: trouble.map(str::to_owned),
        };
        let (up, down, gone) = (row("a", "online", None), row("b", "stopped", None), row("c", "errored", None));
        let (ill, new) = (row("d", "online", Some("503")), row("e", "launching", None));
        type Case<'a> = (&'a [&'a HealthRow], bool, Option<usize>, bool, &'a str);
        let cases: [Case<'_>; 12] = [
            (&[], false, None, false, "nothing runs"),
            (&[], false, Some(0), true, "nothing runs"),
            (&[&up], false, None, true, "1 of 1 online"),
            (&[&up, &down], false, None, true, "1 of 1 online"),
            (&[&down], false, None, false, "nothing runs"),
            (&[&down], true, None, false, "0 of 1 online; b:0 stopped"),
            (&[&up, &gone], false, None, false, "1 of 2 online; c:0 errored"),
            (&[&up, &gone], false, Some(1), true, "1 of 2 online; c:0 errored"),
            (&[&up, &gone], false, Some(2), false, "1 of 2 online; c:0 errored"),
            (&[&ill], false, None, false, "0 of 1 online; d:0 online (503)"),
            (&[&up, &ill], false, Some(1), true, "1 of 2 online; d:0 online (503)"),
            (&[&up, &new], true, None, false, "1 of 2 online; e:0 launching"),
        ];
        for (rows, named, min, healthy, line) in cases {
            let rows: Vec<HealthRow> = rows.iter().map(|row| (*row).clone()).collect();
            assert_eq!(verdict(&rows, named, min), (healthy, line.to_owned()), "{rows:?}");
        }
    }
}
