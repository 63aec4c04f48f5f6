//! Hooks: commands of an app at fixed points of its life. This module describes them;
//! [`crate::lifecycle`] decides when they run.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::app::default_box::is_default;
use crate::lifecycle::command::Command;

/// Time limit of a hook that sets none.
pub const TIMEOUT_MS: u64 = 30_000;

/// Points of an instance's life at which a command may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Before each start of an instance.
    PreStart,
    /// When a process is ready; it counts as ready after the hook.
    PostStart,
    /// Before a process that was ready gets the stop request.
    PreStop,
    /// When no process of the incarnation is left, after any kind of exit.
    PostStop,
    /// After an unrequested exit, in parallel with the next step.
    OnCrash,
}

impl Hook {
    /// All hooks.
    pub const ALL: [Self; 5] = [Self::PreStart, Self::PostStart, Self::PreStop, Self::PostStop, Self::OnCrash];

    /// Its key in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreStart => "pre_start",
            Self::PostStart => "post_start",
            Self::PreStop => "pre_stop",
            Self::PostStop => "post_stop",
            Self::OnCrash => "on_crash",
        }
    }

    /// Returns true if the hook can prevent the next step. The others only accompany a stop or
    /// crash.
    pub fn can_abort(self) -> bool {
        matches!(self, Self::PreStart | Self::PostStart)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Meaning of a hook's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The start has failed.
    Abort,
    /// The failure is logged, and the start or stop continues.
    Continue,
}

/// Command of a hook, and its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookSpec {
    /// The command.
    pub command: Command,
    /// Time after which it is killed; `None` = [`TIMEOUT_MS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Meaning of its failure; `None` = abort for `pre_start`, continue for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

impl HookSpec {
    /// Returns the time after which it is killed.
    pub fn timeout_ms(&self) -> u64 {
        self.timeout_ms.unwrap_or(TIMEOUT_MS)
    }
}

/// The hooks of an app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// See [`Hook::PreStart`].
    #[serde(skip_serializing_if = "is_default")]
    pub pre_start: Option<HookSpec>,
    /// See [`Hook::PostStart`].
    #[serde(skip_serializing_if = "is_default")]
    pub post_start: Option<HookSpec>,
    /// See [`Hook::PreStop`].
    #[serde(skip_serializing_if = "is_default")]
    pub pre_stop: Option<HookSpec>,
    /// See [`Hook::PostStop`].
    #[serde(skip_serializing_if = "is_default")]
    pub post_stop: Option<HookSpec>,
    /// See [`Hook::OnCrash`].
    #[serde(skip_serializing_if = "is_default")]
    pub on_crash: Option<HookSpec>,
}

impl Hooks {
    /// Returns the command of this hook.
    pub fn get(&self, hook: Hook) -> Option<&HookSpec> {
        match hook {
            Hook::PreStart => self.pre_start.as_ref(),
            Hook::PostStart => self.post_start.as_ref(),
            Hook::PreStop => self.pre_stop.as_ref(),
            Hook::PostStop => self.post_stop.as_ref(),
            Hook::OnCrash => self.on_crash.as_ref(),
        }
    }

    /// Sets the command of this hook.
    pub fn set(&mut self, hook: Hook, spec: Option<HookSpec>) {
        *match hook {
            Hook::PreStart => &mut self.pre_start,
            Hook::PostStart => &mut self.post_start,
            Hook::PreStop => &mut self.pre_stop,
            Hook::PostStop => &mut self.post_stop,
            Hook::OnCrash => &mut self.on_crash,
        } = spec;
    }

    /// Returns the part that the state machine needs.
    pub fn policy(&self) -> HookPolicy {
        let meaning = |hook: Hook, default: OnFailure| self.get(hook).map(|spec| spec.on_failure.unwrap_or(default));
        HookPolicy {
            pre_start: meaning(Hook::PreStart, OnFailure::Abort),
            post_start: meaning(Hook::PostStart, OnFailure::Continue),
            pre_stop: self.pre_stop.is_some(),
            post_stop: self.post_stop.is_some(),
            on_crash: self.on_crash.is_some(),
        }
    }
}

/// Hooks that are set, and the meaning of their failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookPolicy {
    /// Before each start.
    pub pre_start: Option<OnFailure>,
    /// When it is ready.
    pub post_start: Option<OnFailure>,
    /// Before the stop request.
    pub pre_stop: bool,
    /// When no process is left.
    pub post_stop: bool,
    /// After a crash.
    pub on_crash: bool,
}
