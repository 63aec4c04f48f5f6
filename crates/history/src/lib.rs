//! A store of figures over time: fixed steps, four tiers, bounded in memory and on disk.
//!
//! # Theory of operation
//! A *series* is what one text key names; a *point* is the minimum, average and maximum of a series in one step of a tier, with the number of samples in it.
//! Samples of ten seconds go to the tier `10s`, those of a second (while somebody watches) also to `1s`. New points are kept in memory ([`Loose`](loose)) and
//! appended to a journal at each [`History::flush`]; when a tier has enough of them they become a *block*, packed and with checksums, at the end of the tier's
//! newest *segment* file. A segment that is full is rolled up into one block of the next tier (`1m`, then `1h`), and a tier keeps its newest segments.
//!
//! So each coarser tier is made from files, not from memory, and what a tier has not rolled up yet a query takes from the finer one: nothing is there twice.
//!
//! # The clock
//! Segments are ordered by when they were written and hold an amount of recorded time, so a clock that is set forth and back drops nothing. Set back by at most a
//! minute, time stands still until it is reached again; by more, a new block begins, and a moment that comes twice has the samples of both.
//!
//! # What is lost
//! Values are rounded ([`Scale`]). A process that is killed loses what came after its last flush, and the ten seconds that are being summed up. After a power
//! failure the journal may be gone: at most 20 minutes. Files that are damaged or of a newer version are set aside under another name, and told ([`Notice`]).
#![forbid(unsafe_code)]

mod bits;
mod block;
mod disk;
mod files;
mod journal;
mod loose;
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
mod played;
#[cfg(test)]
mod tests;

pub use disk::{Disk, Folder};
pub use names::LONGEST_KEY;
pub use notice::Notice;
pub use query::{Answer, Figure, Reads};
pub use scale::Scale;
pub use store::{Every, FLUSH, History, MOST_SERIES, Options};
