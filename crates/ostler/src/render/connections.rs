//! How the processes of clustered apps without cluster workers get their connections.

use ostler_core::app::ExecMode;
use ostler_core::message;
use ostler_core::serving::interception::OwnSocket;
use ostler_proto::control::Detail;

use crate::text::shown;

/// Describes how the process of an app without cluster workers gets its connections, or why it does
/// not share a port. Returns `None` for processes in fork mode that open their ports by themselves.
pub(super) fn connections(detail: &Detail) -> Option<String> {
    let (spec, learned) = (&detail.spec, &detail.learned);
    if spec.has_workers() || spec.mode == ExecMode::Fork && spec.listen.is_empty() {
        return None;
    }
    if spec.listen.is_empty() && !spec.shares_opened_port() {
        return Some(message!("each process opens a port of its own (`increment_var`)"));
    }
    let own = own_sockets(detail);
    let addresses = learned.sockets.iter().map(|socket| shown(&socket.address)).collect::<Vec<_>>().join(", ");
    let shared = match (addresses.is_empty(), &own) {
        (false, _) if spec.has_shards() => Some(message!("shares {addresses} (each process has its own socket)", addresses)),
        (false, _) => Some(message!("shares {addresses} (all processes have the same socket)", addresses)),
        (true, None) if !spec.listen.is_empty() => None,
        (true, None) if !learned.ports.is_empty() => {
            let ports = learned.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            Some(message!("own sockets at port {ports}: not opened by `bind` and `listen` (io_uring, or from another program)", ports))
        }
        (true, None) => Some(message!("shares the ports that it opens; so far it has opened none")),
        (true, Some(_)) => None,
    };
    let all = shared.into_iter().chain(own).collect::<Vec<_>>();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Describes the sockets that a process keeps for itself although its app shares the ports that it
/// opens, and the alternatives.
pub(super) fn own_sockets(detail: &Detail) -> Option<String> {
    let own = &detail.learned.own_sockets;
    let one = |own: &OwnSocket| match own.address {
        Some(address) => message!("own socket at {address}: {reason}", address, reason = own.reason),
        None => message!("own sockets: {reason}", reason = own.reason),
    };
    let all = own.iter().map(one).collect::<Vec<_>>().join("; ");
    match (own.is_empty(), detail.spec.listen.is_empty()) {
        (true, _) => None,
        (false, true) => Some(message!("{sockets} (instead, declare the port in `listen`, or use `increment_var`)", sockets = all)),
        (false, false) => Some(all),
    }
}
