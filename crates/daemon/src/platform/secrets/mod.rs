//! Secrets: variables whose values exist in the app's process and, during its start, in the daemon.
//!
//! # Theory of operation
//!
//! A description contains only sources of secrets, so lists, journal and dump contain only these.
//! Files and credentials are read when the environment of a process is built ([`add`]), and
//! discarded with it.
//!
//! Commands run before that, in the state `Preparing`. Their values are passed in.
//!
//! Every memory that holds a value in transit ([`Value`], the environment, the messages to the
//! keeper) is overwritten before it is freed: see `ostler_sys::memory::secret_bytes`.

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

/// Reads all values, including those of commands; `None` omits the values of commands.
///
/// # Errors
///
/// The error names the variable and the problem of its source, but never the value.
pub(crate) fn read(spec: &AppSpec, given: Option<Values>, credentials: &Credentials) -> Result<Values, SpawnFailure> {
    let by_command = given.is_some();
    let mut given = given.unwrap_or_default();
    let mut values = Values::default();
    for (name, source) in &spec.secrets {
        let value = match source {
            SecretSource::File(path) => read::file(name, Path::new(path), &Rights::of(spec))?,
            SecretSource::Credential(credential) => credentials.read(name, credential)?,
            SecretSource::Command { .. } if !by_command => continue,
            // The description has changed in between, or the daemon died: the next attempt requests
            // the value.
            SecretSource::Command { .. } => {
                given.take(name).ok_or_else(|| SpawnFailure::new(format!("read secret {name}: it has not been fetched yet"), 0))?
            }
        };
        values.insert(name, value);
    }
    Ok(values)
}
