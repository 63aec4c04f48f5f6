//! Order of starts: the dependencies between apps, and the condition that each dependency must
//! reach.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::app::default_box::is_default;

/// Longest time that a start waits for its dependencies, unless the app sets another.
pub const TIMEOUT_MS: u64 = 60_000;

/// Dependencies of an app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dependencies {
    /// Names of other apps, and the condition that each must reach.
    #[serde(skip_serializing_if = "is_default")]
    pub depends_on: IndexMap<String, Condition>,
    /// Longest time that a start waits for them; `None` = [`TIMEOUT_MS`].
    #[serde(skip_serializing_if = "is_default")]
    pub timeout_ms: Option<u64>,
}

impl Dependencies {
    /// Returns the longest time that a start waits.
    pub fn timeout_ms(&self) -> u64 {
        self.timeout_ms.unwrap_or(TIMEOUT_MS)
    }
}

/// Condition that an app must reach before another app starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its processes run.
    Started,
    /// They are online: ready, if they have to prove readiness.
    Ready,
    /// They are online and healthy.
    Healthy,
    /// It has done its work: it exited with code 0.
    Completed,
}

impl Condition {
    /// Returns the condition of this name, in ostler's or Compose's spelling.
    pub fn by_name(word: &str) -> Option<Self> {
        match word {
            "started" | "service_started" => Some(Self::Started),
            "ready" => Some(Self::Ready),
            "healthy" | "service_healthy" => Some(Self::Healthy),
            "completed" | "service_completed_successfully" => Some(Self::Completed),
            _ => None,
        }
    }

    /// Returns the word that follows "is not".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Healthy => "healthy",
            Self::Completed => "completed",
        }
    }
}

/// Graph of dependencies. Names that are not in it are ignored.
#[derive(Clone, Debug, Default)]
pub struct Graph<'a> {
    edges: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Graph<'a> {
    /// Returns the graph of these apps and the names that they depend on.
    pub fn new(apps: impl IntoIterator<Item = (&'a str, &'a Dependencies)>) -> Self {
        let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, order) in apps {
            edges.entry(name).or_default().extend(order.depends_on.keys().map(String::as_str));
        }
        Self { edges }
    }

    /// Returns the first cycle: `a`, `b`, `c`, `a`.
    pub fn cycle(&self) -> Option<Vec<&'a str>> {
        let mut done: Vec<&str> = Vec::new();
        for &start in self.edges.keys() {
            // The names from the start to here, and how many of their dependencies were visited. No
            // recursion: the input is untrusted.
            let mut path = vec![(start, 0)];
            while let Some((name, next)) = path.last_mut() {
                let Some(&dependency) = self.edges.get(name).and_then(|all| all.get(*next)) else {
                    done.push(name);
                    path.pop();
                    continue;
                };
                *next += 1;
                if let Some(at) = path.iter().position(|(name, _)| *name == dependency) {
                    return Some(path[at..].iter().map(|(name, _)| *name).chain([dependency]).collect());
                }
                if !done.contains(&dependency) && self.edges.contains_key(dependency) {
                    path.push((dependency, 0));
                }
            }
        }
        None
    }

    /// Returns the wave in which each app starts: all its dependencies are in an earlier wave. Apps
    /// in a cycle, or behind a cycle, are in the last wave.
    pub fn waves(&self) -> BTreeMap<&'a str, usize> {
        let mut waves: BTreeMap<&str, usize> = BTreeMap::new();
        let mut wave = 0;
        while waves.len() < self.edges.len() {
            let is_free = |all: &Vec<&str>| all.iter().all(|name| waves.contains_key(name) || !self.edges.contains_key(name));
            let left = || self.edges.iter().filter(|(name, _)| !waves.contains_key(*name));
            let mut next: Vec<&str> = left().filter(|(_, all)| is_free(all)).map(|(name, _)| *name).collect();
            if next.is_empty() {
                next = left().map(|(name, _)| *name).collect();
            }
            waves.extend(next.into_iter().map(|name| (name, wave)));
            wave += 1;
        }
        waves
    }
}

/// Formats a cycle for users.
pub fn shown(cycle: &[&str]) -> String {
    cycle.join(" → ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn orders(text: &str) -> Vec<(String, Dependencies)> {
        let one = |app: &str| {
            let (name, all) = app.split_once(':').unwrap_or((app, ""));
            let depends_on = all.split_whitespace().map(|name| (name.to_owned(), Condition::Ready)).collect();
            (name.trim().to_owned(), Dependencies { depends_on, timeout_ms: None })
        };
        text.split(',').map(one).collect()
    }

    fn graph(orders: &[(String, Dependencies)]) -> Graph<'_> {
        Graph::new(orders.iter().map(|(name, order)| (name.as_str(), order)))
    }

    #[test]
    fn dependency_cycle_is_reported_with_its_path() {
        for (text, circle) in [
            ("a:b, b:c, c:a", Some("a → b → c → a")),
            ("a:a", Some("a → a")),
            ("x:a, a:b, b:c, c:b", Some("b → c → b")),
            ("a:b c, b:d, c:d, d", None),
            ("a:elsewhere", None),
            ("", None),
        ] {
            let orders = orders(text);
            assert_eq!(graph(&orders).cycle().map(|cycle| shown(&cycle)).as_deref(), circle, "{text}");
        }
    }

    #[test]
    fn waves_start_apps_as_early_as_possible() {
        let orders = orders("web:api worker, worker:db, api:db cache, db, cache, alone:elsewhere");
        let waves = graph(&orders).waves();
        let of = |wave| waves.iter().filter(|(_, own)| **own == wave).map(|(name, _)| *name).collect::<Vec<_>>();
        assert_eq!((of(0), of(1), of(2)), (vec!["alone", "cache", "db"], vec!["api", "worker"], vec!["web"]));
    }

    proptest! {
        #[test]
        fn app_starts_in_a_wave_after_its_dependencies(edges in prop::collection::vec((0_u8..12, 0_u8..12), 0..40)) {
            let names: Vec<String> = (0..12).map(|n| format!("n{n}")).collect();
            let mut all: Vec<(String, Dependencies)> = names.iter().map(|name| (name.clone(), Dependencies::default())).collect();
            for (from, to) in edges {
                all[usize::from(from)].1.depends_on.insert(names[usize::from(to)].clone(), Condition::Ready);
            }
            let graph = graph(&all);
            let (waves, cycle) = (graph.waves(), graph.cycle());
            prop_assert_eq!(waves.len(), names.len());
            let later = |name: &str, order: &Dependencies| order.depends_on.keys().all(|other| waves[other.as_str()] < waves[name]);
            let in_order = all.iter().all(|(name, order)| later(name, order));
            prop_assert_eq!(cycle.is_none(), in_order);
            for pair in cycle.iter().flat_map(|cycle| cycle.windows(2)) {
                let order = &all.iter().find(|(name, _)| name == pair[0]).unwrap().1;
                prop_assert!(order.depends_on.contains_key(pair[1]));
            }
        }
    }

    #[test]
    fn compose_conditions_are_accepted() {
        for (word, condition) in [
            ("service_started", Some(Condition::Started)),
            ("service_healthy", Some(Condition::Healthy)),
            ("service_completed_successfully", Some(Condition::Completed)),
            ("ready", Some(Condition::Ready)),
            ("Ready", None),
        ] {
            assert_eq!(Condition::by_name(word), condition);
        }
    }
}
