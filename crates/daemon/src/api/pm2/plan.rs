//! The plan for a call of PM2's clients: its steps, and its result.

use std::collections::VecDeque;

use ostler_proto::control::Request;
use serde_json::Value;

use super::results::Form;
use crate::engine::Ctx;
use crate::state::slots::Slot;

/// A call that is carried out.
#[derive(Debug)]
pub(super) struct Plan {
    /// What is left to ask for, one after the other.
    pub steps: VecDeque<Step>,
    /// What the caller gets then.
    pub result: Outcome,
    /// What is done when the answer is on its way.
    pub then: Option<Then>,
    /// App of which only one such call is carried out at a time: PM2's clients reload the instances of one app two at a time.
    pub alone: Option<String>,
}

/// One step.
#[derive(Debug)]
pub(super) enum Step {
    /// Something is asked for; that it fails is the call's failure.
    Ask(Request),
    /// This message goes to these instances, by our own numbers.
    Send(Vec<u32>, Value),
    /// These instances, by our own numbers, are watched from now on, or no more; none = the other of the two.
    Watch(Vec<u32>, Option<bool>),
    /// The version of this instance's package, by our own number, is read again.
    Version(u32),
    /// This instance, by our own number, is marked as one that the vendor's service shows, or not any more.
    Mark(u32, bool),
    /// Subscribers are told that a client did this with an instance, by our own number, and whether a user asked for it.
    Tell(u32, String, bool),
    /// These instances are looked at, by the number that users know; none = those that the step before has touched.
    Look(Option<u32>),
}

/// Result of a call.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// This value.
    Value(Value),
    /// No value.
    Nothing,
    /// The one that was looked at, in this form.
    One(Form),
    /// All that were looked at.
    Each(Form),
    /// The answer of the last step as it is.
    Passed,
    /// No reply at all.
    Silence,
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// This process is told by SIGQUIT, as PM2's client expects.
    Quit(i32),
}

impl Plan {
    pub(super) fn value(value: Value) -> Self {
        Self { steps: VecDeque::new(), result: Outcome::Value(value), then: None, alone: None }
    }

    /// A message to these instances.
    pub(super) fn send(slots: Vec<u32>, message: Value, result: Value) -> Self {
        Self::of([Step::Send(slots, message)], Outcome::Value(result))
    }

    pub(super) fn of<const N: usize>(steps: [Step; N], result: Outcome) -> Self {
        Self { steps: steps.into(), result, then: None, alone: None }
    }
}

/// A number of an instance: PM2's clients send it as a number or as text.
pub(super) fn id_number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => u32::try_from(number.as_u64()?).ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// What was sent as a number, for an error.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(100).collect(),
        Value::Null => "undefined".into(),
        Value::Object(_) => "[object Object]".into(),
        other => other.to_string().chars().take(100).collect(),
    }
}

pub(super) fn slot_of<'a>(ctx: &'a Ctx, value: &Value) -> Option<&'a Slot> {
    let id = id_number(value)?;
    ctx.state.slots.serving().find(|slot| slot.durable.pm_id == id)
}

/// The instance, or PM2's word for that there is none, with its number in place of `{}`.
pub(super) fn known<'a>(ctx: &'a Ctx, value: &Value, unknown: &str) -> Result<&'a Slot, String> {
    slot_of(ctx, value).ok_or_else(|| unknown.replace("{}", &shown(value)))
}
