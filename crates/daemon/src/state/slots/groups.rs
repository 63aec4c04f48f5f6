//! Cgroup of each instance: the one piece of evidence that a process cannot remove.
//!
//! A process that leaves its session, loses its parents and clears its environment is still in the
//! group that it was born in. The group is created with the first process of an instance and kept
//! across restarts. It is removed when nothing runs and nothing is to be started. If cgroups are
//! unavailable, the daemon relies on the other evidence alone.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use ostler_core::lifecycle::InstanceState;
use ostler_keeper::{HOME_VAR, ROLE_VAR};
use ostler_sys::cgroup;
use ostler_sys::process::tree::marker;
use rustix::io::Errno;

use super::{Slot, Slots};

/// Returns true if this is the anchor of this home. For a moment after its start it looks like the
/// keeper that it was copied from.
fn is_anchor(pid: i32) -> bool {
    let home = std::env::var_os(HOME_VAR);
    let has_role = marker(pid, ROLE_VAR).is_some_and(|role| role == b"anchor" || role == b"keeper");
    has_role && home.is_some() && marker(pid, HOME_VAR).map(OsString::from_vec) == home
}

/// Reason why there is no group, or why it has no limits.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupError {
    /// Machine without cgroups that can be used.
    #[error("cgroups v2 is not available")]
    None,
    /// Instance that was started without a group.
    #[error("the instance has no cgroup")]
    NoGroup,
    /// Controller that the kernel or the parent group does not offer.
    #[error("the cgroup controller \"{controller}\" is not available in {}", .place.display())]
    NoController {
        /// Its name.
        controller: String,
        /// The group.
        place: PathBuf,
    },
    /// Group with processes of others, which cannot have limited groups in it.
    #[error("other processes run in {} itself; run ostler as a service of systemd 254 or newer", .0.display())]
    Busy(PathBuf),
    /// The kernel refused.
    #[error("{}: {source}", .place.display())]
    System {
        /// The group or its file.
        place: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Groups of the home.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Group of the daemon itself.
    own: Option<PathBuf>,
    /// Whether keeper and daemon may leave that group.
    free: bool,
    /// Process that started the apps of a runtime. It is not an app, so it moves with keeper and
    /// daemon.
    starter: Option<i32>,
    /// Folder with one group per instance; `None` = no groups here.
    base: Option<PathBuf>,
    /// Groups to remove: of instances at rest, and of deleted instances whose processes were left
    /// running on purpose (`treekill: false`).
    unused: Vec<PathBuf>,
    /// Whether a process was started in a group, which proves that groups work.
    tried: bool,
    /// Whether there are apps that are not the keeper's children. Orphans of them may have any
    /// parent.
    adopted: bool,
}

impl Groups {
    /// Finds the groups of this home. `in_front` means that ostler runs in the foreground of a
    /// container or terminal, where a `starter` is possible. Nothing is created yet.
    pub(crate) fn find(home: &Path, in_front: bool, starter: Option<i32>) -> Self {
        let own = cgroup::own().map(without_leaf);
        let base = || {
            let own = own.as_deref().filter(|_| ostler_keeper::cgroups_wanted())?;
            let name = ostler_keeper::home_group(home).ok()?;
            // A daemon that could not leave the group of one of its apps creates no groups. The
            // path must also be valid text, because the journal holds only text.
            let usable = own.to_str().is_some() && own.iter().all(|part| part != name.as_str());
            usable.then(|| own.join(name))
        };
        let free = own.as_deref().is_some_and(|own| may_leave(own, in_front));
        Self { base: base(), own, free, starter, unused: Vec::new(), tried: false, adopted: false }
    }

    /// Enables a controller for the groups of instances.
    ///
    /// # Errors
    ///
    /// Returns the reason as a text.
    pub(crate) fn enable(&self, controller: &str, keeper: i32) -> Result<(), GroupError> {
        let (Some(own), Some(base)) = (&self.own, &self.base) else { return Err(GroupError::None) };
        let enabled = match cgroup::enable(own, controller) {
            // The kernel does not allow processes in a group whose children have limits.
            Err(Errno::BUSY) if self.free => self.step_aside(own, keeper).and_then(|()| cgroup::enable(own, controller)),
            enabled => enabled,
        };
        match enabled.and_then(|()| cgroup::make(base)).and_then(|()| cgroup::enable(base, controller)) {
            Ok(()) => Ok(()),
            Err(Errno::NODEV) => Err(GroupError::NoController { controller: controller.to_owned(), place: own.clone() }),
            Err(Errno::BUSY) => Err(GroupError::Busy(own.clone())),
            Err(errno) => Err(GroupError::System { place: own.clone(), source: errno.into() }),
        }
    }

