//! Order of features where one must react before another. All other orders are free: the simulation
//! plays the rows of the table in random orders that these edges allow.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::OnceLock;

use ostler_core::text::fnv::fnv_64;
use ostler_testkit::Rng;

use super::{Features, ROWS};

/// Edges: before, after, and why. An edge holds for each row that has both features.
const EDGES: &[(&str, &str, &str)] = &[
    ("sweeps", "rollouts", "what is left of a process is searched before its replacement is decided"),
    ("rollouts", "remediation", "a rollout replaces processes itself"),
    ("remediation", "jobs", "a remedy asks for a request that is then in progress"),
    ("commands", "jobs", "a request asks whether a command runs, after its end is noted"),
    ("jobs", "order", "the next request decides who still waits for others"),
    ("order", "runtime", "the shutdown is decided after all requests are answered"),
    ("runtime", "home", "as PID 1 of a container, signals are handled by the foreground command"),
    ("inspector", "preload", "the preload passes the port on"),
];

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
    /// Orders of this seed so far, by row.
    static ORDERS: RefCell<BTreeMap<Vec<&'static str>, Vec<&'static str>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Gives the features in this thread a random order from this seed, as far as the edges allow.
/// Without a seed, the order of the table applies.
pub(crate) fn shuffle(seed: Option<u64>) {
    SEED.set(seed);
    ORDERS.take();
}

/// Returns the features of a row in an order that the edges allow.
pub(crate) fn allowed(row: &[&'static str]) -> Vec<&'static str> {
    let Some(seed) = SEED.get() else { return row.to_vec() };
    ORDERS.with_borrow_mut(|orders| match orders.get(row) {
        Some(order) => order.clone(),
        None => orders.entry(row.to_vec()).or_insert_with(|| shuffled(row, seed)).clone(),
    })
}

/// Orders the features by the seed. A feature that must wait for others comes as soon as they have
/// come.
fn shuffled(row: &[&'static str], seed: u64) -> Vec<&'static str> {
    let mut left = row.to_vec();
    left.sort_by_cached_key(|name| Rng::new(seed ^ fnv_64(name.as_bytes())).next_u64());
    let mut order = Vec::new();
    while let Some(at) = left.iter().position(|name| !left.iter().any(|other| is_before(other, name))) {
        order.push(left.remove(at));
    }
    order
}

/// Returns whether edges lead from one feature to the other, also through features that are not in
/// the row.
fn is_before(first: &str, second: &str) -> bool {
    edges().iter().any(|(before, after)| *before == first && (*after == second || is_before(after, second)))
}

/// Returns the declared edges, or those of `OSTLER_SIM_EDGES=a<b,c<d`, which helps to find the edge
/// that a failing episode needs.
fn edges() -> &'static [(&'static str, &'static str)] {
    static USED: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    USED.get_or_init(|| match std::env::var("OSTLER_SIM_EDGES") {
        Ok(text) => text.leak().split(',').filter_map(|edge| edge.split_once('<')).collect(),
        Err(_) => EDGES.iter().map(|(before, after, _)| (*before, *after)).collect(),
    })
}

#[test]
fn edges_are_acyclic_and_name_known_features() {
    for (before, after, _) in EDGES {
        assert!(Features::FIELDS.contains(before) && Features::FIELDS.contains(after), "{before}, {after}");
        assert!(!is_before(after, before), "{before}, {after}");
    }
}

#[test]
fn table_order_respects_the_edges() {
    for (name, row) in ROWS {
        for (at, after) in row.iter().enumerate() {
            let late = row[at..].iter().find(|before| is_before(before, after));
            assert!(late.is_none(), "{name}: {after} is before {late:?}");
        }
    }
}

#[test]
fn field_names_equal_feature_names() {
    assert_eq!(Features::FIELDS, Features::NAMES);
}
