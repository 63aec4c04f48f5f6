//! Text and numbers: units, quotes, suggestions, translations, fingerprints, and causes of errors.

pub mod causes;
pub mod fnv;
pub mod language;
pub mod os_text;
pub mod po;
pub mod quote;
pub mod ring;
pub mod suggest;
pub mod units;
