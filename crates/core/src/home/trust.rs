//! Trust in a configuration file: whether another user can change it, and whether a command may
//! still use it.
//!
//! A configuration file names programs, and they run with the rights of the caller. The client
//! reads the owners and modes on the path; this module decides.

/// Owner, group and mode of a folder, link or file on the path of a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits with the sticky bit.
    pub mode: u32,
    /// Whether it is a symbolic link, whose mode means nothing.
    pub is_link: bool,
}

/// One step on the path: an entry, and the folder that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStep {
    /// The folder.
    pub folder: Inode,
    /// The entry in the folder: another folder, a link, or the file.
    pub entry: Inode,
}

/// User who runs the command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// User and group that called root's command by `sudo`. As in git, root trusts them.
    pub sudo: Option<(u32, u32)>,
    /// Whether PM2's rules hold for a file that is named.
    pub as_pm2: bool,
    /// Whether the caller has allowed files of other users.
    pub is_allowed: bool,
}

/// The largest set of other users that can change the file or the meaning of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// Only the caller and root.
    OwnerOnly,
    /// The members of this group.
    Group(u32),
    /// This user.
    User(u32),
    /// Every user of the machine.
    Everyone,
}

/// How a command found a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The caller named it, or a trusted file did.
    Named,
    /// Nothing was named; it is in the caller's folder.
    CurrentFolder,
    /// Nothing was named; it is in a parent folder of the caller's.
    FolderAbove,
}

/// Decision about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustVerdict {
    /// Use it.
    Accept,
    /// Use it, and warn that others can change it.
    Warn,
    /// Do not use it.
    Refuse,
}

impl Caller {
    fn trusts(&self, uid: u32) -> bool {
        uid == 0 || uid == self.uid || self.uid == 0 && self.sudo.is_some_and(|(sudo, _)| uid == sudo)
    }

    /// Returns true if a group counts as private: by the convention of all distributions, a group
    /// with the number of its user belongs to that user alone.
    fn trusts_group(&self, inode: Inode) -> bool {
        let is_of_sudo = self.uid == 0 && self.sudo.is_some_and(|(_, gid)| inode.gid == gid);
        inode.gid == 0 || inode.gid == self.gid || is_of_sudo || inode.gid == inode.uid && self.trusts(inode.uid)
    }

    /// Returns the writers that the permission bits allow, beside the owner.
    fn by_mode(&self, inode: Inode) -> Writer {
        match inode.mode {
            mode if mode & 0o002 != 0 => Writer::Everyone,
            mode if mode & 0o020 != 0 && !self.trusts_group(inode) => Writer::Group(inode.gid),
            _ => Writer::OwnerOnly,
        }
    }

    fn by_owner(&self, inode: Inode) -> Writer {
        if self.trusts(inode.uid) { Writer::OwnerOnly } else { Writer::User(inode.uid) }
    }

    /// Returns who can replace the entry in its folder. A sticky folder protects the entries of
    /// those whom the caller trusts.
    fn by_folder(&self, step: &PathStep) -> Writer {
        let is_protected = step.folder.mode & 0o1000 != 0 && self.trusts(step.entry.uid);
        let by_mode = if is_protected { Writer::OwnerOnly } else { self.by_mode(step.folder) };
        by_mode.max(self.by_owner(step.folder))
    }
}

/// Returns who can change the file at the end of these steps, beside the caller and root.
pub fn writer(caller: &Caller, steps: &[PathStep]) -> Writer {
    let of_path = steps.iter().map(|step| caller.by_folder(step).max(caller.by_owner(step.entry))).max();
    let file = steps.last().map(|step| step.entry).filter(|entry| !entry.is_link);
    let of_file = file.map_or(Writer::OwnerOnly, |file| caller.by_mode(file));
    of_path.unwrap_or(Writer::OwnerOnly).max(of_file)
}

/// Returns the users, other than the caller and root, who can change the meaning of the path by
/// replacing a folder, a link or the file. The content of the file does not count.
pub fn path_writer(caller: &Caller, steps: &[PathStep]) -> Writer {
    let of_step = |step: &PathStep| {
        let of_link = if step.entry.is_link { caller.by_owner(step.entry) } else { Writer::OwnerOnly };
        caller.by_folder(step).max(of_link)
    };
    steps.iter().map(of_step).max().unwrap_or(Writer::OwnerOnly)
}

