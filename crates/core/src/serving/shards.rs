//! Shards of a listener (sockets of one port, one for each process): which shards get new
//! connections, and when a process has read all of its connections.

use crate::lifecycle::{DesiredState, Instance, InstanceState};

/// Time after which a process without a readiness signal counts as serving (or `min_uptime` if that
/// is less): by then it accepts.
const WARM_MS: u64 = 1000;
/// Time for which a shard must be empty before its process gets the stop request. By then, pending
/// handshakes (one round trip) have completed, and accepted connections have been read.
const QUIET_MS: u64 = 250;
/// Time between two checks of a shard.
const LOOK_MS: u64 = 50;

/// Most sockets of one port; processes beyond that share them.
const MAX_SOCKETS: u32 = 512;

/// Returns the number of the socket for slots with this shard.
pub fn shard_number(shard: u32) -> u32 {
    shard % MAX_SOCKETS
}

/// Rank of a process among those of its port, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardRank {
    /// It is ready.
    Ready,
    /// It runs, but it may not accept yet.
    Running,
    /// It starts.
    Starting,
    /// Another process will replace it.
    Retiring,
    /// It gets no connections: it is not ready while another process serves, or it is stopping.
    Excluded,
}

/// Further facts for the rank, in addition to the instance.
#[derive(Clone, Copy, Debug)]
pub struct RankFacts {
    /// Whether a reload started it beside the process that serves.
    pub candidate: bool,
    /// Whether a reload replaced it.
    pub retiring: bool,
    /// Whether it had to prove its readiness.
    pub proves: bool,
    /// Shortest run that counts as stable.
    pub min_uptime_ms: u64,
}

impl ShardRank {
    /// Returns the rank of an instance's process, and until when it is `Running`.
    pub fn of(instance: &Instance, part: RankFacts, now_ms: u64) -> (Self, Option<u64>) {
        if part.retiring {
            return (Self::Excluded, None);
        }
        let standing = match &instance.state {
            InstanceState::Running { since, .. } => {
                let warm_ms = since.mono_ms.saturating_add(part.min_uptime_ms.min(WARM_MS));
                if !part.candidate && !part.proves && now_ms < warm_ms {
                    return (Self::Running, Some(warm_ms));
                }
                Self::Ready
            }
            _ if part.candidate || instance.wanted != DesiredState::Up => Self::Excluded,
            InstanceState::Spawning { superseded: None, .. } | InstanceState::Starting { .. } | InstanceState::Completing { .. } => {
                Self::Starting
            }
            // It still answers until it gets the stop request.
            InstanceState::Leaving { ended: false, .. } => Self::Starting,
            InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Leaving { .. }
            | InstanceState::Stopping { .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. } => Self::Retiring,
            InstanceState::Stopped | InstanceState::Draining { .. } | InstanceState::Errored | InstanceState::Gone => Self::Excluded,
        };
        (standing, None)
    }
}

