//! Keys of a file of supervisor.

use super::{Format, Key};

pub(super) const FORMAT: Format = Format { title: "supervisor", source: "the configuration file of supervisor 4", keys: KEYS };

pub(in crate::import) const KEYS: &[Key] = &[];
