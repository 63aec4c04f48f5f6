//! Text for a terminal: safe, limited to its width, in characters that it supports.

mod ascii;
mod fit;
pub(crate) mod language;
mod safe;

pub(crate) use ascii::{ascii, is_ascii_wanted};
pub(crate) use ostler_client::words::shown;
pub(crate) use safe::safe;

pub(crate) use fit::{fit, wrap, wrap_all, wrap_commands, wrap_indented, wrap_message, wrap_words};
#[cfg(any(feature = "fleet", feature = "machine"))]
pub(crate) use ostler_fleet::{always_sh, sh};

/// Returns a name as a user would type it.
pub(crate) fn shell_word(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:@/+".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) { name.to_owned() } else { format!("'{}'", shown(name).replace('\'', "'\\''")) }
}