    /// Moves keeper and daemon out of the group that they were started in, if no other process is
    /// in it.
    fn step_aside(&self, own: &Path, keeper: i32) -> Result<(), Errno> {
        let members = cgroup::own_members(own);
        let known = [Some(keeper), Some(std::process::id().cast_signed()), self.starter];
        let is_ours = |pid: &i32| known.contains(&Some(*pid)) || is_anchor(*pid);
        if !members.iter().all(is_ours) {
            return Err(Errno::BUSY);
        }
        let leaf = own.join(LEAF);
        cgroup::make(&leaf)?;
        members.iter().try_for_each(|pid| match cgroup::adopt(&leaf, *pid) {
            // The starter is done, or the anchor was replaced.
            Err(Errno::SRCH) => Ok(()),
            adopted => adopted,
        })
    }

    /// Handles the loss of a keeper whose apps still run.
    pub(crate) fn keeper_was_lost(&mut self) {
        self.adopted = true;
    }

    /// Returns true if orphans may have other parents than the keeper.
    pub(crate) fn has_adopted(&self) -> bool {
        self.adopted
    }

    /// Returns true if the daemon is in this group, or in a group below it.
    fn has_us_in(&self, group: &Path) -> bool {
        self.own.as_ref().is_some_and(|own| own.starts_with(group))
    }

    /// Returns existing groups, even those that belong to no instance.
    fn all(&self) -> Vec<PathBuf> {
        self.base.iter().flat_map(|base| cgroup::names(base).into_iter().map(|name| base.join(name))).collect()
    }

    /// Returns the group for the next process of an instance.
    fn next_of(&self, slot: &Slot) -> Option<PathBuf> {
        Some(self.base.as_ref()?.join(name(slot)))
    }

    /// Opens a group for a new process. A group with an unknown past is recreated, because it may
    /// have been killed. Returns `Ok(None)` if no group is available this time.
    ///
    /// # Errors
    ///
    /// Returns an error if groups are not available here. The daemon then stops using them.
    fn open(&mut self, group: &Path, fresh: bool) -> Result<Option<OwnedFd>, Errno> {
        self.unused.retain(|left| left != group);
        let in_use = !fresh && cgroup::remove(group).is_err();
        let opened = match (cgroup::open(group), &self.base) {
            (Err(Errno::NOENT), Some(base)) => cgroup::make(base).and_then(|()| cgroup::open(group)),
            (opened, _) => opened,
        };
        let useless = match opened {
            Ok(folder) if self.tried && !in_use => return Ok(Some(folder)),
            Ok(folder) => match cgroup::try_birth(folder.as_fd()) {
                Ok(()) => {
                    self.tried = true;
                    return Ok(Some(folder));
                }
                Err(_) if in_use => return Ok(None),
                Err(errno) => errno,
            },
            Err(errno @ (Errno::ROFS | Errno::ACCESS | Errno::PERM)) => errno,
            // There are too many groups, or a group above was removed. The next start tries again.
            Err(_) => return Ok(None),
        };
        self.remove(group.to_owned());
        self.remove_all();
        self.base = None;
        Err(useless)
    }

    /// Returns the group for the next process of an instance, if groups are available. A former,
    /// different group is removed.
    ///
    /// # Errors
    ///
    /// Returns the reason why no groups are available; reported once.
    pub(crate) fn prepare(&mut self, slot: &mut Slot) -> Result<Option<OwnedFd>, GroupError> {
        let next = self.next_of(slot);
        let former = slot.durable.group.take().map(|former| PathBuf::from(&*former)).filter(|former| next.as_ref() != Some(former));
        // The process was adopted from another login or service. The new process belongs to the
        // daemon's present group.
        former.into_iter().for_each(|former| self.remove(former));
        let Some(next) = next else { return Ok(None) };
        let failed = |errno: Errno| GroupError::System { place: next.clone(), source: errno.into() };
        let folder = self.open(&next, slot.live.group_fresh).map_err(failed)?;
        slot.durable.group = folder.is_some().then(|| next.to_string_lossy().into());
        slot.live.group_fresh = folder.is_some();
        Ok(folder)
    }

    /// Takes the group from an instance at rest; the next [`Groups::remove_unused`] removes it.
    /// Returns true if the instance had one.
    pub(crate) fn tidy(&mut self, slot: &mut Slot) -> bool {
        let group = slot.durable.group.take_if(|_| is_at_rest(&slot.durable.instance.state));
        slot.live.group_fresh &= group.is_none();
        let any = group.is_some();
        self.unused.extend(group.map(|group| PathBuf::from(group.into_string())));
        any
    }