/// Returns the shards that get new connections, sorted: those of the best available processes.
/// Empty: no process is available.
pub fn eligible<S: Ord>(shards: impl Iterator<Item = (ShardRank, S)>) -> Vec<S> {
    let mut best = ShardRank::Excluded;
    let mut eligible = Vec::new();
    for (standing, shard) in shards {
        if standing < best {
            best = standing;
            eligible.clear();
        }
        if standing == best && standing != ShardRank::Excluded {
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
    /// Time of the first check since which the shard was empty at each check.
    quiet_since_ms: Option<u64>,
    check_ms: u64,
}

impl Emptying {
    /// Begins to drain a shard.
    pub fn since(now_ms: u64) -> Self {
        Self { quiet_since_ms: None, check_ms: now_ms.saturating_add(LOOK_MS) }
    }

    /// Returns the time of the next check.
    pub fn check_ms(&self) -> u64 {
        self.check_ms
    }

    /// Takes the result of a check. Returns true if its process has got all its connections and has
    /// read them.
    pub fn update(&mut self, waits: bool, now_ms: u64) -> bool {
        self.check_ms = now_ms.saturating_add(LOOK_MS);
        if waits {
            self.quiet_since_ms = None;
            return false;
        }
        // Checks may be far apart, so a single quiet one proves nothing.
        now_ms.saturating_sub(*self.quiet_since_ms.get_or_insert(now_ms)) >= QUIET_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{AppSpec, ExecMode};
    use crate::lifecycle::{AfterStop, Origin};
    use crate::serving::{Listen, ListenAt, Scheduling};
    use crate::time::Now;

    fn instance(state: InstanceState) -> Instance {
        Instance { wanted: DesiredState::Up, state, ..Instance::new(Now::at(0)) }
    }

    fn part() -> RankFacts {
        RankFacts { candidate: false, retiring: false, proves: true, min_uptime_ms: 1000 }
    }

    fn running() -> InstanceState {
        InstanceState::Running { inc: 1, pid: 9, since: Now::at(100) }
    }

    fn spawning(superseded: Option<Origin>) -> InstanceState {
        InstanceState::Spawning { inc: 1, since: Now::at(100), automatic: false, ready: false, superseded }
    }

    fn stopping() -> InstanceState {
        InstanceState::Stopping {
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

    fn draining() -> InstanceState {
        InstanceState::Draining { inc: 1, pid: 9, since: Now::at(100), deadline_ms: 900, cause: Origin::Shutdown }
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
        let starting =
            InstanceState::Starting { inc: 1, pid: 9, since: Now::at(100), ready_deadline_ms: Some(900), late: false, adopted: false };
        for (state, standing, candidate) in [
            (running(), ShardRank::Ready, ShardRank::Ready),
            (spawning(None), ShardRank::Starting, ShardRank::Excluded),
            (spawning(Some(Origin::Shutdown)), ShardRank::Retiring, ShardRank::Excluded),
            (starting, ShardRank::Starting, ShardRank::Excluded),
            (stopping(), ShardRank::Retiring, ShardRank::Excluded),
            (InstanceState::Backoff { until_ms: 5 }, ShardRank::Retiring, ShardRank::Excluded),
            (draining(), ShardRank::Excluded, ShardRank::Excluded),
            (InstanceState::Stopped, ShardRank::Excluded, ShardRank::Excluded),
            (InstanceState::Errored, ShardRank::Excluded, ShardRank::Excluded),
        ] {
            let mut instance = instance(state);
            assert_eq!(ShardRank::of(&instance, part(), 200), (standing, None), "{instance:?}");
            assert_eq!(ShardRank::of(&instance, RankFacts { candidate: true, ..part() }, 200), (candidate, None), "{instance:?}");
            assert_eq!(ShardRank::of(&instance, RankFacts { retiring: true, ..part() }, 200), (ShardRank::Excluded, None), "{instance:?}");
            instance.wanted = DesiredState::Down;
            let is_up = matches!(instance.state, InstanceState::Running { .. });
            assert_eq!(ShardRank::of(&instance, part(), 200).0 == ShardRank::Excluded, !is_up, "{instance:?}");
        }
    }

    #[test]
    fn instance_without_readiness_is_young_for_its_min_uptime() {
        for (min_uptime_ms, until) in [(0, 100), (300, 400), (3_600_000, 1100)] {
            let part = RankFacts { proves: false, min_uptime_ms, ..part() };
            for (now, young) in [(until - 1, true), (until, false)] {
                let expected = if young && min_uptime_ms > 0 { (ShardRank::Running, Some(until)) } else { (ShardRank::Ready, None) };
                assert_eq!(ShardRank::of(&instance(running()), part, now.max(100)), expected, "{min_uptime_ms} at {now}");
            }
            // It has proved itself by its uptime.
            let candidate = RankFacts { candidate: true, ..part };
            assert_eq!(ShardRank::of(&instance(running()), candidate, 100), (ShardRank::Ready, None));
        }
    }

    #[test]
    fn best_available_instances_get_all_connections() {
        use ShardRank::{Excluded, Ready, Retiring, Running, Starting};
        for (processes, expected) in [
            (&[(Ready, 3), (Running, 1), (Ready, 0), (Ready, 3)][..], &[0, 3][..]),
            (&[(Retiring, 0), (Starting, 1), (Excluded, 2)], &[1]),
            (&[(Retiring, 0), (Retiring, 1)], &[0, 1]),
            (&[(Starting, 0), (Running, 5)], &[5]),
            (&[(Excluded, 0)], &[]),
            (&[], &[]),
        ] {
            assert_eq!(eligible(processes.iter().copied()), expected, "{processes:?}");
        }
    }

    #[test]
    fn shard_counts_as_empty_after_a_quiet_period() {
        let mut shard = Emptying::since(1000);
        assert_eq!(shard.check_ms(), 1000 + LOOK_MS);
        assert!(!shard.update(false, 1050));
        assert!(!shard.update(true, 1240));
        assert_eq!(shard.check_ms(), 1240 + LOOK_MS);
        assert!(!shard.update(false, 1240 + QUIET_MS), "the first quiet check, however late");
        assert!(!shard.update(false, 1240 + 2 * QUIET_MS - 1));
        assert!(shard.update(false, 1240 + 2 * QUIET_MS));
    }
}
