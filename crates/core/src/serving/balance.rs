//! Round robin: chooses the worker of a cluster that gets the next connection.
//!
//! The worker with the fewest connections so far gets the next one. Any number of connections is
//! therefore spread evenly, within one, also in a burst. A window limits the unanswered connections
//! of a worker. A worker that does not answer at all gets no further connection, and the others
//! wait for it only for an unnoticeable time.

use std::collections::BTreeMap;

/// Largest number of unanswered connections of one worker.
pub const WINDOW: usize = 16;

/// Time without an answer after which a worker counts as busy: until it answers, it gets no further
/// connection and is skipped.
pub const BUSY_MS: u64 = 10;

/// Longest wait for a worker whose window is full (in a burst, all are). It is longer than a busy
/// moment, but clients do not notice it if the worker is stopped.
pub const PATIENCE_MS: u64 = 50;

/// Largest number of connections that a worker gets back for skipped turns.
const MAX_DEBT: u64 = 64;

/// Unanswered connections of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Their number.
    pub unanswered: usize,
    /// Time of the oldest of them (any clock in milliseconds); meaningless without any.
    pub since_ms: u64,
}

impl Load {
    fn is_stuck(self, now_ms: u64) -> bool {
        let allowed_ms = if self.unanswered < WINDOW { BUSY_MS } else { PATIENCE_MS };
        self.unanswered > 0 && now_ms.saturating_sub(self.since_ms) >= allowed_ms
    }
}

/// Choice of the worker for the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This worker.
    Worker(u32),
    /// No worker yet: the next worker in order has no room. Wait for its answer, but not beyond
    /// this time.
    NotBefore(u64),
    /// No worker, until a worker answers or joins.
    NoWorker,
}

/// Workers of one listening socket, and the number of connections that each got.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCounts {
    given: BTreeMap<u32, u64>,
}

impl ConnectionCounts {
    /// Adds a worker that listens. It is not compensated for earlier connections of the others.
    pub fn join(&mut self, worker: u32) {
        let most = self.given.values().copied().max().unwrap_or(0);
        self.given.entry(worker).or_insert(most);
    }

    /// Removes a worker that no longer listens.
    pub fn leave(&mut self, worker: u32) {
        self.given.remove(&worker);
    }

    /// Returns the workers that listen.
    pub fn workers(&self) -> impl Iterator<Item = u32> {
        self.given.keys().copied()
    }

    /// Returns true if this worker listens.
    pub fn has(&self, worker: u32) -> bool {
        self.given.contains_key(&worker)
    }

    /// Returns true if no worker listens.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Chooses the worker for the next connection. `load` returns none for a worker that must not
    /// get it.
    pub fn next(&self, now_ms: u64, load: impl Fn(u32) -> Option<Load>) -> Choice {
        let able = self.given.iter().filter_map(|(worker, given)| Some((*given, *worker, load(*worker)?)));
        match able.filter(|(.., load)| !load.is_stuck(now_ms)).min_by_key(|(given, worker, _)| (*given, *worker)) {
            Some((_, worker, load)) if load.unanswered < WINDOW => Choice::Worker(worker),
            Some((.., load)) => Choice::NotBefore(load.since_ms + PATIENCE_MS),
            None => Choice::NoWorker,
        }
    }

    /// Records that this worker got a connection. Workers that were unavailable get nothing back;
    /// workers that were skipped because they were stuck get their turns back, within a bound.
    pub fn record(&mut self, worker: u32, load: impl Fn(u32) -> Option<Load>) {
        let Some(given) = self.given.get_mut(&worker) else { return };
        *given += 1;
        let now = *given;
        for (other, given) in &mut self.given {
            let debt = if load(*other).is_some() { MAX_DEBT } else { 1 };
            *given = (*given).max(now.saturating_sub(debt));
        }
    }
}

/// Returns the worker for a client without a worker: the successor of the worker that got the last
/// such client.
pub fn after(last: Option<u32>, able: impl Iterator<Item = u32>) -> Option<u32> {
    let has_had = |number: u32| last.is_some_and(|last| number <= last);
    able.min_by_key(|number| (has_had(*number), *number))
}

/// Returns the worker that a client belongs to. While this worker listens, the client stays with
/// it, even if other workers join or leave (rendezvous hashing).
pub fn home_of(client: &[u8], workers: impl Iterator<Item = u32>) -> Option<u32> {
    workers.max_by_key(|worker| (weight(client, *worker), *worker))
}

