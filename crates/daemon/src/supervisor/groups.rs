//! The cgroup of an instance: from its first process until nothing runs and nothing is wanted.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ostler_core::lifecycle::State;
use ostler_sys::cgroup;

use crate::control::Control;

/// Nothing of the instance runs, and nothing is to be started by itself.
fn is_at_rest(state: &State) -> bool {
    matches!(state, State::Stopped | State::Errored | State::Gone)
}

impl Control {
    /// The group for the next process of an instance.
    pub(super) fn group_for_spawn(&mut self, id: u32) -> Option<OwnedFd> {
        let slot = self.ctx.slots.get_mut(id)?;
        let next = self.ctx.groups.next_of(slot);
        let former = slot.group.take().map(|former| PathBuf::from(&*former)).filter(|former| next.as_ref() != Some(former));
        // Adopted from another login or service: the new process belongs to where the daemon is now.
        former.into_iter().for_each(|former| self.ctx.groups.remove(former));
        let next = next?;
        match self.ctx.groups.open(&next, slot.group_fresh) {
            Ok(folder) => {
                slot.group = folder.is_some().then(|| next.to_string_lossy().into());
                slot.group_fresh = folder.is_some();
                folder
            }
            Err(errno) => {
                let why = std::io::Error::from(errno);
                self.ctx.log.line(format_args!("no cgroups here ({}: {why}): apps are told apart by other signs", next.display()));
                None
            }
        }
    }

    /// Removes the group of an instance that is at rest.
    pub(super) fn tidy_group(&mut self, id: u32) {
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        if is_at_rest(&slot.instance.state)
            && let Some(group) = slot.group.take()
        {
            slot.group_fresh = false;
            self.ctx.groups.remove(group.into_string().into());
        }
    }

    /// After a restart of the daemon: each instance has the group that it had, and empty groups of nobody are removed.
    pub(crate) fn recover_groups(&mut self) {
        let mut wanted = Vec::new();
        for slot in self.ctx.slots.iter_mut().filter(|slot| !is_at_rest(&slot.instance.state)) {
            // The journal may have ended between the making of the group and its record.
            let group = slot.group.take().or_else(|| Some(self.ctx.groups.next_of(slot)?.to_string_lossy().into()));
            // We may have been started by one of our apps: its group is not to be killed.
            slot.group = group.filter(|group| !self.ctx.groups.has_us_in(Path::new(&**group)));
            wanted.extend(slot.group.clone());
        }
        for group in self.ctx.groups.all() {
            if !wanted.iter().any(|wanted| Path::new(&**wanted) == group) {
                // In use: the journal may be what is wrong, so nothing is killed for that.
                let _ = cgroup::remove(&group);
            }
        }
    }
}
