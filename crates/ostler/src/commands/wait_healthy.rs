//! Wait until apps are healthy and stay healthy.

use std::io::Write as _;
use std::time::{Duration, Instant};

use ostler_core::health::HealthState;
use ostler_core::message;
use ostler_proto::control::{HealthRow, Request, Response};
use unicode_width::UnicodeWidthStr as _;

use crate::cli::Call;
use crate::client::{Client, ClientError};
use crate::cx::Cx;
use crate::error::CliError;
use crate::render::face::{Mark, seconds, status_word};
use crate::render::{MessageStyle, Volume, waits_for};
use crate::text::fit;

/// Time for which all instances must be healthy in the same processes before `--wait` succeeds.
const HEALTHY_TIME: Duration = Duration::from_secs(3);

/// Time between two checks of `--wait`.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Most instances that are named with their fault.
const MOST_FAULTS: usize = 5;

/// Words for the states of instances.
#[derive(Clone, Copy, Debug)]
pub(super) enum StateWords {
    /// The words of `list` in ostler's own look.
    Own,
    /// The words of PM2 and of JSON.
    Pm2,
}

impl StateWords {
    /// Returns the words for the output of a command.
    pub(super) fn in_output(cx: &Cx, call: &Call) -> Self {
        if cx.program.is_pm2() || call.has("json") { Self::Pm2 } else { Self::Own }
    }

    fn of(self, status: &str) -> &str {
        match self {
            Self::Own => status_word(status),
            Self::Pm2 => status,
        }
    }
}

