//! Errors of the settings file.

use std::path::PathBuf;

use ostler_proto::pm2::ConfError;

/// Reason why settings cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] ConfError),
    /// Lock that another command holds.
    #[error("another command holds the lock \"{}\"", .0.display())]
    Locked(PathBuf),
    /// Key that names no setting.
    #[error("\"{key}\" is not a valid setting name: {part:?} is not allowed")]
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
    #[error("{section} has no setting {key:?}{}", near.map_or_else(|| format!("; expected one of {}", known.join(", ")), |near| format!(", did you mean {near}?")))]
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
