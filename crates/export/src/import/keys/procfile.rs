//! Keys of a Procfile.

use super::{Format, Key};

pub(super) const FORMAT: Format = Format { title: "Procfile", source: "foreman 0.88", keys: KEYS };

pub(in crate::import) const KEYS: &[Key] = &[];