/// Decides whether a command obeys a file of this owner that these users can change.
pub fn verdict(caller: &Caller, owner: u32, writer: Writer, origin: Origin) -> TrustVerdict {
    let is_root = caller.uid == 0;
    match (writer, origin) {
        (Writer::OwnerOnly, _) => TrustVerdict::Accept,
        _ if caller.is_allowed => TrustVerdict::Accept,
        // A team's folder is no attack on a member of the team.
        (Writer::Group(_), _) if !is_root => TrustVerdict::Accept,
        (_, Origin::FolderAbove) => TrustVerdict::Refuse,
        // A user's own file, started by that user, always works.
        (Writer::Everyone, _) if !is_root && owner == caller.uid && !caller.as_pm2 => TrustVerdict::Warn,
        _ if !is_root && owner == caller.uid => TrustVerdict::Accept,
        (Writer::Everyone, Origin::Named) if caller.as_pm2 => TrustVerdict::Warn,
        (Writer::Everyone, _) => TrustVerdict::Refuse,
        _ if caller.as_pm2 => TrustVerdict::Accept,
        _ => TrustVerdict::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: u32 = 1000;
    const BOB: u32 = 1001;
    const STAFF: u32 = 50;

    const fn inode(uid: u32, gid: u32, mode: u32) -> Inode {
        Inode { uid, gid, mode, is_link: false }
    }

    const fn link(uid: u32) -> Inode {
        Inode { uid, gid: uid, mode: 0o777, is_link: true }
    }

    const ROOT_DIR: Inode = inode(0, 0, 0o755);
    const TMP: Inode = inode(0, 0, 0o1777);

    fn steps(inodes: &[Inode]) -> Vec<PathStep> {
        let folders = std::iter::once(&ROOT_DIR).chain(inodes);
        folders.zip(inodes).map(|(folder, entry)| PathStep { folder: *folder, entry: *entry }).collect()
    }

    #[test]
    fn file_writer_depends_on_file_and_folder_modes() {
        let root = Caller::default();
        let sudo = Caller { sudo: Some((ALICE, ALICE)), ..root };
        let alice = Caller { uid: ALICE, gid: ALICE, ..root };
        let in_group = Caller { gid: STAFF, ..alice };
        let cases: &[(&str, &Caller, &[Inode], Writer)] = &[
            ("root's file", &root, &[ROOT_DIR, inode(0, 0, 0o644)], Writer::OwnerOnly),
            ("root's file, group root", &root, &[ROOT_DIR, inode(0, 0, 0o664)], Writer::OwnerOnly),
            ("root's file, group staff", &root, &[ROOT_DIR, inode(0, STAFF, 0o664)], Writer::Group(STAFF)),
            ("root's folder, group staff", &root, &[inode(0, STAFF, 0o2775), inode(0, 0, 0o644)], Writer::Group(STAFF)),
            ("world-writable file", &root, &[ROOT_DIR, inode(0, 0, 0o666)], Writer::Everyone),
            ("world-writable folder", &root, &[inode(0, 0, 0o777), inode(0, 0, 0o644)], Writer::Everyone),
            ("root's file in /tmp", &root, &[TMP, inode(0, 0, 0o644)], Writer::OwnerOnly),
            ("root's folder in /tmp", &root, &[TMP, ROOT_DIR, inode(0, 0, 0o644)], Writer::OwnerOnly),
            ("alice's file in /tmp", &root, &[TMP, inode(ALICE, ALICE, 0o600)], Writer::Everyone),
            ("alice's file in her home", &root, &[inode(ALICE, ALICE, 0o700), inode(ALICE, ALICE, 0o600)], Writer::User(ALICE)),
            ("root's file in her home", &root, &[inode(ALICE, ALICE, 0o700), inode(0, 0, 0o600)], Writer::User(ALICE)),
            ("her link to root's file", &root, &[ROOT_DIR, link(ALICE)], Writer::User(ALICE)),
            ("root's link to root's file", &root, &[ROOT_DIR, link(0)], Writer::OwnerOnly),
            ("by sudo of alice", &sudo, &[inode(ALICE, ALICE, 0o775), inode(ALICE, ALICE, 0o664)], Writer::OwnerOnly),
            ("by sudo of alice, bob's", &sudo, &[ROOT_DIR, inode(BOB, BOB, 0o644)], Writer::User(BOB)),
            ("her own, umask 002", &alice, &[inode(ALICE, ALICE, 0o775), inode(ALICE, ALICE, 0o664)], Writer::OwnerOnly),
            ("her own, for a group", &alice, &[ROOT_DIR, inode(ALICE, STAFF, 0o664)], Writer::Group(STAFF)),
            ("her own, for her group", &in_group, &[ROOT_DIR, inode(ALICE, STAFF, 0o664)], Writer::OwnerOnly),
            ("root's, by alice", &alice, &[ROOT_DIR, inode(0, 0, 0o644)], Writer::OwnerOnly),
            ("bob's, by alice", &alice, &[ROOT_DIR, inode(BOB, BOB, 0o644)], Writer::User(BOB)),
            ("nothing", &root, &[], Writer::OwnerOnly),
        ];
        for (name, caller, inodes, expected) in cases {
            assert_eq!(writer(caller, &steps(inodes)), *expected, "{name}");
        }
    }

    #[test]
    fn path_writer_depends_on_links_and_folders() {
        let root = Caller::default();
        let cases: &[(&[Inode], Writer)] = &[
            (&[ROOT_DIR, inode(ALICE, ALICE, 0o666)], Writer::OwnerOnly),
            (&[ROOT_DIR, link(0)], Writer::OwnerOnly),
            (&[ROOT_DIR, link(ALICE)], Writer::User(ALICE)),
            (&[inode(ALICE, ALICE, 0o755), inode(0, 0, 0o600)], Writer::User(ALICE)),
            (&[TMP, inode(0, 0, 0o600)], Writer::OwnerOnly),
            (&[TMP, inode(ALICE, ALICE, 0o600)], Writer::Everyone),
            (&[inode(0, STAFF, 0o775), inode(0, 0, 0o600)], Writer::Group(STAFF)),
        ];
        for (inodes, expected) in cases {
            assert_eq!(path_writer(&root, &steps(inodes)), *expected, "{inodes:?}");
        }
    }

    #[test]
    fn config_file_of_an_untrusted_writer_is_refused() {
        use TrustVerdict::{Accept as A, Refuse as R, Warn as W};
        let root = Caller::default();
        let root_pm2 = Caller { as_pm2: true, ..root };
        let alice = Caller { uid: ALICE, gid: ALICE, ..root };
        let alice_pm2 = Caller { as_pm2: true, ..alice };
        // Named, in the caller's folder, in a folder above.
        let cases = [
            (root, 0, Writer::OwnerOnly, [A, A, A]),
            (root, 0, Writer::Group(STAFF), [R, R, R]),
            (root, BOB, Writer::User(BOB), [R, R, R]),
            (root, 0, Writer::Everyone, [R, R, R]),
            (root_pm2, 0, Writer::Group(STAFF), [A, A, R]),
            (root_pm2, BOB, Writer::User(BOB), [A, A, R]),
            (root_pm2, BOB, Writer::Everyone, [W, R, R]),
            (alice, ALICE, Writer::OwnerOnly, [A, A, A]),
            (alice, ALICE, Writer::Group(STAFF), [A, A, A]),
            (alice, ALICE, Writer::User(BOB), [A, A, R]),
            (alice, ALICE, Writer::Everyone, [W, W, R]),
            (alice, BOB, Writer::User(BOB), [R, R, R]),
            (alice, BOB, Writer::Everyone, [R, R, R]),
            (alice_pm2, ALICE, Writer::Everyone, [A, A, R]),
            (alice_pm2, BOB, Writer::User(BOB), [A, A, R]),
            (alice_pm2, BOB, Writer::Everyone, [W, R, R]),
        ];
        for (caller, owner, writer, expected) in cases {
            let origins = [Origin::Named, Origin::CurrentFolder, Origin::FolderAbove];
            assert_eq!(origins.map(|origin| verdict(&caller, owner, writer, origin)), expected, "{caller:?} {owner} {writer:?}");
            let allowed = Caller { is_allowed: true, ..caller };
            assert_eq!(origins.map(|origin| verdict(&allowed, owner, writer, origin)), [A; 3], "{allowed:?} {writer:?}");
        }
    }
}
