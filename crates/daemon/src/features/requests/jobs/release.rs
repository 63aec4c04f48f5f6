//! Release that a config file, or an earlier release, describes for a running app.

use ostler_core::app::{AppSpec, EnvMap};

use crate::engine::laid_over;

/// A new release: its description, its environment and its instances.
#[derive(Clone, Debug)]
pub(super) struct NewRelease {
    /// Its description.
    pub spec: AppSpec,
    /// Its caller's environment.
    pub env: NewEnv,
    /// Instances to add when the present ones are replaced.
    pub more: u32,
}

/// Environment that an instance gets.
#[derive(Clone, Debug)]
pub(super) enum NewEnv {
    /// It stays.
    Same,
    /// These variables are laid over it.
    Over(EnvMap),
    /// It is this one: that of an earlier release.
    Exactly(EnvMap),
}

impl NewEnv {
    /// The environment in place of the present one; none if it stays.
    pub(super) fn instead_of(&self, present: &EnvMap) -> Option<EnvMap> {
        match self {
            Self::Same => None,
            Self::Over(vars) => Some(laid_over(present, vars)),
            Self::Exactly(vars) => Some(vars.clone()),
        }
        .filter(|vars| vars != present)
    }
}
