//! Kinds of changes that requests make.

use ostler_core::marked;
use ostler_proto::control::{Action, Request};

/// Change that a request makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Start,
    /// Start of the apps of a saved list.
    Restore,
    Restart,
    Reload,
    RollBack,
    Stop,
    Delete,
    Reset,
    Scale,
}

impl Change {
    /// Returns the change that the request makes; none if the request has no progress.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        Some(match request {
            Request::Start { .. } | Request::RunJob { .. } => Self::Start,
            Request::Resurrect | Request::Restore { .. } => Self::Restore,
            Request::Act { action: Action::Restart, .. } => Self::Restart,
            Request::Act { action: Action::Reload, .. } => Self::Reload,
            Request::Act { action: Action::Stop, .. } | Request::Kill => Self::Stop,
            Request::Act { action: Action::Delete, .. } => Self::Delete,
            Request::Act { action: Action::Reset, .. } => Self::Reset,
            Request::Scale { .. } => Self::Scale,
            Request::Undo { .. } => Self::RollBack,
            _ => return None,
        })
    }

    /// Returns true if processes run afterwards.
    pub(super) const fn leaves_processes(self) -> bool {
        matches!(self, Self::Start | Self::Restore | Self::Restart | Self::Reload | Self::RollBack | Self::Scale)
    }

    /// Returns true if the result depends on the instances before the request.
    pub(crate) const fn compares(self) -> bool {
        matches!(self, Self::Start | Self::Restart | Self::Reload | Self::Scale)
    }

    /// Returns the words for an app whose change is done, without translation; empty if they vary.
    pub(super) const fn done(self) -> &'static str {
        match self {
            Self::Start | Self::Restore | Self::Scale => "",
            Self::Restart => marked!("restarted"),
            Self::Reload => marked!("reloaded"),
            Self::RollBack => marked!("rolled back"),
            Self::Stop => marked!("stopped"),
            Self::Delete => marked!("deleted"),
            Self::Reset => marked!("counters reset"),
        }
    }

    /// Returns the words for an app during its change, without translation.
    pub(super) const fn under_way(self) -> &'static str {
        match self {
            Self::Start | Self::Restore | Self::Restart | Self::Scale => marked!("starting"),
            Self::Reload | Self::RollBack => marked!("reloading"),
            Self::Stop | Self::Delete => marked!("stopping"),
            Self::Reset => marked!("resetting"),
        }
    }
}
