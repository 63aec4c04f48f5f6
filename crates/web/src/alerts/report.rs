//! Results that other tasks send to the task of the alerts.

use std::sync::Arc;

use ostler_alerts::input::CheckResult;
use ostler_alerts::render::DeliveryResult;

use super::check::CheckError;
use super::descriptions::AppDescriptions;
use crate::snapshot::Snapshot;

/// Result of work that runs beside the alert task.
pub(super) enum TaskReport {
    Described { asked_ms: u64, descriptions: Option<Box<AppDescriptions>> },
    Sampled(Arc<Snapshot>),
    Checked { rule: String, result: Result<CheckResult, CheckError> },
    Wrote { app: String, instance: Option<u32>, line: String },
    Sent { channel: String, id: String, verdict: DeliveryResult },
}
