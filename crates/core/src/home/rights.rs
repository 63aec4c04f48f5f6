//! Rights with which the daemon follows a path of a description.
//!
//! The daemon may run as root while an app runs as another user. Root's own folders and links can
//! be trusted. From the first folder that another user can change, that user controls the meaning
//! of the path.

/// A folder on the path, as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Mode.
    pub mode: u32,
    /// Whether it has an access control list, which may allow more than its mode.
    pub has_acl: bool,
}

/// Users who can change the meaning of names in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Only root and the daemon's user, as far as the app's user is concerned.
    ByUs,
    /// All users can create names, but other users cannot remove or rename existing ones (`/tmp`).
    /// A folder of the daemon's user there was created by that user. A link or file there may have
    /// been moved in.
    BySticky,
    /// Other users.
    ByOthers,
}

/// Returns who may change it, apart from root and `own`, the daemon's user. `groups` are those of
/// the app's user.
pub fn changed(folder: Folder, own: u32, groups: &[u32]) -> Changed {
    const GROUP_WRITES: u32 = 0o020;
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let Folder { uid, gid, mode, has_acl } = folder;
    // The owner may change its mode at any time.
    if uid != 0 && uid != own {
        return Changed::ByOthers;
    }
    // With a list, the group bits are the upper bound of the rights of every user on it.
    let by_group = mode & GROUP_WRITES != 0 && (has_acl || groups.contains(&gid));
    match (by_group || mode & OTHERS_WRITE != 0, mode & STICKY != 0) {
        (false, _) => Changed::ByUs,
        (true, true) => Changed::BySticky,
        (true, false) => Changed::ByOthers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_writers_depend_on_owner_mode_and_acl() {
        let (root, daemon, user, staff, adm) = (0, 990, 1000, 50, 4);
        let folder = |uid, gid, mode| Folder { uid, gid, mode, has_acl: false };
        let cases = [
            (folder(root, 0, 0o755), Changed::ByUs),
            (folder(root, 0, 0o700), Changed::ByUs),
            (folder(daemon, daemon, 0o755), Changed::ByUs),
            (folder(user, user, 0o755), Changed::ByOthers),
            // Its owner may give itself the right to write.
            (folder(user, user, 0o555), Changed::ByOthers),
            (folder(1001, 1001, 0o700), Changed::ByOthers),
            (folder(root, 0, 0o777), Changed::ByOthers),
            (folder(root, 0, 0o1777), Changed::BySticky),
            (folder(user, user, 0o1777), Changed::ByOthers),
            // `/var/log` of Debian and Ubuntu, and a folder that is shared with the app's user.
            (folder(root, adm, 0o775), Changed::ByUs),
            (folder(root, staff, 0o2775), Changed::ByOthers),
            (folder(root, staff, 0o3775), Changed::BySticky),
            (folder(root, staff, 0o755), Changed::ByUs),
            (Folder { has_acl: true, ..folder(root, adm, 0o775) }, Changed::ByOthers),
            (Folder { has_acl: true, ..folder(root, adm, 0o755) }, Changed::ByUs),
        ];
        for (folder, expected) in cases {
            assert_eq!(changed(folder, daemon, &[user, staff]), expected, "{folder:?}");
        }
    }
}
