//! Kept connections of a process that is about to be stopped ([`ostler_core::serving::retiring`]).

use ostler_core::serving::retiring::{Canary, Kept, RetireStep, is_at_rest};
use ostler_sys::net::connections::{Connection, ProcessFd, announce_end, sockets_of_tree};
use rustix::io::Errno;

use super::Sockets;
use crate::engine::{Ctx, FeatureAnswer};

impl Sockets {
    /// Retires kept connections of a process that has answered all requests. Returns true when it
    /// can be stopped.
    pub(super) fn has_retired(&mut self, ctx: &mut Ctx, id: u32, pid: i32, connections: &[Connection]) -> bool {
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.spec().retire_connections) else { return true };
        let Some(finishing) = self.shards.finishing.get_mut(&id) else { return true };
        let (app, name, pm_id) = (slot.spec().key(), slot.spec().name.clone(), slot.durable.pm_id);
        let descriptors = sockets_of_tree(pid);
        let own: Vec<(&Connection, ProcessFd)> =
            connections.iter().filter_map(|connection| Some((connection, *descriptors.get(&connection.inode)?))).collect();
        let open: Vec<Kept> = own.iter().map(|(connection, _)| kept(connection)).collect();
        let canary = self.shards.canaries.entry(app.to_owned()).or_default();
        let RetireStep::Announce(ids) = finishing.retiring.update(&open, canary, ctx.now.mono_ms) else {
            let left = open.iter().filter(|kept| finishing.retiring.is_used(kept)).count();
            if left > 0 {
                tell_open(ctx, id, &name, pm_id, left);
            }
            return true;
        };
        for (connection, of) in own.iter().filter(|(connection, _)| ids.contains(&connection.cookie)) {
            // Otherwise it fails if the connection or its process is gone.
            if let Err(Errno::PERM | Errno::NOSYS) = announce_end(connection, *of, rests) {
                *canary = Canary::Ignores;
            }
        }
        false
    }
}

/// Tells the user that connections end with their process: a request that is on its way is lost.
fn tell_open(ctx: &mut Ctx, id: u32, name: &str, pm_id: u32, open: usize) {
    let text = if open == 1 { "1 kept connection was".to_owned() } else { format!("{open} kept connections were") };
    let text = format!("{text} still open when the old process was stopped");
    ctx.io.log.error(format_args!("App [{name}:{pm_id}] {text}"));
    ctx.answer(FeatureAnswer::Cut { id, requests: 0, warning: format!("[{name}]({pm_id}) {text}") });
}

fn kept(connection: &Connection) -> Kept {
    // A client that has only connected is about to send its first request.
    let is_kept = connection.received > 0 && connection.sent > 0;
    Kept { id: connection.cookie, received: connection.received, at_rest: is_kept && rests(connection) }
}

fn rests(connection: &Connection) -> bool {
    is_at_rest(connection.unread, connection.queued, connection.since_received_ms, connection.since_sent_ms)
}
