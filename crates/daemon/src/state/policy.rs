//! Policy of an instance: what the state machine needs of an app's description, with the daemon's settings and the role of the slot.

use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::lifecycle::signal;
use ostler_core::lifecycle::{Lateness, PATIENCE_MS, Policy};
use ostler_core::serving::ReadyBy;
use ostler_sys::process::signal as system;

use crate::platform::settings::Settings;
use crate::state::store::Role;

// Those of the core are those of this system.
const _: () = assert!(signal::INT == system::INT && signal::KILL == system::KILL && signal::TERM == system::TERM);

/// Rest after which a kept connection is closed during a drain. A client that has just had its answer asks again sooner, and is
/// told to close then.
pub(crate) const DRAIN_IDLE_MS: u64 = 500;
/// Time for the requests under way, where the app names none: the old process costs nothing meanwhile.
const DRAIN_MS: u64 = 30_000;
/// Time for the answer to a request to drain: an event loop that is not blocked answers sooner.
const DRAIN_ANSWER_MS: u64 = 5000;
/// Margin: this much after the proof by running is due, it has failed.
const MARGIN_MS: u64 = 1000;

/// Policy of a process, and what it has to prove. A candidate for the place of a cluster worker that has not listened so far proves itself by
/// running for `by_running_ms`.
pub(crate) fn of(spec: &AppSpec, role: Role, by_running_ms: Option<u64>, settings: &Settings) -> (Policy, Option<Box<ReadyBy>>) {
    let mut policy =
        Policy::from_spec(spec, settings.kill_signal, settings.kill_timeout_ms, settings.listen_timeout_ms, settings.backoff_reset_ms);
    policy.shutdown_with_message |= settings.kill_use_message;
    if can_drain(spec) {
        // Whoever gives an app more time than that to end means its requests.
        policy.drain_timeout_ms = Some(spec.stop.drain_timeout_ms.unwrap_or(DRAIN_MS.max(policy.kill_timeout_ms)));
        policy.drain_answer_ms = (spec.ends_in_node() && !spec.no_preload).then_some(DRAIN_ANSWER_MS);
        policy.drains_after_signal = !spec.ends_in_node();
    }
    let proof = match role {
        Role::Candidate => {
            // One try, and it has to prove itself: the old one is still there.
            policy.autorestart = false;
            policy.wait_ready = true;
            if let Lateness::GoOn { at_most_ms } = &mut policy.lateness {
                *at_most_ms = Some(reload_waits_ms(settings));
            }
            // It takes the place of one that is there.
            policy.depends_timeout_ms = None;
            Some(proof_of_candidate(spec, by_running_ms, &policy))
        }
        Role::Serving | Role::Retiring => spec.ready.proof(),
    };
    if let Some(ReadyBy::Uptime { ms }) = proof {
        // A time to wait that ends before it could be seen would be a failed start, always. An app
        // that counts as ready after it has no need of more.
        let needed_ms = ms.saturating_add(MARGIN_MS);
        if policy.lateness != Lateness::Accept {
            policy.listen_timeout_ms = policy.listen_timeout_ms.max(needed_ms);
        }
        if let Lateness::GoOn { at_most_ms: Some(at_most_ms) } = &mut policy.lateness {
            *at_most_ms = needed_ms.max(*at_most_ms);
        }
    }
    (policy, proof.map(Box::new))
}

/// Time that a reload waits for a new process whose time nobody named.
pub(crate) fn reload_waits_ms(settings: &Settings) -> u64 {
    PATIENCE_MS.max(settings.listen_timeout_ms)
}

/// True if the app can be asked to finish what it does (by Node's cluster protocol, or by our preload), or its connections go elsewhere.
fn can_drain(spec: &AppSpec) -> bool {
    spec.mode == ExecMode::Cluster || (spec.ends_in_node() && !spec.no_preload) || spec.has_shards()
}

/// Proof of a candidate without a declaration: a cluster worker reports that it listens (Bun's bind by themselves, and report nothing); everything else has run for
/// `min_uptime`, and so has the successor of a worker that does not listen.
fn proof_of_candidate(spec: &AppSpec, by_running_ms: Option<u64>, policy: &Policy) -> ReadyBy {
    let tells = spec.mode == ExecMode::Cluster && (spec.ends_in_node() || spec.runs_in_deno());
    let by_running = |ms: u64| ReadyBy::Uptime { ms: policy.min_uptime_ms.max(ms) };
    spec.ready.proof().unwrap_or_else(|| match by_running_ms {
        None if tells => ReadyBy::Listening,
        Some(ms) if tells => by_running(ms),
        None | Some(_) => by_running(0),
    })
}

#[cfg(test)]
mod tests {
    use ostler_core::app::{ReadySpec, RestartSpec};

    use super::*;

    fn spec(mode: ExecMode, interpreter: &str, ready: ReadySpec) -> AppSpec {
        let restart = RestartSpec { min_uptime_ms: Some(200), ..RestartSpec::default() };
        AppSpec { mode, interpreter: Some(interpreter.into()), ready, restart, ..AppSpec::default() }
    }

    #[test]
    fn what_a_candidate_has_to_prove_and_how_long_it_may_take() {
        let settings = Settings::from_env(std::path::PathBuf::from("/nowhere"));
        let named = ReadySpec { listen_timeout_ms: Some(700), ..ReadySpec::default() };
        let lenient = ReadySpec { accept_timeout: true, ..ReadySpec::default() };
        let waits = ReadySpec { wait_ready: true, ..ReadySpec::default() };
        let (cluster, fork) = (ExecMode::Cluster, ExecMode::Fork);
        let goes_on = Lateness::GoOn { at_most_ms: Some(60_000) };
        let uptime = |ms| ReadyBy::Uptime { ms };
        for (spec, by_running_ms, proof, within_ms, lateness) in [
            (spec(cluster, "node", ReadySpec::default()), None, ReadyBy::Listening, 60_000, goes_on),
            (spec(cluster, "node", named.clone()), None, ReadyBy::Listening, 700, Lateness::Fail),
            (spec(cluster, "node", lenient.clone()), None, ReadyBy::Listening, 3000, Lateness::Accept),
            // Nor is it waited for longer than its time, whatever it would have proved later.
            (spec(fork, "node", ReadySpec { listen_timeout_ms: Some(100), ..lenient }), None, uptime(200), 100, Lateness::Accept),
            (spec(cluster, "node", waits), Some(1500), ReadyBy::Message, 60_000, goes_on),
            // Nobody knows whether the worker before listens: it has its time, and this one until then.
            (spec(cluster, "node", named.clone()), Some(500), uptime(500), 1500, Lateness::Fail),
            (spec(cluster, "node", named.clone()), Some(0), uptime(200), 1200, Lateness::Fail),
            (spec(cluster, "bun", named.clone()), Some(500), uptime(200), 1200, Lateness::Fail),
            (spec(fork, "node", named), Some(500), uptime(200), 1200, Lateness::Fail),
        ] {
            let (policy, proved_by) = of(&spec, Role::Candidate, by_running_ms, &settings);
            assert_eq!((proved_by.as_deref(), policy.ready_within_ms(), policy.lateness), (Some(&proof), within_ms, lateness), "{spec:?}");
            // What serves is never ended because nobody named a time.
            let (policy, _) = of(&spec, Role::Serving, by_running_ms, &settings);
            assert_ne!(policy.lateness, goes_on);
        }
    }
}
