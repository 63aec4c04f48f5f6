//! Check for numbers of instances that are probably a typing error.

use std::io::{self, BufRead as _, IsTerminal as _};

use ostler_core::message;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, CommandError};

/// Plausible number of instances on any machine, and per CPU.
const ON_ANY_MACHINE: u32 = 64;
const FOR_EACH_CPU: u32 = 16;

/// Returns the largest number of instances of one app that needs no confirmation.
fn most(cpus: u32) -> u32 {
    ON_ANY_MACHINE.max(FOR_EACH_CPU.saturating_mul(cpus))
}

/// Returns true if so many instances of one app need no confirmation.
pub(super) fn is_plausible(instances: u32) -> bool {
    instances <= most(ostler_sys::machine::cpus::available())
}

/// Rejects more instances of an app than this machine can use, unless `--yes` is given or the user
/// confirms at the terminal. Called as `pm2`, ostler accepts any number, as PM2 does.
///
/// # Errors
/// Returns an error if the number is rejected.
pub(super) fn check(cx: &mut Cx, call: &Call, app: &str, instances: u32) -> Result<(), CliError> {
    let cpus = ostler_sys::machine::cpus::available();
    if is_plausible(instances) || cx.program.is_pm2() || call.has("yes") {
        return Ok(());
    }
    let app = crate::text::shown(app);
    let processors = if cpus == 1 { message!("1 processor") } else { message!("{count} processors", count = cpus) };
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        cx.out.err_line(message!("Start {instances} instances of {app} on {processors}? [y/N]", instances, app, processors));
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
    }
    Err(CommandError::TooManyInstances { instances, app, processors }.into())
}

#[cfg(test)]
mod tests {
    use super::most;

    #[test]
    fn instance_limit_follows_number_of_cpus() {
        assert_eq!([1, 2, 4, 5, 128].map(most), [64, 64, 64, 80, 2048]);
    }
}
