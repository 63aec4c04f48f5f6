//! Keys of a compose file.

use super::{Format, Key};

pub(super) const FORMAT: Format = Format { title: "Compose", source: "the Compose specification", keys: KEYS };

pub(in crate::import) const KEYS: &[Key] = &[];
