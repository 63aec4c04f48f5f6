//! The dashboard: its cost beside a hundred apps, its history, its page for Prometheus, its search
//! in logs, and the cost of metrics for a Node app.

pub(super) mod collected;
mod dashboard;
mod history;
mod page;
mod rest;
mod scrape;
mod search;

use crate::lab::Lab;
use crate::report::Row;
use anyhow::Result;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let parts = [rest::measure, history::measure, scrape::measure, page::measure, search::measure];
    let mut rows = Vec::new();
    for part in parts {
        rows.extend(part(lab)?);
    }
    Ok(rows)
}
