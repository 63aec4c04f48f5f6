//! Plan for a call of PM2's clients: its steps and its result.

use std::collections::VecDeque;

use ostler_proto::control::Request;
use ostler_proto::pm2::AttributeError;
use serde_json::Value;

use super::results::ResultForm;
use crate::engine::Ctx;
use crate::state::slots::Slot;

/// Reason why a call has no plan. The texts are PM2's if PM2 has an error for the case.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// No instance or app matches; PM2's text depends on the method.
    #[error("{0}")]
    Unknown(String),
    /// An argument is missing or has the wrong form.
    #[error("{0}")]
    Argument(&'static str),
    /// The app of the arguments cannot be described.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// The instance runs already.
    #[error("process already {0}")]
    Already(&'static str),
    /// The instance has no channel.
    #[error("{0}")]
    Offline(String),
    /// The app offers no such action.
    #[error("Action doesn't exist {action} for {app}")]
    NoAction {
        /// The action.
        action: String,
        /// Name of the app.
        app: String,
    },
    /// The signal has an unknown name. This is Node's text, which PM2 passes on here.
    #[error("Unknown signal: {0}")]
    Signal(String),
    /// The name of the reported action is too long.
    #[error("action_name: {0} bytes, more than {MAX_ACTION_BYTES}")]
    LongAction(usize),
    /// There are too many calls at the same time.
    #[error("too many concurrent calls")]
    Busy,
    /// The client may not make this call.
    #[error("{0}")]
    Refused(&'static str),
    /// PM2 has no such method, or the method makes no sense here.
    #[error("{0} is not supported")]
    Unsupported(String),
}

/// Longest action name that a client may report, in bytes: it goes to every subscriber.
pub(super) const MAX_ACTION_BYTES: usize = 256;

/// Call that is carried out.
#[derive(Debug)]
pub(super) struct CallPlan {
    /// Remaining steps, in order.
    pub steps: VecDeque<CallStep>,
    /// Result for the caller.
    pub result: CallResult,
    /// Action after the answer was sent.
    pub then: Option<AfterReply>,
    /// App for which only one such call runs at a time: PM2's clients reload the instances of one
    /// app two at a time.
    pub alone: Option<String>,
}

/// One step.
#[derive(Debug)]
pub(super) enum CallStep {
    /// Sends a request to the daemon. If it fails, the call fails.
    Ask(Request),
    /// Sends this message to these instances, by our own numbers.
    Send(Vec<u32>, Value),
    /// Turns file watching of these instances, by our own numbers, on or off; `None` toggles it.
    Watch(Vec<u32>, Option<bool>),
    /// Reads the version of this instance's package again, by our own number.
    Version(u32),
    /// Sets whether the vendor's service shows this instance, by our own number.
    Mark(u32, bool),
    /// Reports to subscribers what a client did with an instance, by our own number, and whether a
    /// user requested it.
    Publish(u32, String, bool),
    /// Reads the details of this instance, by the number that users know. `None` reads the
    /// instances that the step before has changed.
    ReadDetails(Option<u32>),
}

/// Result of a call.
#[derive(Debug, PartialEq)]
pub(super) enum CallResult {
    /// This value.
    Value(Value),
    /// No value.
    Nothing,
    /// The one instance whose details were read, in this form.
    One(ResultForm),
    /// All instances whose details were read.
    Each(ResultForm),
    /// The answer of the last step unchanged.
    Passed,
    /// No reply at all.
    Silence,
}

/// Action after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterReply {
    /// Sends this process SIGQUIT, as PM2's client expects.
    Quit(i32),
}

impl CallPlan {
    pub(super) fn value(value: Value) -> Self {
        Self { steps: VecDeque::new(), result: CallResult::Value(value), then: None, alone: None }
    }

    /// Plans a message to these instances.
    pub(super) fn send(slots: Vec<u32>, message: Value, result: Value) -> Self {
        Self::of([CallStep::Send(slots, message)], CallResult::Value(result))
    }

    pub(super) fn of<const N: usize>(steps: [CallStep; N], result: CallResult) -> Self {
        Self { steps: steps.into(), result, then: None, alone: None }
    }
}

/// Returns the number of an instance: PM2's clients send it as a number or as text.
pub(super) fn id_number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => u32::try_from(number.as_u64()?).ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Returns the number that a client sent, for an error message.
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

/// Returns the instance, or an error with the text `unknown`, in which the client's number replaces
/// `{}`.
pub(super) fn require_instance<'a>(ctx: &'a Ctx, value: &Value, unknown: &str) -> Result<&'a Slot, CallError> {
    slot_of(ctx, value).ok_or_else(|| CallError::Unknown(unknown.replace("{}", &shown(value))))
}
