//! `scrape`: where an app's own figures are. It is checked here and kept as given; the dashboard reads it from there.

use ostler_core::health::scrape::scrape;
use serde_json::Value;

/// Checks it. All faults at once.
pub(super) fn check(value: &Value) -> Result<(), String> {
    scrape(value).map(|_| ()).map_err(|faults| faults.join("; "))
}
