//! Order of features where one must react before another one. Everything else may be in any order: the simulation plays the rows of the
//! table in random orders that these edges allow.

use std::cell::RefCell;

use ostler_core::sim::Rng;

use super::{Features, ROWS};

/// Before, after, and why. An edge holds for each row that has both.
const EDGES: &[(&str, &str, &str)] = &[
    ("sweeps", "rollouts", "what is left of a process is searched before its replacement is decided"),
    ("rollouts", "remediation", "a rollout replaces processes itself"),
    ("remediation", "jobs", "a remedy asks for a request that is then in progress"),
    ("commands", "jobs", "a request asks whether a command runs, after its end is noted"),
    ("jobs", "order", "the next request decides who still waits for others"),
    ("order", "runtime", "the end of everything is decided when nobody waits"),
    ("runtime", "home", "in front of a container a signal means what was said there"),
    ("inspector", "preload", "the preload passes the port on"),
];

thread_local! {
    static RANDOM: RefCell<Option<Rng>> = const { RefCell::new(None) };
}

/// Plays rows in random orders from now on, in this thread. Without a seed they are in the order of the table.
pub(crate) fn shuffle(seed: Option<u64>) {
    RANDOM.set(seed.map(Rng::new));
}

/// Returns the features of a row in an order that the edges allow.
pub(crate) fn allowed(row: &[&'static str]) -> Vec<&'static str> {
    RANDOM.with_borrow_mut(|random| match random {
        None => row.to_vec(),
        Some(random) => shuffled(row, random),
    })
}

fn shuffled(row: &[&'static str], random: &mut Rng) -> Vec<&'static str> {
    let mut left = row.to_vec();
    let mut order = Vec::new();
    while !left.is_empty() {
        let free: Vec<usize> = (0..left.len()).filter(|at| !left.iter().any(|other| is_before(other, left[*at]))).collect();
        order.push(left.swap_remove(free[random.below(free.len())]));
    }
    order
}

/// Whether edges lead from one feature to the other, also by features that are not in the row.
fn is_before(first: &str, second: &str) -> bool {
    EDGES.iter().any(|(before, after, _)| *before == first && (*after == second || is_before(after, second)))
}

#[test]
fn edges_have_no_circle_and_name_features() {
    for (before, after, _) in EDGES {
        assert!(Features::FIELDS.contains(before) && Features::FIELDS.contains(after), "{before}, {after}");
        assert!(!is_before(after, before), "{before}, {after}");
    }
}

#[test]
fn the_table_is_in_an_allowed_order() {
    for (name, row) in ROWS {
        for (at, after) in row.iter().enumerate() {
            let late = row[at..].iter().find(|before| is_before(before, after));
            assert!(late.is_none(), "{name}: {after} is before {late:?}");
        }
    }
}

#[test]
fn each_field_has_the_name_of_its_feature() {
    assert_eq!(Features::FIELDS, Features::NAMES);
}
