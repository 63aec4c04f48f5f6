//! Path of the socket to which an app sends its state. The socket is in a folder that only its user
//! can enter, so other users cannot fill its queue.
//!
//! For apps of the daemon's user that is a folder of the home. For other users' apps (which only
//! root starts), each process has a folder below `/run/ostler`. The folder is given to the user
//! when the socket is in it; until then only the daemon can change it. If there is no such place (a
//! very long home, no `/run`), the socket has an abstract name, which other users can find.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ostler_sys::{Credentials, net::datagram};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, getsockname};

use crate::platform::shared_folder::{self, folder_of, shared_folder};
use crate::state::slots::split_key;

/// Folder of the sockets of the daemon's own user's apps, in the home.
const OWN_FOLDER: &str = "notify";
/// Name of the socket in its own folder.
const FILE: &str = "notify";
/// Longest `sun_path`, without its final zero.
const LONGEST_PATH: usize = 107;

/// Owner of a socket.
pub(super) struct NotifyOwner<'a> {
    /// Keeper's key of the process.
    pub key: u64,
    /// Unique id of the instance.
    pub unique_id: &'a str,
    /// User of the process, if it is another user.
    pub other: Option<&'a Credentials>,
}

/// Returns a new socket, and the value of `NOTIFY_SOCKET`.
pub(super) fn open(home: &Path, owner: &NotifyOwner<'_>) -> Result<(OwnedFd, String), Errno> {
    let in_a_folder = match owner.other {
        Some(user) => open_for(home, owner, user),
        None => open_own(home, owner),
    };
    in_a_folder.or_else(|_| {
        let name = format!("ostler/{}", name_of(owner));
        Ok((datagram::bind_abstract(name.as_bytes())?, format!("@{name}")))
    })
}

/// Returns the name of the socket. Other processes of the instance, and other instances of that
/// number, have another name.
fn name_of(owner: &NotifyOwner<'_>) -> String {
    let (id, inc) = split_key(owner.key);
    format!("{id:x}-{inc:x}-{}", owner.unique_id.get(..8).unwrap_or_default())
}

fn open_own(home: &Path, owner: &NotifyOwner<'_>) -> io::Result<(OwnedFd, String)> {
    let folder = home.join(OWN_FOLDER);
    // The folder may be there already.
    let _ = fs::DirBuilder::new().mode(0o700).create(&folder);
    bind(folder.join(name_of(owner)))
}

fn open_for(home: &Path, owner: &NotifyOwner<'_>, user: &Credentials) -> io::Result<(OwnedFd, String)> {
    shared_folder().ok_or(Errno::NOENT)?;
    let shared = folder_of(home).ok_or(Errno::PERM)?;
    let folder = shared.join(name_of(owner));
    fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let made = bind(folder.join(FILE)).and_then(|made| {
        fs::set_permissions(folder.join(FILE), fs::Permissions::from_mode(0o666))?;
        // This is the last step, because the folder belongs to the user from here on.
        std::os::unix::fs::lchown(&folder, Some(user.uid), Some(user.gid))?;
        // The user must be able to enter every folder above, too.
        let enters = ostler_sys::fs::access::can_read(&folder, user)?;
        if enters { Ok(made) } else { Err(Errno::ACCESS.into()) }
    });
    if made.is_err() {
        remove_path(&folder.join(FILE));
    }
    made
}

fn bind(path: PathBuf) -> io::Result<(OwnedFd, String)> {
    let text = path.to_str().filter(|text| text.len() <= LONGEST_PATH).ok_or(Errno::NAMETOOLONG)?;
    Ok((datagram::bind_path(&path)?, text.to_owned()))
}

/// Returns the path of such a socket, if it has one.
fn path_of(socket: impl AsFd) -> Option<PathBuf> {
    let address = SocketAddrUnix::try_from(getsockname(socket).ok()?).ok()?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(address.path_bytes()?)))
}

/// Removes the socket after its process has exited.
pub(super) fn remove(socket: impl AsFd) {
    if let Some(path) = path_of(socket) {
        remove_path(&path);
    }
}

fn remove_path(path: &Path) {
    let _ = fs::remove_file(path);
    if path.ends_with(FILE)
        && let Some(folder) = path.parent()
    {
        // The folder stays if its user put files into it.
        let _ = fs::remove_dir(folder);
    }
}

/// Removes sockets that former daemons left. `present` are in use.
pub(super) fn remove_leftovers<'a>(home: &Path, present: impl Iterator<Item = BorrowedFd<'a>>) {
    let present: Vec<PathBuf> = present.filter_map(path_of).collect();
    let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let own = entries(home.join(OWN_FOLDER));
    let others = entries(shared_folder::path_of(home)).map(|folder| folder.join(FILE));
    own.chain(others).filter(|path| !present.contains(path)).for_each(|path| remove_path(&path));
}
