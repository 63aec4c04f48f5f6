//! Job that the service manager performs on our unit while it stops us.

use std::process::{Command, Stdio};

/// The unit, and its service manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Its full name.
    pub name: String,
    /// Whether it belongs to the user's own systemd.
    pub of_user: bool,
}

/// Returns true if the unit is about to be started again after this stop; the apps are then kept.
/// If this cannot be determined, it returns false.
pub(super) fn is_restart(unit: &Unit) -> bool {
    let mut command = Command::new("systemctl");
    if unit.of_user {
        command.arg("--user");
    }
    command.args(["list-jobs", "--no-legend", "--no-pager", "--plain", "--", &unit.name]);
    let answer = command.env("LC_ALL", "C").env("SYSTEMD_COLORS", "0").stdin(Stdio::null()).stderr(Stdio::null()).output();
    answer.is_ok_and(|answer| answer.status.success() && has_restart_job(&String::from_utf8_lossy(&answer.stdout), &unit.name))
}

/// Returns true if the lines of `number unit type state` contain a restart of this unit.
fn has_restart_job(jobs: &str, unit: &str) -> bool {
    jobs.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(unit) && matches!(words.next(), Some("restart" | "try-restart"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_restart_job_of_this_unit_counts() {
        for (jobs, expected) in [
            ("120 pm2-root.service restart running\n", true),
            ("1 x.service stop running\n120 pm2-root.service restart running\n", true),
            ("168 pm2-root.service stop running\n", false),
            ("120 pm2-root.service.d restart running\n", false),
            ("120 other.service restart running\n168 pm2-root.service stop running\n", false),
            ("No jobs running.\n", false),
            ("", false),
        ] {
            assert_eq!(has_restart_job(jobs, "pm2-root.service"), expected, "{jobs}");
        }
    }
}
