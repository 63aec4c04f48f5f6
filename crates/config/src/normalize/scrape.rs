//! `scrape`: location of an app's own metrics. It is checked here and stored as given; the
//! dashboard reads it from there.

use ostler_core::health::scrape::scrape;
use serde_json::Value;

/// Checks the value and reports all faults at once.
pub(super) fn check(value: &Value) -> Result<(), String> {
    scrape(value).map(|_| ()).map_err(|faults| faults.join("; "))
}
