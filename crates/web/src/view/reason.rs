//! Reasons why an app needs attention, as in the API.

use ostler_client::attention::AttentionReason;
use ostler_core::lifecycle::ProcessEnding;
use ostler_proto::event::LimitKind;
use serde::Serialize;

/// Reason why an app needs attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Reason {
    kind: &'static str,
    /// Description that follows the app's name.
    text: String,
    /// Exit code of its last process.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    /// Name of the signal that killed its last process.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    /// Number of exits in the last 15 minutes that were not requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    exits: Option<u32>,
    /// True if there may have been more exits.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<LimitKind>,
    /// Share of failed requests, or used share of a limit; 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
}

impl Reason {
    pub(crate) fn of(found: AttentionReason) -> Self {
        let mut reason = Self {
            kind: found.word(),
            text: found.to_string(),
            code: None,
            signal: None,
            exits: None,
            more: false,
            limit: None,
            share: None,
        };
        match found {
            AttentionReason::Errored(Some(ending)) | AttentionReason::Crashed(Some(ending)) | AttentionReason::Restarting(ending) => {
                match ending {
                    ProcessEnding::Code(code) => reason.code = Some(code),
                    ProcessEnding::Signal { signal, .. } => reason.signal = Some(ostler_sys::process::signal::name(signal)),
                    ProcessEnding::Unknown | ProcessEnding::SpawnFailed { .. } => {}
                }
            }
            AttentionReason::KeepsRestarting { exits, has_more } => (reason.exits, reason.more) = (Some(exits), has_more),
            AttentionReason::LimitExceeded(limit) => reason.limit = Some(limit),
            AttentionReason::NearMemoryLimit { share } => (reason.limit, reason.share) = (Some(LimitKind::Memory), Some(share)),
            AttentionReason::FailingRequests { share } => reason.share = Some(share),
            AttentionReason::Errored(None)
            | AttentionReason::Crashed(None)
            | AttentionReason::Unhealthy
            | AttentionReason::Unready
            | AttentionReason::CheckBroken => {}
        }
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reasons_have_only_the_figures_of_their_kind() {
        for (reason, expected) in [
            (AttentionReason::Unhealthy, json!({ "kind": "unhealthy", "text": "unhealthy" })),
            (
                AttentionReason::Restarting(ProcessEnding::Signal { signal: 11, core: false }),
                json!({ "kind": "restarting", "text": "was killed by SIGSEGV; restarting", "signal": "SIGSEGV" }),
            ),
            (
                AttentionReason::KeepsRestarting { exits: 9, has_more: true },
                json!({ "kind": "keeps_restarting", "text": "9+ exits in 15 min", "exits": 9, "more": true }),
            ),
            (
                AttentionReason::NearMemoryLimit { share: 0.95 },
                json!({ "kind": "near_limit", "text": "uses 95% of its memory limit", "limit": "memory", "share": 0.95 }),
            ),
        ] {
            assert_eq!(serde_json::to_value(Reason::of(reason)).unwrap(), expected);
        }
    }
}
