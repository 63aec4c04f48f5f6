//! Working trees that instances were started in.

use std::sync::Arc;

use ostler_core::app::git::WorkingTree;
use ostler_core::app::package::UNKNOWN;

use super::Slots;
use crate::platform::working_trees::{WorkingTreeInfo, WorkingTrees};

impl Slots {
    /// Records answers that have arrived. Returns the versions of packages that differ from the
    /// descriptions.
    pub(crate) fn record_working_trees(&mut self, trees: &WorkingTrees) -> Vec<(u32, String)> {
        let mut versions = Vec::new();
        for ((id, inc), WorkingTreeInfo { tree, version }) in trees.answers() {
            let Some(slot) = self.get(id).filter(|slot| slot.is_newest(inc)) else { continue };
            if slot.spec().version.as_deref().unwrap_or(UNKNOWN) != version {
                versions.push((id, version));
            }
            self.set_working_tree(id, tree);
        }
        versions
    }

    /// Records the working tree that an instance was started in.
    pub(crate) fn set_working_tree(&mut self, id: u32, tree: Option<Arc<WorkingTree>>) {
        let Some(slot) = self.get_mut(id) else { return };
        if slot.durable.learned.working_tree != tree {
            slot.durable.learned.working_tree = tree;
            self.changed(id);
        }
    }
}
