//! Selection of instances by the names that users type.

use std::collections::BTreeSet;

use ostler_core::app::AppSpec;
use ostler_core::app::select::{SelectError, Selectable, select};
use ostler_proto::control::Failure;

use super::{Slot, Slots};

impl Slots {
    /// Returns the key of the app that a word names: the app with this key, otherwise the app with
    /// this name or `namespace/name`. Returns `None` if no app has that name.
    ///
    /// # Errors
    ///
    /// Returns an error if several namespaces have an app of this name, and none has it as its key.
    pub(crate) fn key_of(&self, word: &str) -> Result<Option<&str>, Failure> {
        let specs = || self.serving().map(Slot::spec);
        if let Some(spec) = specs().find(|spec| spec.key() == word) {
            return Ok(Some(spec.key()));
        }
        let qualified = word.split_once('/');
        let is_meant = |spec: &&AppSpec| spec.name == word || qualified == Some((&spec.namespace, &spec.name));
        let keys: BTreeSet<&str> = specs().filter(is_meant).map(AppSpec::key).collect();
        match keys.len() {
            0 | 1 => Ok(keys.first().copied()),
            _ => {
                let keys: Vec<&str> = keys.into_iter().collect();
                Err(Failure::Other(format!("several apps are named {word}: use {}", keys.join(" or "))))
            }
        }
    }

    /// Resolves one target to our own numbers.
    ///
    /// # Errors
    ///
    /// Returns an error if nothing has that name, or if the target is malformed.
    pub(crate) fn select(&self, target: &str, cwd: &str) -> Result<Vec<u32>, Failure> {
        self.select_in(None, target, cwd)
    }

    /// Resolves one target among the apps of a namespace; `None` means all apps.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Slots::select`].
    pub(crate) fn select_in(&self, namespace: Option<&str>, target: &str, cwd: &str) -> Result<Vec<u32>, Failure> {
        let is_in = |slot: &&Slot| namespace.is_none_or(|namespace| slot.spec().namespace == namespace);
        let slots: Vec<&Slot> = self.serving().filter(is_in).collect();
        let entries: Vec<Selectable<'_>> = slots
            .iter()
            .map(|slot| Selectable {
                id: slot.durable.pm_id,
                name: &slot.spec().name,
                namespace: &slot.spec().namespace,
                script: &slot.spec().script,
                is_module: slot.spec().is_module(),
            })
            .collect();
        let own = |found: Vec<u32>| {
            found.iter().filter_map(|id| slots.iter().find(|slot| slot.durable.pm_id == *id)).map(|slot| slot.durable.id).collect()
        };
        select(target, &entries, cwd).map(own).map_err(|error| match error {
            SelectError::NotFound(target) => Failure::NotFound { target },
            SelectError::Empty => Failure::Empty,
            other @ SelectError::BadRegex { .. } => Failure::Other(other.to_string()),
        })
    }
}
