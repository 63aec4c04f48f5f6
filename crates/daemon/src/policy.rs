//! What the state machine needs of an app's description, with the daemon's settings and the role of the slot.

use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::lifecycle::Policy;
use ostler_core::serving::ReadyBy;

use crate::settings::Settings;
use crate::store::Role;
use crate::supervisor::spawn::{is_deno, is_node};

/// So much later than the proof by running is due, it has failed.
const MARGIN_MS: u64 = 1000;

/// The policy, and what a process has to prove. A candidate's predecessor may have shown that it never listens.
pub(crate) fn of(spec: &AppSpec, role: Role, never_listens: bool, settings: &Settings) -> (Policy, Option<Box<ReadyBy>>) {
    let mut policy =
        Policy::from_spec(spec, settings.kill_signal, settings.kill_timeout_ms, settings.listen_timeout_ms, settings.backoff_reset_ms);
    policy.shutdown_with_message |= settings.kill_use_message;
    if can_drain(spec) {
        policy.drain_timeout_ms = Some(spec.stop.drain_timeout_ms.unwrap_or(policy.kill_timeout_ms));
    }
    let proof = match role {
        Role::Candidate => {
            // One try, and it has to prove itself: the old one is still there.
            policy.autorestart = false;
            policy.wait_ready = true;
            // It takes the place of one that is there.
            policy.depends_timeout_ms = None;
            Some(proof_of_candidate(spec, never_listens, &policy))
        }
        Role::Serving | Role::Retiring => spec.ready.proof(),
    };
    if let Some(ReadyBy::Uptime { ms }) = proof {
        // A time to wait that ends before it could be seen would be a failed start, always.
        policy.listen_timeout_ms = policy.listen_timeout_ms.max(ms.saturating_add(MARGIN_MS));
    }
    (policy, proof.map(Box::new))
}

/// It can be told to finish what it does (by Node's cluster protocol, or by our preload), or its connections go elsewhere.
fn can_drain(spec: &AppSpec) -> bool {
    spec.mode == ExecMode::Cluster || (is_node(spec) && !spec.no_preload) || crate::sockets::has_lanes(spec)
}

/// Without a declaration: a cluster worker says that it listens (Bun's bind by themselves, and say nothing); everything else has run for
/// `min_uptime`.
fn proof_of_candidate(spec: &AppSpec, never_listens: bool, policy: &Policy) -> ReadyBy {
    let tells = spec.mode == ExecMode::Cluster && (is_node(spec) || is_deno(spec));
    spec.ready.proof().unwrap_or(if tells && !never_listens { ReadyBy::Listening } else { ReadyBy::Uptime { ms: policy.min_uptime_ms } })
}