    /// Removes unused groups that are empty.
    pub(crate) fn remove_unused(&mut self) {
        self.unused.retain(|group| cgroup::remove(group).is_err());
    }

    /// Recovers after a restart of the daemon. Each instance keeps its group, and empty groups
    /// without an instance are removed.
    pub(crate) fn recover(&self, slots: &mut Slots) {
        let mut wanted = Vec::new();
        for slot in slots.iter_mut().filter(|slot| !is_at_rest(&slot.durable.instance.state)) {
            // The journal may have ended after the group was created and before it was recorded.
            let group = slot.durable.group.take().or_else(|| Some(self.next_of(slot)?.to_string_lossy().into()));
            // One of our apps may have started the daemon; its group must not be killed.
            slot.durable.group = group.filter(|group| !self.has_us_in(Path::new(&**group)));
            wanted.extend(slot.durable.group.clone());
        }
        for group in self.all() {
            if !wanted.iter().any(|wanted| Path::new(&**wanted) == group) {
                // The group is in use. The journal may be wrong, so nothing is killed.
                let _ = cgroup::remove(&group);
            }
        }
    }

    /// Opens a group for a command, if groups are available.
    pub(crate) fn open_for_command(&mut self, number: u32, mark: &str) -> Option<(Box<str>, OwnedFd)> {
        let unique = mark.split([':', '-']).nth(1).unwrap_or_default();
        let path = self.base.as_ref()?.join(format!("command-{number}-{unique}"));
        // The first start of an app reports missing groups.
        let folder = self.open(&path, true).ok().flatten()?;
        Some((path.to_string_lossy().into(), folder))
    }

    /// Removes a group that is no longer used. If it is not empty, the next call tries again.
    pub(crate) fn remove(&mut self, group: PathBuf) {
        self.unused.push(group);
        self.remove_unused();
    }

    /// Removes all groups after everything is stopped.
    pub(crate) fn remove_all(&mut self) {
        self.remove_unused();
        if let Some(base) = &self.base {
            // If the folder is not empty, processes were left in it on purpose.
            let _ = cgroup::remove(base);
        }
    }
}

/// Group of keeper and daemon while groups beside them have limits.
const LEAF: &str = ostler_keeper::SUPERVISOR_GROUP;

/// Returns the daemon's group before it moved to [`LEAF`].
fn without_leaf(own: PathBuf) -> PathBuf {
    if own.ends_with(LEAF) { own.parent().map_or_else(PathBuf::new, Path::to_owned) } else { own }
}

/// Returns true if keeper and daemon may move out of their group. systemd starts each main process
/// of a service in the service's own group, and cannot if groups below have limits. Keeper and
/// daemon therefore do not move out of a service's group; from systemd 254, systemd starts them in
/// [`LEAF`] in the first place.
fn may_leave(own: &Path, in_front: bool) -> bool {
    in_front || own.extension().is_none_or(|kind| kind != "service")
}

/// Returns true if nothing of the instance runs, and nothing will start by itself.
fn is_at_rest(state: &InstanceState) -> bool {
    matches!(state, InstanceState::Stopped | InstanceState::Errored | InstanceState::Gone)
}

/// Returns the name of a group: it is unique, and begins with the number that users know.
fn name(slot: &Slot) -> String {
    format!("{}-{}", slot.durable.pm_id, slot.durable.unique_id.split('-').next().unwrap_or_default())
}

impl Slot {
    /// Kills everything in its group with SIGKILL: no fork is fast enough to escape.
    pub(crate) fn kill_group(&mut self) {
        if let Some(group) = &self.durable.group {
            self.live.group_fresh = false;
            // Processes that survive this are killed one by one.
            let _ = cgroup::kill(Path::new(&**group));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemon_stays_in_the_cgroup_of_its_service() {
        for (own, in_front, leaves) in [
            ("/sys/fs/cgroup/system.slice/ostler-root.service", false, false),
            ("/sys/fs/cgroup/system.slice/api.service", true, true),
            ("/sys/fs/cgroup/user.slice/session-3.scope", false, true),
            ("/sys/fs/cgroup/kubepods/pod1/0a1b", true, true),
            ("/sys/fs/cgroup", false, true),
        ] {
            assert_eq!(may_leave(Path::new(own), in_front), leaves, "{own}");
        }
        let service = PathBuf::from("/sys/fs/cgroup/system.slice/ostler-root.service");
        assert_eq!(without_leaf(service.join(LEAF)), service);
    }
}
