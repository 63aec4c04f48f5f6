//! Shards of a listener (sockets of one port, one for each process): which shards get new
//! connections, and when a process has read all of its connections.

use crate::lifecycle::{Instance, State, Wanted};

/// Time after which a process without a readiness signal counts as serving (or `min_uptime` if that
/// is less): by then it accepts.
const WARM_MS: u64 = 1000;
/// Time for which a shard must be empty before its process gets the stop request. By then, pending
/// handshakes (one round trip) have completed, and accepted connections have been read.
const QUIET_MS: u64 = 250;
/// Time between two checks of a shard.
const LOOK_MS: u64 = 50;

/// Rank of a process among those of its port, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is ready.
    Serves,
    /// It runs, but it may not accept yet.
    Young,
    /// It starts.
    Coming,
    /// Another process will replace it.
    Later,
    /// It gets no connections: it is not ready while another process serves, or it is stopping.
    Away,
}

/// Further facts for the rank, in addition to the instance.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Whether a reload started it beside the process that serves.
    pub candidate: bool,
    /// Whether a reload replaced it.
    pub retiring: bool,
    /// Whether it had to prove its readiness.
    pub proves: bool,
    /// Shortest run that counts as stable.
    pub min_uptime_ms: u64,
}

impl Standing {
    /// Returns the rank of an instance's process, and until when it is `Young`.
    pub fn of(instance: &Instance, part: Part, now_ms: u64) -> (Self, Option<u64>) {
        if part.retiring {
            return (Self::Away, None);
        }
        let standing = match &instance.state {
            State::Running { since, .. } => {
                let warm_ms = since.mono_ms.saturating_add(part.min_uptime_ms.min(WARM_MS));
                if !part.candidate && !part.proves && now_ms < warm_ms {
                    return (Self::Young, Some(warm_ms));
                }
                Self::Serves
            }
            _ if part.candidate || instance.wanted != Wanted::Up => Self::Away,
            State::Spawning { superseded: None, .. } | State::Starting { .. } | State::Completing { .. } => Self::Coming,
            // It still answers until it gets the stop request.
            State::Leaving { ended: false, .. } => Self::Coming,
            State::Waiting { .. }
            | State::Preparing { .. }
            | State::Spawning { .. }
            | State::Leaving { .. }
            | State::Stopping { .. }
            | State::Clearing { .. }
            | State::Backoff { .. } => Self::Later,
            State::Stopped | State::Draining { .. } | State::Errored | State::Gone => Self::Away,
        };
        (standing, None)
    }
}

/// Returns the shards that get new connections, sorted: those of the best available processes.
/// Empty: no process is available.
pub fn eligible<S: Ord>(shards: impl Iterator<Item = (Standing, S)>) -> Vec<S> {
    let mut best = Standing::Away;
    let mut eligible = Vec::new();
    for (standing, shard) in shards {
        if standing < best {
            best = standing;
            eligible.clear();
        }
        if standing == best && standing != Standing::Away {
            eligible.push(shard);
        }
    }
    eligible.sort_unstable();
    eligible.dedup();
    eligible
}

/// Shard that gets no new connections and has to become empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emptying {
    quiet_since_ms: u64,
    look_ms: u64,
}

impl Emptying {
    /// Begins to drain a shard.
    pub fn since(now_ms: u64) -> Self {
        Self { quiet_since_ms: now_ms, look_ms: now_ms.saturating_add(LOOK_MS) }
    }

    /// Returns the time of the next check.
    pub fn look_ms(&self) -> u64 {
        self.look_ms
    }

