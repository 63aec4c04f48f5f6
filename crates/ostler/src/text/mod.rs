//! Text for a terminal: safe, as wide as there is room, in characters that it knows.

mod ascii;
mod fit;
mod safe;

pub(crate) use ascii::{ascii, is_ascii_wanted};
pub(crate) use ostler_client::words::shown;
pub(crate) use safe::safe;

pub(crate) use fit::{fit, wrap, wrap_words};
#[cfg(any(feature = "fleet", feature = "machine"))]
pub(crate) use ostler_fleet::{always_sh, sh};