/// Returns an FNV-1a hash, mixed so that every bit of the input changes every bit of the weight.
fn weight(client: &[u8], worker: u32) -> u64 {
    let bytes = client.iter().chain(&[0xff]).copied().chain(worker.to_le_bytes());
    let mut hash = crate::text::fnv::fnv_64(bytes);
    for multiplier in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ hash >> 33).wrapping_mul(multiplier);
    }
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Model of workers that get and answer connections.
    struct World {
        turns: ConnectionCounts,
        now_ms: u64,
        unanswered: BTreeMap<u32, Vec<u64>>,
        got: BTreeMap<u32, u64>,
    }

    impl World {
        fn new(workers: u32) -> Self {
            let mut turns = ConnectionCounts::default();
            (0..workers).for_each(|worker| turns.join(worker));
            let none = |worker| (worker, Vec::new());
            Self { turns, now_ms: 0, unanswered: (0..workers).map(none).collect(), got: (0..workers).map(|worker| (worker, 0)).collect() }
        }

        fn load(unanswered: &BTreeMap<u32, Vec<u64>>, worker: u32) -> Option<Load> {
            let times = unanswered.get(&worker)?;
            Some(Load { unanswered: times.len(), since_ms: times.first().copied().unwrap_or(0) })
        }

        fn offer(&mut self) -> Choice {
            let unanswered = &self.unanswered;
            let choice = self.turns.next(self.now_ms, |worker| Self::load(unanswered, worker));
            if let Choice::Worker(worker) = choice {
                self.turns.record(worker, |other| Self::load(unanswered, other));
                self.unanswered.get_mut(&worker).unwrap().push(self.now_ms);
                *self.got.get_mut(&worker).unwrap() += 1;
            }
            choice
        }

        fn answer(&mut self, worker: u32, count: usize) {
            let times = self.unanswered.get_mut(&worker).unwrap();
            times.drain(..count.min(times.len()));
        }

        fn spread(&self) -> u64 {
            self.got.values().max().unwrap() - self.got.values().min().unwrap()
        }
    }

    proptest! {
        #[test]
        fn answering_workers_get_equal_shares(workers in 1_u32..6, steps in prop::collection::vec((0_u32..6, 1_usize..40, 0_usize..40), 1..60)) {
            let mut world = World::new(workers);
            for (who, burst, answers) in steps {
                for _ in 0..burst {
                    world.offer();
                }
                prop_assert!(world.spread() <= 1, "{:?}", world.got);
                prop_assert!(world.unanswered.values().all(|times| times.len() <= WINDOW));
                world.answer(who % workers, answers);
                world.now_ms += 1;
                // No worker is stuck: each answers the oldest connection in time.
                (0..workers).for_each(|worker| if world.unanswered[&worker].first().is_some_and(|at| world.now_ms - at >= BUSY_MS - 1) {
                    world.answer(worker, WINDOW);
                });
            }
        }

        #[test]
        fn stuck_worker_delays_no_client_and_is_not_flooded_later(connections in 20_u64..2000) {
            let mut world = World::new(3);
            let mut waited = 0;
            while world.got[&1] + world.got[&2] < connections {
                match world.offer() {
                    Choice::Worker(_) => {}
                    Choice::NotBefore(at) => {
                        prop_assert!(at > world.now_ms && at - world.now_ms <= PATIENCE_MS);
                        waited += at - world.now_ms;
                        world.now_ms = at;
                    }
                    Choice::NoWorker => prop_assert!(false, "two workers answer at once"),
                }
                world.answer(1, WINDOW);
                world.answer(2, WINDOW);
            }
            prop_assert!(world.got[&0] <= WINDOW as u64 && waited <= PATIENCE_MS, "{:?} {waited}", world.got);
            world.answer(0, WINDOW);
            let before = world.got.clone();
            for _ in 0..300 {
                world.offer();
                (0..3).for_each(|worker| world.answer(worker, WINDOW));
            }
            let more: Vec<u64> = world.got.iter().map(|(worker, got)| got - before[worker]).collect();
            prop_assert!(more[0] <= 100 + MAX_DEBT, "{more:?}");
        }

        #[test]
        fn clients_keep_their_worker_when_another_leaves(client in any::<[u8; 4]>(), workers in prop::collection::btree_set(0_u32..1000, 2..10)) {
            let home = home_of(&client, workers.iter().copied()).unwrap();
            for gone in workers.iter().filter(|worker| **worker != home) {
                prop_assert_eq!(home_of(&client, workers.iter().copied().filter(|worker| worker != gone)), Some(home));
            }
        }
    }

    #[test]
    fn new_worker_is_not_flooded() {
        let mut world = World::new(2);
        for _ in 0..100 {
            world.offer();
            (0..2).for_each(|worker| world.answer(worker, WINDOW));
        }
        world.turns.join(2);
        world.unanswered.insert(2, Vec::new());
        world.got = (0..3).map(|worker| (worker, 0)).collect();
        for _ in 0..9 {
            world.offer();
        }
        assert!(world.spread() <= 1, "{:?}", world.got);
    }

    #[test]
    fn clients_are_spread_evenly_over_workers() {
        let mut homes = [0_u32; 4];
        for client in 0..4000_u32 {
            homes[home_of(&client.to_be_bytes(), 0..4).unwrap() as usize] += 1;
        }
        assert!(homes.iter().all(|count| (900..1100).contains(count)), "{homes:?}");
        assert_eq!(home_of(b"x", std::iter::empty()), None);
    }

    #[test]
    fn new_clients_are_assigned_round_robin() {
        for (last, able, next) in [
            (None, &[0, 1, 2][..], Some(0)),
            (Some(0), &[0, 1, 2], Some(1)),
            (Some(2), &[0, 1, 2], Some(0)),
            (Some(1), &[3, 0], Some(3)),
            (Some(7), &[], None),
        ] {
            assert_eq!(after(last, able.iter().copied()), next, "{last:?} {able:?}");
        }
    }

    #[test]
    fn connection_is_offered_only_to_available_workers() {
        let mut turns = ConnectionCounts::default();
        assert_eq!(turns.next(0, |_| Some(Load::default())), Choice::NoWorker);
        turns.join(3);
        assert_eq!(turns.next(0, |_| None), Choice::NoWorker);
        assert_eq!(turns.next(0, |_| Some(Load::default())), Choice::Worker(3));
        assert_eq!(turns.next(5, |_| Some(Load { unanswered: WINDOW, since_ms: 0 })), Choice::NotBefore(PATIENCE_MS));
        assert_eq!(turns.next(PATIENCE_MS, |_| Some(Load { unanswered: 1, since_ms: 0 })), Choice::NoWorker);
        turns.leave(3);
        assert!(turns.is_empty() && !turns.has(3));
    }
}
