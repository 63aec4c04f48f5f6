//! State at one instant: the daemon's table, reports of apps, the machine. Pure.

mod host;
mod reported;

use std::sync::Arc;

use ostler_client::Peer;
use ostler_proto::control::{InstanceFigures, TableRow};

pub(crate) use host::Host;
pub(crate) use reported::{ReportedMetrics, is_measured};

/// State at one instant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Wall clock, ms.
    pub(crate) at_ms: u64,
    /// Number of the last request for a fresh table (`TableWatch::fresh`) before this table was
    /// read.
    pub(crate) refresh: u64,
    pub(crate) rows: Vec<TableRow>,
    /// Measurements of Node apps, by instance.
    pub(crate) figures: Vec<InstanceFigures>,
    pub(crate) host: Host,
    /// The daemon; none = it does not answer.
    pub(crate) peer: Option<Peer>,
}

impl Snapshot {
    /// Returns true if data about an app is in a namespace that the user sees. If the instance is
    /// known, its namespace counts. Otherwise the user must see every namespace that has an app of
    /// this name, because the data may be about any of them.
    pub(crate) fn sees(&self, app: &str, instance: Option<u32>, sees: impl Fn(&str) -> bool) -> bool {
        let of_app = || self.rows.iter().filter(|row| row.name == app);
        match of_app().find(|row| Some(row.id) == instance) {
            Some(row) => sees(&row.namespace),
            None => of_app().next().is_some() && of_app().all(|row| sees(&row.namespace)),
        }
    }

    /// Returns the namespace of the apps of this name; none if there is no such app, or several
    /// namespaces have one.
    pub(crate) fn namespace_of(&self, app: &str) -> Option<String> {
        let mut namespaces = self.rows.iter().filter(|row| row.name == app).map(|row| &row.namespace);
        let first = namespaces.next()?;
        namespaces.all(|other| other == first).then(|| first.clone())
    }
}

/// Snapshot with the custom metrics of apps, recorded by the history every ten seconds.
#[derive(Debug)]
pub(crate) struct RecordedSnapshot {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) reported: ReportedMetrics,
}