    /// Takes the result of a check. Returns true if its process has got all its connections and has
    /// read them.
    pub fn seen(&mut self, waits: bool, now_ms: u64) -> bool {
        self.look_ms = now_ms.saturating_add(LOOK_MS);
        if waits {
            self.quiet_since_ms = now_ms;
        }
        now_ms.saturating_sub(self.quiet_since_ms) >= QUIET_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{AppSpec, ExecMode};
    use crate::lifecycle::{AfterStop, Origin};
    use crate::serving::{Listen, ListenAt, Scheduling};
    use crate::time::Now;

    fn instance(state: State) -> Instance {
        Instance { wanted: Wanted::Up, state, ..Instance::new(Now::at(0)) }
    }

    fn part() -> Part {
        Part { candidate: false, retiring: false, proves: true, min_uptime_ms: 1000 }
    }

    fn running() -> State {
        State::Running { inc: 1, pid: 9, since: Now::at(100) }
    }

    fn spawning(superseded: Option<Origin>) -> State {
        State::Spawning { inc: 1, since: Now::at(100), automatic: false, ready: false, superseded }
    }

    fn stopping() -> State {
        State::Stopping {
            inc: 1,
            pid: 9,
            since: Now::at(100),
            deadline_ms: 900,
            killed: false,
            leader_gone: false,
            cause: Origin::Shutdown,
            next: AfterStop::default(),
        }
    }

    fn draining() -> State {
        State::Draining { inc: 1, pid: 9, since: Now::at(100), deadline_ms: 900, cause: Origin::Shutdown }
    }

    #[test]
    fn shards_are_used_only_for_suitable_apps() {
        let listen = |at| vec![Listen { at, name: "a".into(), backlog: None, mode: None }];
        let port = || listen(ListenAt::Tcp { address: None, port: 80 });
        let node = || Some("node".to_owned());
        for (spec, expected) in [
            (AppSpec { listen: port(), ..AppSpec::default() }, true),
            (AppSpec { listen: port(), interpreter: node(), ..AppSpec::default() }, true),
            (AppSpec { listen: port(), mode: ExecMode::Cluster, ..AppSpec::default() }, true),
            (AppSpec { listen: port(), interpreter: node(), mode: ExecMode::Cluster, ..AppSpec::default() }, false),
            (AppSpec { listen: port(), scheduling: Scheduling::Shared, ..AppSpec::default() }, false),
            (AppSpec { listen: listen(ListenAt::Unix { path: "/s".into() }), ..AppSpec::default() }, false),
            (AppSpec::default(), false),
        ]
        .map(|(app, expected)| (AppSpec { script: "/a".into(), ..app }, expected))
        {
            assert_eq!(spec.has_shards(), expected, "{spec:?}");
        }
    }

    #[test]
    fn serving_instances_get_connections() {
        let starting = State::Starting { inc: 1, pid: 9, since: Now::at(100), ready_deadline_ms: Some(900), late: false, adopted: false };
        for (state, standing, candidate) in [
            (running(), Standing::Serves, Standing::Serves),
            (spawning(None), Standing::Coming, Standing::Away),
            (spawning(Some(Origin::Shutdown)), Standing::Later, Standing::Away),
            (starting, Standing::Coming, Standing::Away),
            (stopping(), Standing::Later, Standing::Away),
            (State::Backoff { until_ms: 5 }, Standing::Later, Standing::Away),
            (draining(), Standing::Away, Standing::Away),
            (State::Stopped, Standing::Away, Standing::Away),
            (State::Errored, Standing::Away, Standing::Away),
        ] {
            let mut instance = instance(state);
            assert_eq!(Standing::of(&instance, part(), 200), (standing, None), "{instance:?}");
            assert_eq!(Standing::of(&instance, Part { candidate: true, ..part() }, 200), (candidate, None), "{instance:?}");
            assert_eq!(Standing::of(&instance, Part { retiring: true, ..part() }, 200), (Standing::Away, None), "{instance:?}");
            instance.wanted = Wanted::Down;
            let is_up = matches!(instance.state, State::Running { .. });
            assert_eq!(Standing::of(&instance, part(), 200).0 == Standing::Away, !is_up, "{instance:?}");
        }
    }

    #[test]
    fn instance_without_readiness_is_young_for_its_min_uptime() {
        for (min_uptime_ms, until) in [(0, 100), (300, 400), (3_600_000, 1100)] {
            let part = Part { proves: false, min_uptime_ms, ..part() };
            for (now, young) in [(until - 1, true), (until, false)] {
                let expected = if young && min_uptime_ms > 0 { (Standing::Young, Some(until)) } else { (Standing::Serves, None) };
                assert_eq!(Standing::of(&instance(running()), part, now.max(100)), expected, "{min_uptime_ms} at {now}");
            }
            // It has proved itself by its uptime.
            let candidate = Part { candidate: true, ..part };
            assert_eq!(Standing::of(&instance(running()), candidate, 100), (Standing::Serves, None));
        }
    }

    #[test]
    fn best_available_instances_get_all_connections() {
        use Standing::{Away, Coming, Later, Serves, Young};
        for (processes, expected) in [
            (&[(Serves, 3), (Young, 1), (Serves, 0), (Serves, 3)][..], &[0, 3][..]),
            (&[(Later, 0), (Coming, 1), (Away, 2)], &[1]),
            (&[(Later, 0), (Later, 1)], &[0, 1]),
            (&[(Coming, 0), (Young, 5)], &[5]),
            (&[(Away, 0)], &[]),
            (&[], &[]),
        ] {
            assert_eq!(eligible(processes.iter().copied()), expected, "{processes:?}");
        }
    }

    #[test]
    fn shard_counts_as_empty_after_a_quiet_period() {
        let mut shard = Emptying::since(1000);
        assert_eq!(shard.look_ms(), 1000 + LOOK_MS);
        assert!(!shard.seen(false, 1050));
        assert!(!shard.seen(true, 1240));
        assert_eq!(shard.look_ms(), 1240 + LOOK_MS);
        assert!(!shard.seen(false, 1240 + QUIET_MS - 1));
        assert!(shard.seen(false, 1240 + QUIET_MS));
    }
}
