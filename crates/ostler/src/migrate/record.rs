//! What was moved: written before anything is stopped, so that it can be found and undone whatever happens in between.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ostler_sys::fs::replace::{Durability, Writers, replace};
use serde::{Deserialize, Serialize};

use crate::error::{CliError, MigrateError};

/// The file `migration.json` of a home.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// PM2's home.
    pub from: PathBuf,
    /// In the order in which they were moved.
    pub apps: Vec<Moved>,
    /// Boot units of PM2 that were switched off.
    #[serde(default)]
    pub units: Vec<String>,
}

/// An app that was moved, or was about to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moved {
    pub name: String,
    /// Ids in PM2 of what was stopped there.
    pub pm_ids: Vec<u32>,
}

impl Record {
    /// The path in this home.
    pub(crate) fn path(home: &Path) -> PathBuf {
        home.join("migration.json")
    }

    /// The record of this home, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or makes no sense.
    pub(crate) fn read(home: &Path) -> Result<Option<Self>, CliError> {
        let path = Self::path(home);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|cause| MigrateError::Record { path, cause }.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CliError::File { what: "read", path: path.display().to_string(), source }),
        }
    }

    /// Writes it, or removes the file when there is nothing left to undo.
    ///
    /// # Errors
    /// The file is as it was.
    pub(crate) fn write(&self, home: &Path) -> Result<(), CliError> {
        let path = Self::path(home);
        let failed = |source| CliError::File { what: "write", path: path.display().to_string(), source };
        if self.apps.is_empty() && self.units.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        replace(&path, &text, Durability::Power, Writers::Many).map_err(|error| failed(error.source))
    }

    /// Notes that an app is about to be moved.
    pub(crate) fn note(&mut self, moved: Moved) {
        self.apps.retain(|app| app.name != moved.name);
        self.apps.push(moved);
    }
}
