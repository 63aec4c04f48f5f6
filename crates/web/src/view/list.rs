//! List of apps with their instances.

use std::collections::BTreeMap;

use ostler_client::attention::{AttentionReason, attention};
use ostler_core::app::ExecMode;
use ostler_core::health;
use ostler_proto::control::{Figures, TableRow};
use serde::Serialize;

use super::node::NodeSums;
use super::reason::Reason;
use crate::snapshot::Host;
use crate::snapshot::Snapshot;

/// Contents of the overview.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Apps {
    /// Wall clock, ms.
    pub(crate) at: u64,
    /// False = the daemon does not answer, and there is no list.
    pub(crate) daemon: bool,
    pub(crate) host: Host,
    pub(crate) apps: Vec<App>,
    pub(crate) modules: Vec<App>,
}

/// App in the list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) kind: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) version: Option<String>,
    /// The most severe state of its instances.
    pub(crate) state: String,
    /// `healthy`, `unready`, `unhealthy`, `starting`, `broken`; none = no health checks.
    pub(crate) health: Option<&'static str>,
    /// Restarts since it was added or its counters were reset.
    pub(crate) restarts: u64,
    /// CPU usage of all instances in percent of one core, over the last seconds.
    pub(crate) cpu: f64,
    /// Memory of all instances in bytes.
    pub(crate) memory: u64,
    /// Age of the youngest running instance, in ms.
    pub(crate) uptime: Option<u64>,
    pub(crate) user: String,
    pub(crate) watching: bool,
    /// Kinds of `reasons`.
    pub(crate) attention: Vec<&'static str>,
    /// Reasons for attention, the most serious first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reasons: Vec<Reason>,
    /// Combined measurements of its Node processes; none = no measurements.
    pub(crate) node: Option<NodeSums>,
    pub(crate) instances: Vec<Instance>,
}

/// Instance in the list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Instance {
    pub(crate) id: u32,
    pub(crate) pid: i32,
    pub(crate) state: String,
    pub(crate) health: Option<&'static str>,
    /// Time since its start in ms, while it is online.
    pub(crate) uptime: Option<u64>,
    pub(crate) restarts: u32,
    pub(crate) cpu: f64,
    pub(crate) memory: u64,
}

