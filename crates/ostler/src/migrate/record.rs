//! Record of moved apps. It is written before any app is stopped, so that every step can be found
//! and undone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ostler_core::marked;
use ostler_sys::fs::replace::{Durability, Writers, replace};
use serde::{Deserialize, Serialize};

use crate::error::{CliError, MigrateError};

/// The file `migration.json` of a home.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// PM2's home.
    pub from: PathBuf,
    /// Apps, in the order in which they were moved.
    pub apps: Vec<Moved>,
    /// Boot units of PM2 that were disabled.
    #[serde(default)]
    pub units: Vec<String>,
}

/// An app that was moved, or was about to be moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moved {
    pub name: String,
    /// PM2's ids of the instances that were stopped there.
    pub pm_ids: Vec<u32>,
}

impl Record {
    /// Returns the path in this home.
    pub(crate) fn path(home: &Path) -> PathBuf {
        home.join("migration.json")
    }

    /// Reads the record of this home, if it exists.
    ///
    /// # Errors
    /// Returns an error if it cannot be read or is malformed.
    pub(crate) fn read(home: &Path) -> Result<Option<Self>, CliError> {
        let path = Self::path(home);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|cause| MigrateError::Record { path, cause }.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CliError::File { what: marked!("read"), path: path.display().to_string(), source }),
        }
    }

    /// Writes the record, or removes the file if nothing is left to undo.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written; it is then unchanged.
    pub(crate) fn write(&self, home: &Path) -> Result<(), CliError> {
        let path = Self::path(home);
        let failed = |source| CliError::File { what: marked!("write"), path: path.display().to_string(), source };
        if self.apps.is_empty() && self.units.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        replace(&path, &text, Durability::Power, Writers::Many).map_err(|error| failed(error.source))
    }

    /// Records that an app is about to be moved.
    pub(crate) fn note(&mut self, moved: Moved) {
        self.apps.retain(|app| app.name != moved.name);
        self.apps.push(moved);
    }
}
