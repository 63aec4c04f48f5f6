//! Working trees that instances were started in.

use std::sync::Arc;

use ostler_core::git::WorkingTree;

use super::Slots;
use crate::working_trees::WorkingTrees;

impl Slots {
    /// Takes the answers that have come since; only whoever shows them needs them.
    pub(crate) fn learn_working_trees(&mut self, trees: &WorkingTrees) {
        for ((id, inc), tree) in trees.answers() {
            let is_its_own = self.get(id).is_some_and(|slot| slot.is_newest(inc));
            if is_its_own {
                self.set_working_tree(id, tree);
            }
        }
    }

    /// Notes the tree that an instance was started in.
    pub(crate) fn set_working_tree(&mut self, id: u32, tree: Option<Arc<WorkingTree>>) {
        let Some(slot) = self.get_mut(id) else { return };
        if slot.durable.learned.working_tree != tree {
            slot.durable.learned.working_tree = tree;
            self.changed(id);
        }
    }
}