/// Returns the overview of a snapshot, for the visible namespaces.
pub(crate) fn apps(snapshot: &Snapshot, sees: impl Fn(&str) -> bool) -> Apps {
    let figures: BTreeMap<u32, &Figures> = snapshot.figures.iter().map(|one| (one.id, &one.figures)).collect();
    let mut groups: Vec<Vec<&TableRow>> = Vec::new();
    let mut places = BTreeMap::new();
    for row in snapshot.rows.iter().filter(|row| sees(&row.namespace)) {
        let place = *places.entry((&row.name, &row.namespace)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let all = groups.iter().filter_map(|rows| App::of(rows, &figures));
    let (modules, apps) = all.partition(|app| app.kind == "module");
    Apps { at: snapshot.at_ms, daemon: snapshot.peer.is_some(), host: snapshot.host.clone(), apps, modules }
}

impl App {
    /// Combines the rows of its instances.
    fn of(rows: &[&TableRow], figures: &BTreeMap<u32, &Figures>) -> Option<Self> {
        let first = *rows.first()?;
        let found = attention(rows, |id| figures.get(&id).copied());
        let sum: f64 = rows.iter().map(|row| row.monit.cpu_pct).sum();
        Some(Self {
            name: first.name.clone(),
            namespace: first.namespace.clone(),
            kind: if first.module { "module" } else { "app" },
            mode: if first.mode == ExecMode::Cluster { "cluster" } else { "fork" },
            version: first.version.clone(),
            state: rows.iter().rev().max_by_key(|row| severity(&row.status))?.status.clone(),
            health: rows.iter().map(|row| row.health.map(word)).max_by_key(|health| rank(*health)).flatten(),
            restarts: rows.iter().map(|row| u64::from(row.restarts)).sum(),
            cpu: (sum * 10.0).round() / 10.0,
            memory: rows.iter().map(|row| row.monit.memory_bytes).sum(),
            uptime: rows.iter().filter_map(|row| row.uptime_ms).min(),
            user: first.user.clone(),
            watching: first.watching,
            attention: found.iter().map(AttentionReason::word).collect(),
            reasons: found.into_iter().map(Reason::of).collect(),
            node: NodeSums::of(rows.iter().filter_map(|row| figures.get(&row.id).copied())),
            instances: rows.iter().map(|row| Instance::of(row)).collect(),
        })
    }
}

impl Instance {
    fn of(row: &TableRow) -> Self {
        Self {
            id: row.id,
            pid: row.pid,
            state: row.status.clone(),
            health: row.health.map(word),
            uptime: row.uptime_ms,
            restarts: row.restarts,
            cpu: row.monit.cpu_pct,
            memory: row.monit.memory_bytes,
        }
    }
}

/// Returns the word for a health state.
pub(super) fn word(state: health::HealthState) -> &'static str {
    match state {
        health::HealthState::Starting => "starting",
        health::HealthState::Healthy => "healthy",
        health::HealthState::Unready => "unready",
        health::HealthState::Unhealthy => "unhealthy",
        health::HealthState::Broken => "broken",
    }
}

fn rank(health: Option<&str>) -> u8 {
    match health {
        None => 0,
        Some("healthy") => 1,
        Some("starting") => 2,
        Some("unready" | "broken") => 3,
        Some(_) => 4,
    }
}

/// Returns the severity of a state.
fn severity(status: &str) -> u8 {
    match status {
        "errored" => 5,
        "waiting restart" => 4,
        "stopping" => 3,
        "launching" => 2,
        "online" => 1,
        _ => 0,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ostler_core::lifecycle::Trouble;
    use ostler_proto::control::{InstanceFigures, Monit};

    pub(crate) fn row(id: u32, name: &str, namespace: &str, status: &str) -> TableRow {
        TableRow {
            id,
            name: name.into(),
            namespace: namespace.into(),
            version: None,
            mode: ExecMode::Fork,
            pid: 100 + i32::try_from(id).unwrap(),
            status: status.into(),
            uptime_ms: (status == "online").then_some(1000 * u64::from(id + 1)),
            restarts: id,
            monit: Monit { cpu_pct: 1.1, memory_bytes: 10, processes: 1 },
            user: "u".into(),
            watching: false,
            health: None,
            trouble: None,
            last_exit: None,
            recent_exits: 0,
            exceeded: None,
            memory_limit: None,
            sandbox: None,
            module: name.starts_with("pm2-"),
        }
    }

    #[test]
    fn instances_merge_into_one_app_with_the_worst_state() {
        let rows = vec![
            row(0, "api", "default", "online"),
            row(1, "api", "default", "errored"),
            TableRow { health: Some(health::HealthState::Unhealthy), ..row(2, "api", "default", "online") },
            row(3, "api", "other", "stopped"),
            row(4, "pm2-x", "default", "online"),
        ];
        let snapshot = Snapshot { at_ms: 7, rows, ..Snapshot::default() };
        let all = apps(&snapshot, |_| true);
        assert_eq!((all.at, all.daemon, all.apps.len(), all.modules.len()), (7, false, 2, 1));
        let api = &all.apps[0];
        assert_eq!((api.state.as_str(), api.health, api.restarts, api.cpu, api.memory), ("errored", Some("unhealthy"), 3, 3.3, 30));
        assert_eq!((api.uptime, &api.attention[..], api.instances.len()), (Some(1000), &["errored", "unhealthy"][..], 3));
        assert_eq!(all.apps[1].state, "stopped");
        assert_eq!(api.node, None);
        let seen = apps(&snapshot, |namespace| namespace == "other");
        assert_eq!((seen.apps.len(), seen.modules.len()), (1, 0));
    }

    #[test]
    fn app_has_the_reasons_of_its_instances() {
        let crashed = TableRow { trouble: Some(Trouble::Crashed), ..row(0, "api", "default", "stopped") };
        let figures = Figures { rate: 5.0, failed_share: Some(0.5), ..Figures::default() };
        let rows = vec![crashed, row(1, "api", "default", "online"), row(2, "calm", "default", "launching")];
        let figures = vec![InstanceFigures { id: 1, figures: figures.clone() }, InstanceFigures { id: 7, figures }];
        let all = apps(&Snapshot { rows, figures, ..Snapshot::default() }, |_| true).apps;
        assert_eq!(all[0].attention, ["crashed", "failing_requests"]);
        assert_eq!(
            serde_json::to_value(&all[0].reasons).unwrap()[1],
            serde_json::json!({ "kind": "failing_requests", "text": "50.0% 5xx", "share": 0.5 })
        );
        assert!(all[1].attention.is_empty() && all[1].reasons.is_empty());
    }
}
