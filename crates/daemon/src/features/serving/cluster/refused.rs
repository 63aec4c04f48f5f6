//! Workers of apps that run as another user. Their sockets are opened with that user's rights.
//!
//! If an app needs a port that only root may open, it declares the port (`listen`). Root wrote the
//! description, but not the messages of a worker.

use std::os::fd::OwnedFd;

use ostler_core::app::AppSpec;
use ostler_core::serving::{FIRST_FD, ListenAt};
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, capabilities};

use super::Cluster;
use super::query::{Query, SocketKind};
use crate::engine::Ctx;
use crate::platform::rights::Rights;
use crate::state::slots::Slot;

/// Returns the rights for opening the socket that this worker wants.
// PM2 differs: if root runs it, it opens every socket of a worker as root.
pub(super) fn rights_for(slot: &Slot, query: &Query) -> Rights {
    let rights = Rights::of(slot.spec());
    // Its program itself may be allowed to bind every port (`setcap cap_net_bind_service`).
    let may_bind = || slot.durable.instance.pid().is_some_and(may_bind_any_port);
    if !rights.is_daemon_user() && query.kind != SocketKind::Unix && query.port != 0 && may_bind() { Rights::default() } else { rights }
}

/// Returns the socket that the app's description declares for this address, if any.
pub(super) fn declared_socket(ctx: &Ctx, spec: &AppSpec, query: &Query) -> Option<OwnedFd> {
    let is_it = |at: &ListenAt| match at {
        ListenAt::Tcp { address, port } => {
            let wanted = query.address.as_deref().and_then(|text| text.parse().ok());
            query.is_tcp() && *port == query.port && (address.is_none() || *address == wanted)
        }
        ListenAt::TcpV6 { .. } => false,
        ListenAt::Unix { path } => query.kind == SocketKind::Unix && query.address.as_deref() == Some(path),
    };
    let index = spec.listen.iter().position(|listen| is_it(&listen.at))?;
    ctx.state.listening.copy_for_worker(spec, i64::from(FIRST_FD) + i64::try_from(index).ok()?)
}

impl Cluster {
    /// Logs how to fix a refusal, once for each address of an app.
    pub(super) fn log_refusal(&mut self, ctx: &mut Ctx, id: u32, query: &Query) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        if !self.listeners.is_news(slot.spec().key(), &query.key()) {
            return;
        }
        let (name, pm_id) = (&slot.spec().name, slot.durable.pm_id);
        let user = crate::platform::users::name_of(slot.spec().uid.as_deref().unwrap_or_default());
        let what = match (query.kind, &query.address) {
            (SocketKind::Unix, Some(path)) => format!("create the socket \"{path}\""),
            _ => format!("listen on port {}", query.port),
        };
        ctx.io.log.error(format_args!(
            "App [{name}:{pm_id}] the user {user} may not {what}, so its worker may not either (EACCES): declare it in \"listen\""
        ));
    }
}

/// Returns true if the main process has the capability.
fn may_bind_any_port(pid: i32) -> bool {
    let sets = Pid::from_raw(pid).and_then(|pid| capabilities(Some(pid)).ok());
    sets.is_some_and(|sets| sets.effective.contains(CapabilitySet::NET_BIND_SERVICE))
}
