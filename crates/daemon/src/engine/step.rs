//! Steps of instances, as features receive them.

use ostler_core::lifecycle::{Effect, Event, Transition};

/// Step of an instance that was decided. It is journaled before any of its effects is performed.
#[derive(Debug)]
pub(crate) struct InstanceStep<'a> {
    /// Daemon's own number of the instance.
    pub id: u32,
    /// Event that the instance received.
    pub event: &'a Event,
    /// PM2's word for the status before the step.
    pub before: &'static str,
    /// Transitions of this step.
    pub transitions: &'a [Transition],
    /// Hooks that the step requests and cancels: [`Effect::Hook`] and [`Effect::CancelHook`] only.
    pub hooks: &'a [Effect],
    /// Whether the step requests a process.
    pub spawns: bool,
}

/// Returns whether the effects of a step request a process.
pub(crate) fn spawns(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Spawn { .. }))
}

/// Returns the transitions among the effects of a step.
pub(crate) fn transitions(effects: &[Effect]) -> Vec<Transition> {
    let transition = |effect: &Effect| if let Effect::Notify(transition) = effect { Some(transition.clone()) } else { None };
    effects.iter().filter_map(transition).collect()
}

/// Returns the hooks among the effects of a step.
pub(crate) fn hooks(effects: &[Effect]) -> Vec<Effect> {
    effects.iter().filter(|effect| matches!(effect, Effect::Hook { .. } | Effect::CancelHook { .. })).cloned().collect()
}
