//! Results that other tasks send to the task of the alerts.

use std::sync::Arc;

use ostler_alerts::input::Checked;
use ostler_alerts::render::Verdict;

use super::described::Described;
use crate::snapshot::Snapshot;

/// Result of work that runs beside the alert task.
pub(super) enum Report {
    Described { asked_ms: u64, described: Option<Box<Described>> },
    Sampled(Arc<Snapshot>),
    Checked { rule: String, result: Result<Checked, String> },
    Wrote { app: String, instance: Option<u32>, line: String },
    Sent { channel: String, id: String, verdict: Verdict },
}
