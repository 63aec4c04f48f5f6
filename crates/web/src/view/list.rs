//! List of apps with their instances.

use ostler_core::app::ExecMode;
use ostler_core::health;
use ostler_core::lifecycle::Trouble;
use ostler_proto::control::{Figures, TableRow};
use serde::Serialize;

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
    pub(crate) restarts: u64,
    /// CPU usage of all instances in percent of one core.
    pub(crate) cpu: f64,
    /// Memory of all instances in bytes.
    pub(crate) memory: u64,
    /// Age of the youngest running instance, in ms.
    pub(crate) uptime: Option<u64>,
    pub(crate) user: String,
    pub(crate) watching: bool,
    /// Reasons for attention: `errored`, `unhealthy`, `crashed`, `keeps_restarting`, `restarting`,
    /// `launching`.
    pub(crate) attention: Vec<&'static str>,
    /// Combined measurements of its Node processes; none = no measurements.
    pub(crate) node: Option<NodeSums>,
    pub(crate) instances: Vec<Instance>,
}

/// Combined measurements of the Node processes of an app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct NodeSums {
    /// Requests per second, total.
    pub(crate) rate: f64,
    /// 95th percentile of the response time in seconds, of the slowest instance.
    pub(crate) p95: Option<f64>,
    /// Share of the requests with 5xx, 0 to 1.
    pub(crate) failed_share: Option<f64>,
    /// Event loop utilization, 0 to 1, of the busiest instance.
    pub(crate) loop_use: f64,
}

impl NodeSums {
    /// Returns the sums with one more instance.
    fn with(mut self, figures: &Figures) -> Self {
        let failed = |rate: f64, share: Option<f64>| share.map(|share| rate * share);
        let all = failed(self.rate, self.failed_share).unwrap_or(0.0) + failed(figures.rate, figures.failed_share).unwrap_or(0.0);
        self.rate += figures.rate;
        self.failed_share =
            (self.failed_share.is_some() || figures.failed_share.is_some()).then(|| if self.rate > 0.0 { all / self.rate } else { 0.0 });
        self.p95 = self.p95.into_iter().chain(figures.p95).reduce(f64::max);
        self.loop_use = self.loop_use.max(figures.loop_use);
        self
    }
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
    let mut all: Vec<App> = Vec::new();
    for row in snapshot.rows.iter().filter(|row| sees(&row.namespace)) {
        let found = all.iter_mut().find(|app| app.name == row.name && app.namespace == row.namespace);
        match found {
            Some(app) => app.add(row),
            None => all.push(App::of(row)),
        }
        let figures = snapshot.figures.iter().find(|one| one.id == row.id);
        let app = all.iter_mut().find(|app| app.name == row.name && app.namespace == row.namespace);
        if let (Some(one), Some(app)) = (figures, app) {
            app.node = Some(app.node.unwrap_or_default().with(&one.figures));
        }
    }
    let (modules, apps) = all.into_iter().partition(|app| app.kind == "module");
    Apps { at: snapshot.at_ms, daemon: snapshot.peer.is_some(), host: snapshot.host.clone(), apps, modules }
}

impl App {
    fn of(row: &TableRow) -> Self {
        let mut app = Self {
            name: row.name.clone(),
            namespace: row.namespace.clone(),
            kind: if row.module { "module" } else { "app" },
            mode: if row.mode == ExecMode::Cluster { "cluster" } else { "fork" },
            version: row.version.clone(),
            state: row.status.clone(),
            health: None,
            restarts: 0,
            cpu: 0.0,
            memory: 0,
            uptime: None,
            user: row.user.clone(),
            watching: row.watching,
            attention: Vec::new(),
            node: None,
            instances: Vec::new(),
        };
        app.add(row);
        app
    }

    fn add(&mut self, row: &TableRow) {
        let health = row.health.map(word);
        if severity(&row.status) > severity(&self.state) {
            self.state.clone_from(&row.status);
        }
        if rank(health) > rank(self.health) {
            self.health = health;
        }
        self.restarts += u64::from(row.restarts);
        self.cpu = ((self.cpu + row.monit.cpu_pct) * 10.0).round() / 10.0;
        self.memory += row.monit.memory_bytes;
        self.uptime = match (self.uptime, row.uptime_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        for cause in causes(row, health) {
            if !self.attention.contains(&cause) {
                self.attention.push(cause);
            }
        }
        self.instances.push(Instance {
            id: row.id,
            pid: row.pid,
            state: row.status.clone(),
            health,
            uptime: row.uptime_ms,
            restarts: row.restarts,
            cpu: row.monit.cpu_pct,
            memory: row.monit.memory_bytes,
        });
    }
}

/// Returns the reasons why an instance needs attention.
fn causes(row: &TableRow, health: Option<&str>) -> impl Iterator<Item = &'static str> {
    let state = match (row.status.as_str(), health) {
        ("errored", _) => Some("errored"),
        (_, Some("unhealthy")) => Some("unhealthy"),
        ("waiting restart", _) if row.trouble.is_none() => Some("restarting"),
        ("launching", _) => Some("launching"),
        _ => None,
    };
    let trouble = row.trouble.map(|trouble| match trouble {
        Trouble::Crashed => "crashed",
        Trouble::KeepsRestarting => "keeps_restarting",
    });
    state.into_iter().chain(trouble)
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
    fn crashed_and_restarting_apps_need_attention() {
        let of = |status: &str, trouble| TableRow { trouble, ..row(0, "api", "default", status) };
        let attention = |rows: Vec<TableRow>| apps(&Snapshot { rows, ..Snapshot::default() }, |_| true).apps[0].attention.clone();
        assert_eq!(attention(vec![of("stopped", Some(Trouble::Crashed))]), ["crashed"]);
        assert_eq!(attention(vec![of("online", Some(Trouble::KeepsRestarting))]), ["keeps_restarting"]);
        let both = vec![of("waiting restart", Some(Trouble::KeepsRestarting)), of("online", Some(Trouble::KeepsRestarting))];
        assert_eq!(attention(both), ["keeps_restarting"], "each once");
        assert_eq!(attention(vec![of("waiting restart", None), of("stopped", None)]), ["restarting"]);
    }

    #[test]
    fn metrics_of_instances_are_summed() {
        let of = |id, rate, p95, failed_share, loop_use| InstanceFigures {
            id,
            figures: Figures { rate, p95, failed_share, loop_use, ..Figures::default() },
        };
        let rows = (0..3).map(|id| row(id, "api", "default", "online")).collect();
        let figures = vec![of(0, 30.0, Some(0.1), Some(0.1), 0.5), of(1, 10.0, Some(0.3), Some(0.5), 0.2), of(2, 0.0, None, None, 0.9)];
        let all = apps(&Snapshot { rows, figures, ..Snapshot::default() }, |_| true);
        assert_eq!(all.apps[0].node, Some(NodeSums { rate: 40.0, p95: Some(0.3), failed_share: Some(0.2), loop_use: 0.9 }));
    }
}
