//! Policy of an instance: input of the state machine, derived from the app's description, the
//! daemon's settings and the role of the slot.

use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::lifecycle::signal;
use ostler_core::lifecycle::{Lateness, PATIENCE_MS, Policy};
use ostler_core::serving::ReadyBy;
use ostler_sys::process::signal as system;

use crate::platform::settings::Settings;
use crate::state::store::Role;

// The core's signal numbers match those of this system.
const _: () = assert!(signal::INT == system::INT && signal::KILL == system::KILL && signal::TERM == system::TERM);

/// Idle time after which a kept connection is closed during a drain. A client that has just
/// received its answer sends the next request sooner, and is asked to close then.
pub(crate) const DRAIN_IDLE_MS: u64 = 500;
/// Default time for requests in flight. The old process costs nothing during that time.
const DRAIN_MS: u64 = 30_000;
/// Time for the answer to a drain request: an event loop that is not blocked answers sooner.
const DRAIN_ANSWER_MS: u64 = 5000;
/// Margin after the time at which the proof by running is due. After it, the proof has failed.
const MARGIN_MS: u64 = 1000;

/// Returns the policy of a process and its proof of readiness. A candidate for a cluster worker
/// that has not listened so far proves itself by running for `by_running_ms`.
pub(crate) fn of(spec: &AppSpec, role: Role, by_running_ms: Option<u64>, settings: &Settings) -> (Policy, Option<Box<ReadyBy>>) {
    let mut policy =
        Policy::from_spec(spec, settings.kill_signal, settings.kill_timeout_ms, settings.listen_timeout_ms, settings.backoff_reset_ms);
    policy.shutdown_with_message |= settings.kill_use_message;
    if can_drain(spec) {
        // A longer kill timeout gives the app time for its requests, so the drain gets it, too.
        policy.drain_timeout_ms = Some(spec.stop.drain_timeout_ms.unwrap_or(DRAIN_MS.max(policy.kill_timeout_ms)));
        policy.drain_answer_ms = (spec.ends_in_node() && !spec.no_preload).then_some(DRAIN_ANSWER_MS);
        policy.drains_after_signal = !spec.ends_in_node();
    }
    let proof = match role {
        Role::Candidate => {
            // A candidate gets one attempt and must prove itself, because the old process still
            // runs.
            policy.autorestart = false;
            policy.wait_ready = true;
            if let Lateness::GoOn { at_most_ms } = &mut policy.lateness {
                *at_most_ms = Some(reload_waits_ms(settings));
            }
            // The candidate replaces a running process, so its dependencies are not checked.
            policy.depends_timeout_ms = None;
            Some(proof_of_candidate(spec, by_running_ms, &policy))
        }
        Role::Serving | Role::Retiring => spec.ready.proof(),
    };
    if let Some(ReadyBy::Uptime { ms }) = proof {
        // Without this, a waiting time that ends before the proof is due would always fail the
        // start. An app that counts as ready after that time needs no more.
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

/// Returns the time that a reload waits for a new process if no setting names it.
pub(crate) fn reload_waits_ms(settings: &Settings) -> u64 {
    PATIENCE_MS.max(settings.listen_timeout_ms)
}

/// Returns true if the app can be asked to finish its requests (by Node's cluster protocol or by
/// our preload), or if its connections go to other processes.
fn can_drain(spec: &AppSpec) -> bool {
    spec.mode == ExecMode::Cluster || (spec.ends_in_node() && !spec.no_preload) || spec.has_shards()
}

/// Returns the proof of a candidate that declares none. A cluster worker reports that it listens,
/// and so does a process whose calls we see. The exception is Bun, whose workers bind by themselves and report nothing. Other processes must run for
/// `min_uptime`, and so must the successor of a worker that does not listen.
fn proof_of_candidate(spec: &AppSpec, by_running_ms: Option<u64>, policy: &Policy) -> ReadyBy {
    let tells = spec.mode == ExecMode::Cluster && (spec.ends_in_node() || spec.runs_in_deno()) || spec.shares_opened_port();
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
    fn candidate_proof_and_timeout_depend_on_the_spec() {
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
            // Nor is the wait longer than its time, even if the proof would come later.
            (spec(fork, "node", ReadySpec { listen_timeout_ms: Some(100), ..lenient }), None, uptime(200), 100, Lateness::Accept),
            (spec(cluster, "node", waits), Some(1500), ReadyBy::Message, 60_000, goes_on),
            // It is unknown whether the previous worker listens. It keeps its time to listen, and
            // this worker waits as long.
            (spec(cluster, "node", named.clone()), Some(500), uptime(500), 1500, Lateness::Fail),
            (spec(cluster, "node", named.clone()), Some(0), uptime(200), 1200, Lateness::Fail),
            (spec(cluster, "bun", named.clone()), Some(500), uptime(200), 1200, Lateness::Fail),
            (spec(fork, "node", named), Some(500), uptime(200), 1200, Lateness::Fail),
        ] {
            let (policy, proved_by) = of(&spec, Role::Candidate, by_running_ms, &settings);
            assert_eq!((proved_by.as_deref(), policy.ready_within_ms(), policy.lateness), (Some(&proof), within_ms, lateness), "{spec:?}");
            // A serving process is never stopped because no setting names a time.
            let (policy, _) = of(&spec, Role::Serving, by_running_ms, &settings);
            assert_ne!(policy.lateness, goes_on);
        }
    }
}
