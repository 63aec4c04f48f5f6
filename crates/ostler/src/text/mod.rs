//! Text for a terminal: safe, as wide as there is room, in characters that it knows.

mod ascii;
mod fit;
mod shell;

pub(crate) use ascii::{ascii, is_ascii_wanted};
pub(crate) use fit::{fit, wrap, wrap_words};
pub(crate) use shell::{always_sh, sh};

/// Text of others without what would move the cursor.
pub(crate) fn shown(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    } else {
        text.into()
    }
}
