//! Environment of an app, in layers.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::app::default_box::is_default;
use crate::app::inherit::{EnvMap, EnvPolicy};

/// Environment of an app, lowest layer first: caller, `env_file`, `env`, the chosen profile. The
/// daemon adds its own on top.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvSpec {
    /// Environment of the client that started the app, after `filter_env`. On the wire it may
    /// travel once per request instead (then it is empty here).
    #[serde(skip_serializing_if = "is_default")]
    pub base: Arc<EnvMap>,
    /// Variables of `env_file`.
    #[serde(skip_serializing_if = "is_default")]
    pub file: EnvMap,
    /// `env` (and `port` as `PORT`).
    #[serde(skip_serializing_if = "is_default")]
    pub vars: EnvMap,
    /// Every `env_<name>` block by its name.
    #[serde(skip_serializing_if = "is_default")]
    pub profiles: IndexMap<String, EnvMap>,
    /// The profile chosen with `--env <name>`.
    #[serde(skip_serializing_if = "is_default")]
    pub profile: Option<String>,
    /// Variable that holds the instance number; `NODE_APP_INSTANCE` unless given.
    #[serde(skip_serializing_if = "is_default")]
    pub instance_var: Option<String>,
    /// Variable increased by one per instance, from its value in `env`.
    #[serde(skip_serializing_if = "is_default")]
    pub increment_var: Option<String>,
    /// Variables that the file has as numbers or booleans, by its key (`env`, `env_<name>`): lists
    /// show them as such. A process gets text.
    #[serde(skip_serializing_if = "is_default")]
    pub bare: IndexMap<String, Vec<String>>,
    /// Part of `base` that reaches the app.
    #[serde(skip_serializing_if = "is_default")]
    pub policy: EnvPolicy,
    /// Variables that are `undefined` in the file: the app does not get their values from `base`.
    #[serde(skip_serializing_if = "is_default")]
    pub undefined: Vec<String>,
}

impl EnvSpec {
    /// Returns all layers merged: the environment of the app without the daemon's own variables.
    pub fn merged(&self) -> EnvMap {
        let mut all = EnvMap::new();
        for layer in self.layers() {
            all.extend(layer.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        all
    }

    /// Returns the app's own variables: those of its file, and those that commands set later.
    pub fn declared(&self) -> EnvMap {
        let mut all = EnvMap::new();
        // The lowest layer is the caller's.
        for layer in self.layers().skip(1) {
            all.extend(layer.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        all
    }

    /// Sets the app's own variables to the values that a caller has for them (`--update-env`). An
    /// app that takes only part of its caller's environment keeps its own.
    pub fn update(&mut self, caller: &EnvMap) {
        if self.policy != EnvPolicy::Inherit {
            return;
        }
        self.undefined.retain(|name| !caller.contains_key(name));
        let profile = self.profile.as_ref().and_then(|name| self.profiles.get_mut(name));
        for layer in [Some(&mut self.file), Some(&mut self.vars), profile].into_iter().flatten() {
            for (name, value) in layer {
                if let Some(new) = caller.get(name) {
                    value.clone_from(new);
                }
            }
        }
    }

    /// Returns true if one of these variables of a caller is `undefined` in the file.
    pub fn hides_any(&self, vars: &EnvMap) -> bool {
        self.undefined.iter().any(|name| vars.contains_key(name))
    }

    /// Returns the key of the file that sets the effective value of this variable.
    pub fn key_of(&self, name: &str) -> String {
        match self.profile.as_ref().filter(|profile| self.profiles.get(*profile).is_some_and(|vars| vars.contains_key(name))) {
            Some(profile) => format!("env_{profile}"),
            None => "env".to_owned(),
        }
    }

    /// Returns all effective layers, the lowest first.
    pub fn layers(&self) -> impl Iterator<Item = &EnvMap> {
        let profile = self.profile.as_ref().and_then(|name| self.profiles.get(name));
        [Some(&*self.base), Some(&self.file), Some(&self.vars), profile].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(text: &str) -> EnvMap {
        text.split_whitespace().filter_map(|word| word.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn caller_values_override_declared_variables() {
        for (policy, expected) in [(EnvPolicy::Inherit, "F=new V=new P=new K=1"), (EnvPolicy::Clean, "F=1 V=1 P=1 K=1")] {
            let profiles = [("prod".to_owned(), vars("P=1")), ("other".to_owned(), vars("X=1"))].into_iter().collect();
            let (file, own, profile) = (vars("F=1"), vars("V=1 K=1"), Some("prod".to_owned()));
            let mut env = EnvSpec { file, vars: own, profiles, profile, policy, ..EnvSpec::default() };
            env.update(&vars("F=new V=new P=new X=new MORE=1"));
            assert_eq!(env.declared(), vars(expected));
            assert_eq!(env.profiles["other"], vars("X=1"), "a profile that is not chosen stays");
        }
    }
}
