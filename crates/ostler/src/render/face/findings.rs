//! Results of checks in ostler's own look: the mark, the subject, the facts, and below them the
//! remedy.

use super::hang::hang;
use super::mark::Mark;
use crate::render::style::styles;
use crate::render::view::View;
use crate::text::shown;

/// One result.
#[derive(Clone, Debug)]
pub(crate) struct FindingRow<'a> {
    pub mark: Mark,
    /// Subject of the check.
    pub what: &'a str,
    /// The facts that were found.
    pub found: &'a str,
    /// Remedy, or the consequence.
    pub remedy: Option<&'a str>,
}

/// Formats the results, the worst first.
pub(crate) fn findings(rows: &[FindingRow<'_>], view: &View) -> String {
    let mut rows: Vec<&FindingRow<'_>> = rows.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.mark));
    rows.into_iter().map(|row| one(row, view)).collect()
}

fn one(row: &FindingRow<'_>, view: &View) -> String {
    let (glyph, what, found) = (row.mark.glyph().to_string(), format!("{}:", shown(row.what)), shown(row.found));
    let plain = styles::PLAIN;
    let head = hang(&[(&glyph, row.mark.style()), (&what, styles::BOLD), (&found, plain)], (0, 4), view);
    let remedy = row.remedy.map(|remedy| hang(&[("→", styles::DIM), (&shown(remedy), plain)], (4, 6), view));
    head + &remedy.unwrap_or_default()
}
