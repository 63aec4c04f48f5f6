//! Text and numbers: units, quotes, suggestions, fingerprints, and causes of errors.

pub mod causes;
pub mod fnv;
pub mod os_text;
pub mod quote;
pub mod ring;
pub mod suggest;
pub mod units;
