//! The saved list (`dump.pm2`) and its older generations.

use std::path::{Path, PathBuf};

use ostler_proto::pm2::to_dump;

use super::Slots;
use crate::platform::log::chain;
use crate::platform::settings::Settings;
use ostler_sys::fs::replace::{Durability, ReplaceError, Writers, replace};

/// Reason why the list cannot be saved. The old list is unchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    /// Older list that cannot be renamed.
    #[error("cannot rename \"{}\": {source}", .path.display())]
    Rename {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// File that cannot be written.
    #[error("{}; the old list is unchanged", chain(.0))]
    Write(ReplaceError),
}

/// Number of older lists that are kept, as `dump.pm2.bak`, `dump.pm2.bak.1`, …
pub(crate) const GENERATIONS: u32 = 3;

/// Returns the path of an older generation: `dump.pm2.bak.1`, …
pub(crate) fn older(backup: &Path, generation: u32) -> PathBuf {
    let mut name = backup.as_os_str().to_owned();
    name.push(format!(".{generation}"));
    PathBuf::from(name)
}

/// Saves the present list without modules, which the list of installed modules starts. If `backup`
/// is set, the previous list is copied there.
///
/// # Errors
///
/// Returns the reason as a text; the old list is unchanged.
pub(crate) fn write(slots: &Slots, settings: &Settings, path: &Path, backup: Option<&Path>) -> Result<(), SaveError> {
    let details: Vec<_> = slots.serving().filter(|slot| !slot.spec().is_module()).map(|slot| slot.detail(settings)).collect();
    let text = to_dump(&details);
    if let Some(backup) = backup {
        keep_generations(path, backup, &text)?;
    }
    replace(path, text.as_bytes(), Durability::Power, Writers::One).map_err(SaveError::Write)
}

/// Copies the present list to `.bak`, and each older list to the next number. A failed copy changes
/// nothing.
fn keep_generations(path: &Path, backup: &Path, next: &str) -> Result<(), SaveError> {
    let Ok(present) = std::fs::read(path) else { return Ok(()) };
    // An equal list is not a new generation, so that saving twice does not discard the older lists.
    if present == next.as_bytes() && backup.exists() {
        return Ok(());
    }
    for generation in (1..GENERATIONS).rev() {
        let from = if generation == 1 { backup.to_owned() } else { older(backup, generation - 1) };
        if from.exists() {
            std::fs::rename(&from, older(backup, generation)).map_err(|source| SaveError::Rename { path: from, source })?;
        }
    }
    replace(backup, &present, Durability::Process, Writers::One).map_err(SaveError::Write)
}
