//! Wait until apps are healthy and stay healthy.

use std::time::{Duration, Instant};

use ostler_proto::control::{HealthRow, Request, Response};

use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::CliError;

/// Time for which all instances must be healthy in the same processes before `--wait` succeeds.
const STEADY_TIME: Duration = Duration::from_secs(3);

/// Time between two checks of `--wait`.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Waits until all instances are healthy and stay so, and until `also` accepts their processes.
/// Stopped instances do not count, even if they were named: a job waits for its time, or a user has
/// stopped the instance.
///
/// # Errors
/// Returns an error if the daemon does not answer.
pub(super) fn steady(
    cx: &mut Cx,
    targets: &[String],
    limit: Duration,
    also: &mut dyn FnMut(&[i32]) -> bool,
) -> Result<(bool, String), CliError> {
    let begin = Instant::now();
    let mut calm = SteadySince::default();
    loop {
        let home = cx.home()?.display().to_string();
        let client = cx.running_client()?.ok_or(ClientError::NotRunning { home })?;
        let rows = match client.request(&Request::Health { targets: targets.to_vec() }, &mut |_| {})? {
            Response::Health(rows) => rows,
            _ => return Err(ClientError::Unexpected.into()),
        };
        let table = client.table()?;
        let mut pids: Vec<(u32, i32)> =
            table.iter().filter(|row| rows.iter().any(|of| of.id == row.id)).map(|row| (row.id, row.pid)).collect();
        pids.sort_unstable();
        let (healthy, line) = verdict(&rows, false, None);
        let nothing_runs = rows.iter().all(|row| row.status == "stopped");
        let is_lost = rows.iter().any(|row| row.status == "errored");
        let processes: Vec<i32> = pids.iter().map(|(_, pid)| *pid).filter(|pid| *pid > 0).collect();
        let healthy = (healthy || nothing_runs) && also(&processes);
        if let Some(end) = calm.update(begin.elapsed(), healthy, is_lost, pids, limit) {
            return Ok((end, line));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Time since which all instances have been healthy in the same processes.
#[derive(Default)]
struct SteadySince {
    since: Option<Duration>,
    pids: Vec<(u32, i32)>,
}

impl SteadySince {
    /// Returns the verdict after a check at this time, or none if it is still open. `is_lost`: an
    /// instance cannot recover by itself.
    fn update(&mut self, now: Duration, healthy: bool, is_lost: bool, pids: Vec<(u32, i32)>, limit: Duration) -> Option<bool> {
        if !healthy || pids != self.pids {
            self.since = healthy.then_some(now);
        }
        self.since = self.since.or(healthy.then_some(now));
        self.pids = pids;
        match self.since {
            _ if is_lost => Some(false),
            Some(since) if now.saturating_sub(since) >= STEADY_TIME => Some(true),
            _ if now >= limit => Some(false),
            _ => None,
        }
    }
}

/// Returns the verdict. `named`: the user named the instances, so each of them counts. Otherwise a
/// stopped instance does not count, because a user stopped it or it has finished its job.
pub(super) fn verdict(rows: &[HealthRow], named: bool, min: Option<usize>) -> (bool, String) {
    let fault = |row: &HealthRow| match (&row.trouble, row.status.as_str()) {
        (Some(trouble), _) => Some(format!("{}:{} {} ({trouble})", row.name, row.id, row.status)),
        (None, "online") => None,
        (None, status) => Some(format!("{}:{} {status}", row.name, row.id)),
    };
    let counted: Vec<&HealthRow> = rows.iter().filter(|row| named || row.status != "stopped").collect();
    let faults: Vec<String> = counted.iter().filter_map(|row| fault(row)).collect();
    let good = counted.len() - faults.len();
    // If there are very many faults, the first few are enough.
    let shown = faults.iter().take(5).map(|fault| crate::text::shown(fault)).collect::<Vec<_>>().join(", ");
    let line = match (shown.is_empty(), counted.len()) {
        (_, 0) => "no instance runs".to_owned(),
        (true, all) => format!("{good} of {all} online"),
        (false, all) => format!("{good} of {all} online; {shown}"),
    };
    (min.map_or(good > 0 && faults.is_empty(), |min| good >= min), line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_requires_same_processes_healthy_for_the_period() {
        let seconds = Duration::from_secs;
        let (a, b) = (vec![(0, 10)], vec![(0, 11)]);
        // Checks of one wait of 10 s: time, healthy, lost, processes. The verdict is that of the
        // last check.
        type Look<'a> = (u64, bool, bool, &'a Vec<(u32, i32)>);
        let cases: [(&[Look<'_>], Option<bool>); 9] = [
            (&[(0, true, false, &a)], None),
            (&[(0, true, false, &a), (2, true, false, &a)], None),
            (&[(0, true, false, &a), (3, true, false, &a)], Some(true)),
            // The app crashed in between and looks healthy again.
            (&[(0, true, false, &a), (2, true, false, &b), (4, true, false, &b)], None),
            (&[(0, true, false, &a), (2, true, false, &b), (5, true, false, &b)], Some(true)),
            (&[(0, true, false, &a), (2, false, false, &a), (4, true, false, &a), (6, true, false, &a)], None),
            (&[(0, false, false, &a), (9, false, false, &a)], None),
            (&[(0, false, false, &a), (10, false, false, &a)], Some(false)),
            (&[(0, false, true, &a)], Some(false)),
        ];
        for (looks, end) in cases {
            let mut calm = SteadySince::default();
            let last = looks
                .iter()
                .map(|(now, healthy, lost, pids)| calm.update(seconds(*now), *healthy, *lost, (*pids).clone(), seconds(10)))
                .last();
            assert_eq!(last, Some(end), "{looks:?}");
        }
    }

    #[test]
    fn health_verdict_follows_instance_states() {
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
            (&[], false, None, false, "no instance runs"),
            (&[], false, Some(0), true, "no instance runs"),
            (&[&up], false, None, true, "1 of 1 online"),
            (&[&up, &down], false, None, true, "1 of 1 online"),
            (&[&down], false, None, false, "no instance runs"),
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
