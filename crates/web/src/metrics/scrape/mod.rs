//! Metrics of apps' own pages (`scrape`): read from each instance, summed, shown in `/metrics` and
//! recorded in the history.
//!
//! # Theory of operation
//! Pages are read only on demand: by a request for `/metrics`, and by the history every ten
//! seconds. Both share data that is at most a second old. The app's description names its page, if
//! any; it is queried once for each process.
//!
//! If instances share a port, a connection to it reaches any of them. For Node workers, the
//! dashboard then asks the preload for a socket to exactly that process (`Request::Reach`). With
//! `increment`, each instance has a port of its own.
//!
//! [`fetch`] reads a page, [`page`] parses it, [`sum`] adds the pages up, and [`kept`] preserves
//! the sums over a restart. All of it is bounded, because an app may write anything.

mod fetch;
#[cfg(debug_assertions)]
pub(crate) mod fuzz;
mod history_values;
mod page;
mod run;
mod saved_sums;
mod sum;

pub(crate) use page::{Family, FamilyKind, FamilyValue, Series, SeriesPoints, escaped};
pub(crate) use run::Scraper;
pub(crate) use sum::AppFigures;

/// Maximum number of samples of all instances together.
const MOST_SAMPLES: usize = 20_000;

#[cfg(test)]
pub(crate) fn tests_figures(app: &str, pages: &[&str]) -> AppFigures {
    let read = pages.iter().zip(0..).map(|(text, id)| (id, 1, Some(page::page(text)))).collect();
    let workers = (0..).zip(pages).map(|(id, _)| (id, true)).collect();
    AppFigures { app: app.into(), namespace: "default".into(), figures: sum::Sums::default().take(read), workers }
}
