//! Keys of a file of OxMgr.

use super::{Format, Key};

pub(super) const FORMAT: Format = Format { title: "OxMgr", source: "the oxfile of OxMgr", keys: KEYS };

pub(in crate::import) const KEYS: &[Key] = &[];