/// Waits until all instances are healthy and stay so, and until `accepts` accepts their processes.
/// Returns whether they are healthy, and the state of the instances in one line. Stopped instances
/// do not count, even if they were named: a job waits for its time, or a user has stopped the
/// instance.
///
/// # Errors
/// Returns an error if the daemon does not answer.
pub(super) fn wait_until_healthy(
    cx: &mut Cx,
    targets: &[String],
    limit: Duration,
    words: StateWords,
    accepts: &mut dyn FnMut(&[i32]) -> bool,
) -> Result<(bool, String), CliError> {
    let begin = Instant::now();
    let mut period = HealthyPeriod::default();
    let mut live = LiveLine::of(cx);
    loop {
        let home = cx.home()?.display().to_string();
        let client = cx.running_client()?.ok_or(ClientError::NotRunning { home })?;
        let rows = health_rows(client, targets)?;
        let table = client.table()?;
        let mut pids: Vec<(u32, i32)> =
            table.iter().filter(|row| rows.iter().any(|of| of.id == row.id)).map(|row| (row.id, row.pid)).collect();
        pids.sort_unstable();
        let (healthy, line) = verdict(&rows, false, None, words);
        let nothing_runs = rows.iter().all(|row| row.status == "stopped");
        let has_failed = rows.iter().any(|row| row.status == "errored");
        let processes: Vec<i32> = pids.iter().map(|(_, pid)| *pid).filter(|pid| *pid > 0).collect();
        let healthy = (healthy || nothing_runs) && accepts(&processes);
        if let Some(is_healthy) = period.update(begin.elapsed(), healthy, has_failed, pids, limit) {
            return Ok((is_healthy, line));
        }
        live.show(&line, begin.elapsed());
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Line on a terminal that shows the last check. It disappears when the wait ends.
struct LiveLine {
    /// None: the line is not wanted.
    style: Option<MessageStyle>,
    is_shown: bool,
}

impl LiveLine {
    fn of(cx: &Cx) -> Self {
        let style = cx.out.message_style();
        let is_wanted = style.is_terminal && style.volume == Volume::All && !cx.program.is_pm2();
        Self { style: Some(style).filter(|_| is_wanted), is_shown: false }
    }

    fn show(&mut self, line: &str, waited: Duration) {
        let Some(style) = self.style.as_ref().filter(|_| waited > POLL_INTERVAL) else { return };
        let text = live_text(line, waited, style.view().width);
        // A failure of stderr cannot be reported anywhere.
        let _ = write!(std::io::stderr(), "\r\x1b[K{}", style.printable(&text));
        self.is_shown = true;
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Returns the text of the line. It leaves the last column free, so that the cursor stays on the line.
fn live_text(line: &str, waited: Duration, width: Option<usize>) -> String {
    let duration = seconds(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
    let text = format!("{} {duration}  {line}", Mark::Starting.glyph());
    let room = width.unwrap_or(usize::MAX).saturating_sub(1);
    if text.width() > room { fit(&text, room).trim_end().to_owned() } else { text }
}

/// Time since which all instances have been healthy in the same processes.
#[derive(Default)]
struct HealthyPeriod {
    since: Option<Duration>,
    pids: Vec<(u32, i32)>,
}

impl HealthyPeriod {
    /// Returns the verdict after a check at this time, or none if it is still open. `has_failed`: an
    /// instance cannot recover by itself.
    fn update(&mut self, now: Duration, healthy: bool, has_failed: bool, pids: Vec<(u32, i32)>, limit: Duration) -> Option<bool> {
        if !healthy || pids != self.pids {
            self.since = healthy.then_some(now);
        }
        self.since = self.since.or(healthy.then_some(now));
        self.pids = pids;
        match self.since {
            _ if has_failed => Some(false),
            Some(since) if now.saturating_sub(since) >= HEALTHY_TIME => Some(true),
            _ if now >= limit => Some(false),
            _ => None,
        }
    }
}

/// Requests the health of the instances. An instance that starts has the event for which it waits.
///
/// # Errors
/// Returns an error if the daemon does not answer.
pub(super) fn health_rows(client: &mut Client, targets: &[String]) -> Result<Vec<HealthRow>, ClientError> {
    let mut rows = match client.request(&Request::Health { targets: targets.to_vec() }, &mut |_| {})? {
        Response::Health(rows) => rows,
        _ => return Err(ClientError::Unexpected),
    };
    let starts = |row: &HealthRow| row.trouble.is_none() && !matches!(row.status.as_str(), "online" | "stopped" | "errored");
    let ids: Vec<String> = rows.iter().filter(|row| starts(row)).take(MOST_FAULTS).map(|row| row.id.to_string()).collect();
    if !ids.is_empty() {
        // An instance may be deleted in between. Its state is then shown without the event.
        let details = client.inspect(&ids).unwrap_or_default();
        for detail in details {
            let row = rows.iter_mut().find(|row| row.id == detail.id && starts(row));
            row.into_iter().for_each(|row| row.trouble = waits_for(&detail));
        }
    }
    Ok(rows)
}

/// Returns the verdict, and the state of the instances in one line. `named`: the user named the
/// instances, so each of them counts. Otherwise a stopped instance does not count, because a user
/// stopped it or it has finished its job.
pub(super) fn verdict(rows: &[HealthRow], named: bool, min: Option<usize>, words: StateWords) -> (bool, String) {
    let fault = |row: &HealthRow| match (row.trouble.as_deref(), row.status.as_str()) {
        // The state is the same word.
        (Some(trouble), "stopping") if trouble == message!("stopping") => Some(format!("{}:{} stopping", row.name, row.id)),
        (Some(trouble), status) => Some(format!("{}:{} {} ({})", row.name, row.id, words.of(status), trouble_text(trouble))),
        (None, "online") => None,
        (None, status) => Some(format!("{}:{} {}", row.name, row.id, words.of(status))),
    };
    let counted: Vec<&HealthRow> = rows.iter().filter(|row| named || row.status != "stopped").collect();
    let faults: Vec<String> = counted.iter().filter_map(|row| fault(row)).collect();
    let healthy = counted.len() - faults.len();
    // An instance that is online may be unhealthy, or not checked yet.
    let online = counted.iter().filter(|row| row.status == "online").count();
    let shown = faults.iter().take(MOST_FAULTS).map(|fault| crate::text::shown(fault)).collect::<Vec<_>>().join(", ");
    let line = match (shown.is_empty(), counted.len()) {
        (_, 0) => message!("no instance runs"),
        (true, all) => message!("{online} of {all} online", online, all),
        (false, all) => message!("{online} of {all} online; {faults}", online, all, faults = shown),
    };
    (min.map_or(healthy > 0 && faults.is_empty(), |min| healthy >= min), line)
}

/// Returns the trouble in words. An instance whose first health check has not succeeded yet waits
/// for it.
fn trouble_text(trouble: &str) -> String {
    match trouble.strip_prefix(HealthState::Starting.as_str()) {
        Some("") => message!("waiting for its first health check"),
        Some(answer) if answer.starts_with(':') => message!("waiting for its health check{answer}", answer),
        _ => trouble.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_requires_same_processes_healthy_for_the_period() {
        let seconds = Duration::from_secs;
        let (a, b) = (vec![(0, 10)], vec![(0, 11)]);
        // Checks of one wait of 10 s: time, healthy, failed, processes. The verdict is that of the
        // last check.
        type Check<'a> = (u64, bool, bool, &'a Vec<(u32, i32)>);
        let cases: [(&[Check<'_>], Option<bool>); 9] = [
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
        for (checks, expected) in cases {
            let mut period = HealthyPeriod::default();
            let last = checks
                .iter()
                .map(|(now, healthy, failed, pids)| period.update(seconds(*now), *healthy, *failed, (*pids).clone(), seconds(10)))
                .last();
            assert_eq!(last, Some(expected), "{checks:?}");
        }
    }

    #[test]
    fn live_line_fits_the_terminal() {
        let line = "1 of 2 online; 日本語の名前:3 launching";
        assert_eq!(live_text(line, Duration::from_millis(3120), None), format!("◐ 3.1 s  {line}"));
        for width in 20..=200 {
            assert!(live_text(line, Duration::MAX, Some(width)).width() < width);
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
        let (unchecked, refused) = (row("f", "online", Some("starting")), row("h", "online", Some("starting: TCP: refused")));
        let waits = row("g", "launching", Some("waiting for its ready message"));
        let (stops, drains) = (row("i", "stopping", Some("stopping")), row("j", "stopping", Some("finishing its requests")));
        type Case<'a> = (&'a [&'a HealthRow], bool, Option<usize>, bool, &'a str);
        let cases: [Case<'_>; 17] = [
            (&[], false, None, false, "no instance runs"),
            (&[], false, Some(0), true, "no instance runs"),
            (&[&up], false, None, true, "1 of 1 online"),
            (&[&up, &down], false, None, true, "1 of 1 online"),
            (&[&down], false, None, false, "no instance runs"),
            (&[&down], true, None, false, "0 of 1 online; b:0 stopped"),
            (&[&up, &gone], false, None, false, "1 of 2 online; c:0 errored"),
            (&[&up, &gone], false, Some(1), true, "1 of 2 online; c:0 errored"),
            (&[&up, &gone], false, Some(2), false, "1 of 2 online; c:0 errored"),
            (&[&ill], false, None, false, "1 of 1 online; d:0 online (503)"),
            (&[&up, &ill], false, Some(1), true, "2 of 2 online; d:0 online (503)"),
            (&[&up, &unchecked], false, None, false, "2 of 2 online; f:0 online (waiting for its first health check)"),
            (&[&refused], true, None, false, "1 of 1 online; h:0 online (waiting for its health check: TCP: refused)"),
            (&[&waits], false, None, false, "0 of 1 online; g:0 launching (waiting for its ready message)"),
            (&[&up, &stops], true, None, false, "1 of 2 online; i:0 stopping"),
            (&[&up, &drains], true, None, false, "1 of 2 online; j:0 stopping (finishing its requests)"),
            (&[&up, &new], true, None, false, "1 of 2 online; e:0 launching"),
        ];
        for (rows, named, min, healthy, line) in cases {
            let rows: Vec<HealthRow> = rows.iter().map(|row| (*row).clone()).collect();
            assert_eq!(verdict(&rows, named, min, StateWords::Pm2), (healthy, line.to_owned()), "{rows:?}");
            assert_eq!(verdict(&rows, named, min, StateWords::Own), (healthy, line.replace("errored", "crashed")), "{rows:?}");
        }
    }
}
