//! Steps of instances, as features get them.

use ostler_core::lifecycle::{Effect, Event, Transition};

/// Step of an instance that was decided, and is journaled before anything of it is done.
#[derive(Debug)]
pub(crate) struct InstanceStep<'a> {
    /// Our own number of the instance.
    pub id: u32,
    /// The event that it got.
    pub event: &'a Event,
    /// PM2's word for the status it had.
    pub before: &'static str,
    /// Transitions of this step.
    pub transitions: &'a [Transition],
    /// The hooks that it asks for and calls off: [`Effect::Hook`] and [`Effect::CancelHook`] only.
    pub hooks: &'a [Effect],
    /// It asks for a process.
    pub spawns: bool,
}

/// Whether a process is asked for by the effects of a step.
pub(crate) fn spawns(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Spawn { .. }))
}

/// The transitions among the effects of a step.
pub(crate) fn transitions(effects: &[Effect]) -> Vec<Transition> {
    let transition = |effect: &Effect| if let Effect::Notify(transition) = effect { Some(transition.clone()) } else { None };
    effects.iter().filter_map(transition).collect()
}

/// The hooks among the effects of a step.
pub(crate) fn hooks(effects: &[Effect]) -> Vec<Effect> {
    effects.iter().filter(|effect| matches!(effect, Effect::Hook { .. } | Effect::CancelHook { .. })).cloned().collect()
}
