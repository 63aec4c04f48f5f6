//! Errors of the settings file.

use std::path::PathBuf;

use ostler_core::message;
use ostler_proto::pm2::ConfError;

/// Reason why settings cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] ConfError),
    /// Lock that another command holds.
    #[error("{}", message!("another command holds the lock \"{path}\"", path = _0.display()))]
    Locked(PathBuf),
    /// Key that names no setting.
    #[error("{}", message!("\"{key}\" is not a valid setting name: {part} is not allowed", key, part = format!("{part:?}")))]
    Key {
        /// As typed, escaped.
        key: String,
        /// The wrong part of it.
        part: String,
    },
    /// Value that makes no sense.
    #[error("{section}:{key}: {reason}")]
    Value {
        /// The section.
        section: String,
        /// The key.
        key: String,
        /// The fault.
        reason: String,
    },
    /// Setting that the section does not have.
    #[error("{}", unknown(section, key, *near, known))]
    Unknown {
        /// The section.
        section: String,
        /// The key.
        key: String,
        /// Known key that is close to it.
        near: Option<&'static str>,
        /// All known keys.
        known: Vec<&'static str>,
    },
}

/// Returns the text of [`SettingError::Unknown`].
fn unknown(section: &str, key: &str, near: Option<&str>, known: &[&str]) -> String {
    let key = format!("{key:?}");
    match near {
        None => message!("{section} has no setting {key}; expected one of {known}", section, key, known = known.join(", ")),
        Some(near) => message!("{section} has no setting {key}, did you mean {near}?", section, key, near),
    }
}
