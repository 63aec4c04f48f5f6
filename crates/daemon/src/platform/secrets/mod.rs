//! Secrets: variables whose values exist in the app's process and, while it is being started, here.
//!
//! # Theory of operation
//!
//! A description names sources only, so that is all that lists, journal and dump can contain. Files and credentials are read when the
//! environment of a process is put together ([`add`]), and forgotten with it.
//!
//! Commands run before that, in the state `Preparing`: their values are passed in.
//!
//! Every memory that holds a value on its way ([`Value`], the environment, the messages to the keeper) is overwritten before it is given back:
//! see `ostler_sys::memory::wiped`.

mod credentials;
mod read;
mod value;

use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::app::secrets::SecretSource;
use ostler_core::lifecycle::SpawnFailure;

use crate::platform::rights::Rights;
pub(crate) use credentials::Credentials;
pub(crate) use value::{Value, Values};

/// Reads all values: also those that commands gave (`None`: without these).
///
/// # Errors
/// Names the variable and what is wrong with its source; never the value.
pub(crate) fn read(spec: &AppSpec, given: Option<Values>, credentials: &Credentials) -> Result<Values, SpawnFailure> {
    let by_command = given.is_some();
    let mut given = given.unwrap_or_default();
    let mut values = Values::default();
    for (name, source) in &spec.secrets {
        let value = match source {
            SecretSource::File(path) => read::file(name, Path::new(path), &Rights::of(spec))?,
            SecretSource::Credential(credential) => credentials.read(name, credential)?,
            SecretSource::Command { .. } if !by_command => continue,
            // Another description came in between, or the daemon died: the next try asks for it.
            SecretSource::Command { .. } => {
                given.take(name).ok_or_else(|| SpawnFailure::new(format!("read secret {name}: it was not fetched yet"), 0))?
            }
        };
        values.insert(name, value);
    }
    Ok(values)
}
