//! Figures of apps' own pages (`scrape`): read from each instance, added up, shown in `/metrics` and kept in the history.
//!
//! # Theory of operation
//! Only while somebody collects: a request for `/metrics`, and the history at its step of ten seconds, which share what was read within a second. Who has a page
//! is in the descriptions, which are asked for once for each process. Where instances share a port, a connection to it reaches any of them: then the preload of a
//! Node worker is asked for a way to that very process (`Request::Reach`), and `increment` says that each has a port of its own. [`fetch`] reads, [`page`]
//! understands, [`sum`] adds up, [`kept`] has the sums survive this process; all of it is bounded, because an app may write anything.

mod fetch;
mod kept;
mod page;
mod past;
mod run;
mod sum;

pub(crate) use page::{Family, Kind, Points, Series, Value, escaped};
pub(crate) use run::Scraper;
pub(crate) use sum::AppFigures;

/// Most samples of all instances together.
const MOST_SAMPLES: usize = 20_000;

#[cfg(test)]
pub(crate) fn tests_figures(app: &str, pages: &[&str]) -> AppFigures {
    let read = pages.iter().zip(0..).map(|(text, id)| (id, 1, Some(page::page(text)))).collect();
    let workers = (0..).zip(pages).map(|(id, _)| (id, true)).collect();
    AppFigures { app: app.into(), namespace: "default".into(), figures: sum::Sums::default().take(read), workers }
}
