//! Sockets of another manager from which apps are moved. Its workers and ours accept from the same
//! queue, until its own have exited.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use ostler_sys::ProcRef;

use super::listen::bound_to;
use super::query::Query;

/// Another manager whose sockets are shared.
#[derive(Debug)]
pub(super) struct SocketSource {
    pub process: ProcRef,
    /// Apps that come from there.
    pub apps: BTreeSet<String>,
}

impl SocketSource {
    /// Returns its socket for a worker's query, if that is TCP. The other manager would remove the
    /// file of a unix socket when it closes the socket.
    pub(super) fn socket(&self, app: &str, query: &Query) -> Option<OwnedFd> {
        if !self.apps.contains(app) || !query.is_tcp() || query.port == 0 {
            return None;
        }
        let wanted: Option<IpAddr> = match &query.address {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        let fits = |socket: &OwnedFd| {
            bound_to(socket).is_ok_and(|at| match wanted {
                Some(address) => at.ip() == address,
                None => at.ip().is_unspecified(),
            })
        };
        ostler_sys::fd::socket_copies::listening_at(self.process, query.port).into_iter().find(fits)
    }
}
