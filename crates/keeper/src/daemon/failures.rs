//! Failures of a daemon that does not reach its loop, or dies of its own fault soon after. They
//! decide how long to wait before the next start, which answer clients get until then, and whether
//! every failure concerned the same record.

use ostler_sys::{WaitStatus, time::clock};

use crate::link::Packet;
use crate::link::codec::decode;
use crate::link::message::ToKeeper;

/// Number of failures in a row after which connecting clients get the reason instead of waiting.
pub(super) const REFUSED_FROM: u32 = 3;
/// Number of failures in a row over the same record after which the daemon sets the record aside.
const POISON_FROM: u32 = 3;
const FIRST_DELAY_MS: u64 = 20;
const MAX_DELAY_MS: u64 = 30_000;

/// Recent failures of daemons; pure.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: u32,
    /// Record that the last failed daemon was processing, and the number of failures in a row with
    /// that record.
    record: Option<u32>,
    same: u32,
    /// Reason that the last failed daemon gave.
    reason: String,
    pub(super) last_ms: u64,
    /// Whether the last failed daemon had reached its loop before.
    was_up: bool,
}

impl Failures {
    /// Counts one more failure. Returns how long to wait before the next start.
    pub(crate) fn failed(&mut self, record: Option<u32>, reason: String, was_up: bool, now_ms: u64) -> u64 {
        self.was_up = was_up;
        self.same = if record.is_some() && record == self.record { self.same + 1 } else { 1 };
        (self.record, self.reason, self.last_ms) = (record, reason, now_ms);
        self.count = self.count.saturating_add(1);
        match self.count {
            1 => 0,
            n => FIRST_DELAY_MS.checked_shl(n - 2).unwrap_or(MAX_DELAY_MS).min(MAX_DELAY_MS),
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Returns the record that the next daemon must set aside.
    pub(crate) fn poison(&self) -> Option<u32> {
        self.record.filter(|_| self.same >= POISON_FROM)
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// Notes that the daemon has reached its loop. The cause of earlier failures is gone, and a
    /// poisonous record has been set aside.
    pub(super) fn up(&mut self) {
        if !self.was_up || self.poison().is_some() {
            *self = Self::default();
        }
    }
}

/// Report of a daemon about itself.
pub(crate) enum DaemonReport {
    Up,
    At(Option<u32>),
    Why(Option<u32>, String),
}

/// Returns the report in a packet of a daemon that has exited.
pub(crate) fn decode_report(packet: &Packet) -> Option<DaemonReport> {
    match decode::<ToKeeper>(&packet.payload) {
        Ok(ToKeeper::Ready) => Some(DaemonReport::Up),
        Ok(ToKeeper::At { record }) => Some(DaemonReport::At(record)),
        Ok(ToKeeper::DeathReport { record, text }) => Some(DaemonReport::Why(record, text)),
        _ => None,
    }
}

/// Reports of a daemon about itself, kept in case it dies.
#[derive(Debug, Default)]
pub(crate) struct DaemonReports {
    /// Time at which it reached its loop.
    pub(super) up_ms: Option<u64>,
    /// Record that it is processing.
    pub(super) record: Option<u32>,
    /// Reason for its exit.
    pub(super) reason: Option<String>,
    pub(crate) ending: Option<WaitStatus>,
}

impl DaemonReports {
    /// Returns the life of a daemon that another keeper started.
    pub(crate) fn taken_over() -> Self {
        Self { up_ms: Some(clock::boot_ms()), ..Self::default() }
    }

    /// Applies a report.
    pub(crate) fn take(&mut self, report: DaemonReport) {
        match report {
            DaemonReport::Up => self.up_ms = Some(clock::boot_ms()),
            DaemonReport::At(record) => self.record = record,
            DaemonReport::Why(record, reason) => {
                self.record = record.or(self.record);
                self.reason = Some(reason);
            }
        }
    }

    pub(super) fn describe(&self) -> String {
        if let Some(reason) = &self.reason {
            return reason.clone();
        }
        match self.ending {
            Some(WaitStatus::Code(code)) => format!("it exited with code {code} and reported no reason; see pm2.log"),
            Some(WaitStatus::Signal { signal, .. }) => format!("it was killed by {}", ostler_sys::process::signal::name(signal)),
            Some(WaitStatus::Unknown) | None => "it exited and reported no reason; see pm2.log".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_grows_with_each_failure() {
        let mut failures = Failures::default();
        let delays: Vec<u64> = (0..14).map(|_| failures.failed(None, String::new(), false, 0)).collect();
        assert_eq!(delays, [0, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 30000, 30000]);
        assert_eq!(failures.poison(), None, "nobody knows over what");
        for _ in 0..100 {
            assert!(failures.failed(None, String::new(), false, 0) <= MAX_DELAY_MS);
        }
    }

    #[test]
    fn only_a_repeatedly_fatal_record_is_poison() {
        let mut failures = Failures::default();
        for (record, poison) in [(7, None), (7, None), (8, None), (7, None), (7, None), (7, Some(7))] {
            failures.failed(Some(record), String::new(), true, 0);
            assert_eq!(failures.poison(), poison);
        }
        failures.up();
        assert_eq!((failures.poison(), failures.count()), (None, 0), "set aside once");
        // A daemon was killed a few times during its start. The keeper forgets that as soon as one
        // is up.
        failures.failed(Some(7), String::new(), false, 0);
        failures.up();
        assert_eq!(failures.count(), 0);
    }
}
