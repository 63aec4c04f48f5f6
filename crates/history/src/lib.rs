//! Time-series store for metrics: fixed steps, four tiers, bounded memory and disk usage.
//!
//! # Theory of operation
//! A *series* is identified by a text key. A *point* is the minimum, average and maximum of a
//! series in one step of a tier, with the number of samples.
//! Samples taken every ten seconds go to the tier `10s`. While a user watches, samples are taken
//! every second and also go to the tier `1s`.
//!
//! New points are kept in memory ([`GrowingPoints`](growing_points)) and appended to a journal at
//! each [`History::flush`]. When a tier has enough of them, they become a *block*. Blocks are
//! packed, have checksums, and are appended to the newest *segment* file of the tier. A full
//! segment is rolled up into one block of the next tier (`1m`, then `1h`). Each tier keeps its
//! newest segments.
//!
//! Each coarser tier is therefore made from files, not from memory. A query takes data that a tier
//! has not rolled up yet from the finer tier, so nothing is counted twice.
//!
//! # The clock
//! Segments are ordered by the time of writing and hold a fixed amount of recorded time. A clock
//! that is set forward and back therefore drops nothing. If the clock is set back by at most a
//! minute, the store waits until the old time is reached again.
//! If it is set back by more, a new block begins. A moment that occurs twice then has the samples
//! of both.
//!
//! # Data loss
//! Values are rounded ([`Scale`]). A killed process loses the data since its last flush and the ten
//! seconds that are being aggregated. After a power failure the journal may be lost: at most 20
//! minutes. Damaged files and files of a newer version are renamed and reported ([`Notice`]).
#![forbid(unsafe_code)]

mod bits;
mod block;
mod disk;
mod files;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
mod growing_points;
mod journal;
mod names;
mod notice;
mod packed;
mod point;
mod query;
mod roll;
mod scale;
mod segments;
mod store;
mod tier;
mod varint;

#[cfg(test)]
mod fake_disk;
#[cfg(test)]
mod tests;

pub use disk::{Disk, Folder};
pub use names::LONGEST_KEY;
pub use notice::Notice;
pub use query::{Figure, QueryResult, Reads};
pub use scale::Scale;
pub use store::{FLUSH, History, MOST_SERIES, Options, SampleInterval};
