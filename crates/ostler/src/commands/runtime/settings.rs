//! Settings of a container, from the options of the command.

use std::io::IsTerminal;

use ostler_core::lifecycle::runtime::{ContainerLogFormat, RuntimeSpec};
use ostler_core::message;
use ostler_core::text::units;
use ostler_keeper::runtime_signals;
use ostler_sys::process::signal;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, UsageError};

/// Signals that are forwarded to apps by default.
const FORWARDED: [&str; 4] = ["HUP", "USR1", "USR2", "WINCH"];
/// Signals that stop everything. The last two are what lxc and systemd-nspawn send to process 1.
const STOPPING: [&str; 5] = ["TERM", "INT", "QUIT", "PWR", "RTMIN+3"];
/// PM2's options for the vendor's service.
const FOREIGN: [&str; 3] = ["secret", "public", "machine-name"];

/// Returns the settings.
///
/// # Errors
/// Returns an error if a value makes no sense; nothing was done.
pub(super) fn spec(cx: &mut Cx, call: &Call) -> Result<RuntimeSpec, CliError> {
    let (forward, stop) = signals(call.value("forward-signals"))?;
    let form = match () {
        () if call.has("json") => ContainerLogFormat::Json,
        () if call.has("format") => ContainerLogFormat::Pairs,
        () if call.has("formatted") => ContainerLogFormat::Labelled,
        () => ContainerLogFormat::Raw,
    };
    let stop_timeout_ms = call.value("stop-timeout").map(|text| millis("--stop-timeout", text)).transpose()?;
    delay_ms(call)?;
    if FOREIGN.iter().any(|option| call.has(option)) {
        cx.out.warn_err(message!("--secret, --public and --machine-name: accepted, but nothing is sent to any service"));
    }
    if call.has("web") {
        cx.out.warn_err(message!("--web: accepted, but no port is opened"));
    }
    Ok(RuntimeSpec { form, color: cx.out.paint().0, stays: call.has("no-auto-exit"), forward, stop, stop_timeout_ms })
}

/// Returns the time of `--delay`: seconds, or a number with a unit.
pub(super) fn delay_ms(call: &Call) -> Result<u64, UsageError> {
    let Some(text) = call.value("delay") else { return Ok(0) };
    match text.trim().parse::<u64>() {
        Ok(seconds) => Ok(seconds.saturating_mul(1000)),
        Err(_) => millis("--delay", text),
    }
}

fn millis(option: &str, text: &str) -> Result<u64, UsageError> {
    units::millis(text).map_err(|error| UsageError::BadValue { option: option.into(), reason: error.to_string() })
}

/// Returns the signals that are forwarded to apps, and those that stop everything.
fn signals(given: Option<&str>) -> Result<(Vec<i32>, Vec<i32>), UsageError> {
    let numbers = |names: &[&str]| names.iter().filter_map(|name| signal::by_name(name)).collect::<Vec<_>>();
    let mut stop = numbers(&STOPPING);
    let mut forward = match given {
        None => numbers(&FORWARDED),
        Some("none") => Vec::new(),
        Some(list) => list.split(',').map(forwarded).collect::<Result<Vec<_>, _>>()?,
    };
    if given.is_none() && std::io::stdin().is_terminal() {
        // The terminal was closed, so the user of this command is gone.
        let hup = numbers(&["HUP"]);
        forward.retain(|signal| !hup.contains(signal));
        stop.extend(hup);
    }
    stop.retain(|signal| !forward.contains(signal));
    Ok((forward, stop))
}

fn forwarded(name: &str) -> Result<i32, UsageError> {
    let bad = |reason: String| UsageError::BadValue { option: "--forward-signals".into(), reason };
    let number = signal::by_name(name).ok_or_else(|| {
        let reason = message!("{name} is not a signal (expected e.g. HUP,USR1, or none)", name = format!("{name:?}"));
        UsageError::unknown_signal("--forward-signals", reason, name)
    })?;
    match number {
        2 | 15 => Err(bad(message!(
            "{signal} stops all apps, each with its own kill_signal; it cannot be passed on",
            signal = signal::name(number)
        ))),
        _ if !runtime_signals().any(|one| one == number) => {
            Err(bad(message!("{signal} cannot be passed on", signal = signal::name(number))))
        }
        _ => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_signals_are_removed_from_stop_signals() {
        for (given, forward, stops) in [
            ("none", vec![], vec![15, 2, 3]),
            ("HUP", vec![1], vec![15, 2, 3]),
            ("SIGQUIT,usr1", vec![3, 10], vec![15, 2]),
            ("10,12", vec![10, 12], vec![15, 2, 3]),
        ] {
            let (found, stop) = signals(Some(given)).unwrap();
            assert_eq!((found, &stop[..stops.len()]), (forward, &stops[..]), "{given}");
        }
        for bad in ["", "TERM", "INT", "KILL", "CHLD", "SEGV", "NOSUCH", "HUP,,USR1"] {
            assert!(signals(Some(bad)).is_err(), "{bad}");
        }
    }
}
