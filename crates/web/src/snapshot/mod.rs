//! What is known at an instant: the daemon's table, what apps report, the machine. Pure.

mod host;
mod reported;

use std::sync::Arc;

use ostler_client::Peer;
use ostler_proto::control::{InstanceFigures, TableRow};

pub(crate) use host::Host;
pub(crate) use reported::Reported;

/// What is known at an instant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Wall clock, ms.
    pub(crate) at_ms: u64,
    /// Number of the last wish (`Look::fresh`) before it was asked for.
    pub(crate) wish: u64,
    pub(crate) rows: Vec<TableRow>,
    /// What Node apps have measured, by instance.
    pub(crate) figures: Vec<InstanceFigures>,
    pub(crate) host: Host,
    /// The daemon; none = nobody answers.
    pub(crate) peer: Option<Peer>,
}

impl Snapshot {
    /// True if what is told of an app is of a namespace that is seen: of the namespace of the instance if that is known, else of each that has an app of this
    /// name, as nothing says which of them is meant.
    pub(crate) fn sees(&self, app: &str, instance: Option<u32>, sees: impl Fn(&str) -> bool) -> bool {
        let of_app = || self.rows.iter().filter(|row| row.name == app);
        match of_app().find(|row| Some(row.id) == instance) {
            Some(row) => sees(&row.namespace),
            None => of_app().next().is_some() && of_app().all(|row| sees(&row.namespace)),
        }
    }

    /// Namespace of the apps of this name; none if there is no such app, or several namespaces have one.
    pub(crate) fn namespace_of(&self, app: &str) -> Option<String> {
        let mut namespaces = self.rows.iter().filter(|row| row.name == app).map(|row| &row.namespace);
        let first = namespaces.next()?;
        namespaces.all(|other| other == first).then(|| first.clone())
    }
}

/// A snapshot with what apps report themselves: what the history takes each ten seconds.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) reported: Reported,
}
