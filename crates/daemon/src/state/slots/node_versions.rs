//! Versions of Node that run the instances, if the daemon must run the programs to find them.

use super::Slots;
use crate::platform::node_version::NodeVersions;
use crate::platform::users::account;

impl Slots {
    /// Starts to determine the Node versions of apps that were adopted before their version was
    /// known.
    pub(crate) fn ask_node_versions(&mut self, versions: &NodeVersions) {
        for slot in self.iter_mut() {
            if slot.durable.learned.node_version.is_some() || slot.live.node.is_some() || !slot.spec().runs_in_node() {
                continue;
            }
            let Some(pid) = slot.durable.instance.pid() else { continue };
            let Ok(program) = std::fs::read_link(format!("/proc/{pid}/exe")) else { continue };
            let Ok(account) = account(slot.spec()) else { continue };
            slot.live.node = versions.query(&program, account.map(|account| account.credentials));
        }
    }

    /// Stores new results; only complete answers need them.
    pub(crate) fn record_node_versions(&mut self, versions: &NodeVersions) {
        let mut learned = Vec::new();
        for slot in self.iter_mut() {
            let Some(version) = slot.live.node.as_ref().and_then(|node| versions.get(node)) else { continue };
            slot.live.node = None;
            slot.durable.learned.node_version = Some(version);
            learned.push(slot.durable.id);
        }
        learned.into_iter().for_each(|id| self.changed(id));
    }
}
