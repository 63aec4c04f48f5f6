//! Keys of a unit of systemd.

use super::{Format, Key};

pub(super) const FORMAT: Format =
    Format { title: "systemd", source: "systemd.service(5), systemd.exec(5), systemd.kill(5), systemd.resource-control(5)", keys: KEYS };

pub(in crate::import) const KEYS: &[Key] = &[];
