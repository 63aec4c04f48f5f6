//! Release of a running app, from a config file or an earlier release.

use ostler_core::app::{AppSpec, EnvMap};

use crate::engine::overlaid;

/// New release: its description, its environment and its instances.
#[derive(Clone, Debug)]
pub(super) struct NewRelease {
    /// Its description.
    pub spec: AppSpec,
    /// Its caller's environment.
    pub env: NewEnv,
    /// Number of instances to add when the present ones are replaced.
    pub more: u32,
}

/// Environment that an instance gets.
#[derive(Clone, Debug)]
pub(super) enum NewEnv {
    /// The environment stays.
    Same,
    /// These variables are added to it.
    Over(EnvMap),
    /// It is replaced by this environment of an earlier release.
    Exactly(EnvMap),
}

impl NewEnv {
    /// Returns the environment that replaces the present one; `None` if it stays.
    pub(super) fn replacement_env(&self, present: &EnvMap) -> Option<EnvMap> {
        match self {
            Self::Same => None,
            Self::Over(vars) => Some(overlaid(present, vars)),
            Self::Exactly(vars) => Some(vars.clone()),
        }
        .filter(|vars| vars != present)
    }
}
