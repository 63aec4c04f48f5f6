//! Text and numbers: units, suggestions, fingerprints, and causes of errors.

pub mod causes;
pub mod fnv;
pub mod os_text;
pub mod ring;
pub mod suggest;
pub mod units;
