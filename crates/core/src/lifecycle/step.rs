//! The step function.

use super::{Effect, Event, Instance, Policy};
use crate::time::Now;

impl Instance {
    /// Takes one event and says what to do. Total: every state takes every event.
    pub fn step(&mut self, policy: &Policy, event: Event, now: Now) -> Vec<Effect> {
        let _ = (policy, event, now);
        Vec::new()
    }
}
