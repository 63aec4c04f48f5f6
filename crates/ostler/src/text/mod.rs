//! Text for a terminal: safe, as wide as there is room, in characters that it knows.

mod ascii;
mod fit;
mod shell;

pub(crate) use ascii::{ascii, is_ascii_wanted};
pub(crate) use ostler_client::words::shown;

pub(crate) use fit::{fit, wrap, wrap_words};
pub(crate) use shell::{always_sh, sh};
