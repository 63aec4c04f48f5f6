//! Owner of a socket, and the name under which the keeper holds it.

use std::path::{Path, PathBuf};

use ostler_sys::net::socket::SocketFile;

use crate::platform::rights::Rights;

/// Prefix of the names of single sockets.
const ALONE: &str = "socket:";
/// Prefix of the names of shards.
const SHARD: &str = "lane:";
/// Longest name that the keeper accepts.
const NAME_MAX: usize = 255;

/// Owner of a socket, and its address. They are ordered by app.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SocketOwner {
    pub app: String,
    pub key: String,
    /// Identity of the file that was made for it. Another file at the same path must not be
    /// removed.
    pub file: Option<(u64, u64)>,
}

/// Role of a socket among those of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketRole {
    /// The only socket.
    Alone,
    /// One of several sockets.
    Shard {
        /// Number of the slots that have it.
        number: u32,
        /// Position in the kernel's order, if it is known.
        position: Option<u32>,
    },
}

/// Returns true if the keeper holds one of these sockets under that name.
pub(super) fn is_held_name(name: &str) -> bool {
    name.starts_with(ALONE) || name.starts_with(SHARD)
}

impl SocketOwner {
    /// Returns the name under which the keeper holds it. If the name is too long for the keeper,
    /// returns `None`; the socket is then lost with the daemon.
    pub(super) fn held_name(&self, role: SocketRole) -> Option<String> {
        let head = match role {
            SocketRole::Alone => {
                let (device, inode) = self.file.unwrap_or_default();
                format!("{ALONE}{device:x}.{inode:x}")
            }
            SocketRole::Shard { number, position: Some(position) } => format!("{SHARD}{number}.{position}"),
            SocketRole::Shard { number, position: None } => format!("{SHARD}{number}.?"),
        };
        // The length distinguishes app "a" with key "b:c" from app "a:b" with key "c".
        let name = format!("{head}:{}:{}:{}", self.app.len(), self.app, self.key);
        (name.len() <= NAME_MAX).then_some(name)
    }

    /// Returns owner and role of such a name.
    pub(super) fn parse(name: &str) -> Option<(Self, SocketRole)> {
        let (file, role, rest) = if let Some(rest) = name.strip_prefix(ALONE) {
            let (file, rest) = rest.split_once(':')?;
            let (device, inode) = file.split_once('.')?;
            let file = (u64::from_str_radix(device, 16).ok()?, u64::from_str_radix(inode, 16).ok()?);
            ((file != (0, 0)).then_some(file), SocketRole::Alone, rest)
        } else {
            let (shard, rest) = name.strip_prefix(SHARD)?.split_once(':')?;
            let (number, position) = shard.split_once('.')?;
            let position = if position == "?" { None } else { Some(position.parse().ok()?) };
            (None, SocketRole::Shard { number: number.parse().ok()?, position }, rest)
        };
        let (length, rest) = rest.split_once(':')?;
        let (app, key) = rest.split_at_checked(length.parse().ok()?)?;
        Some((Self { app: app.to_owned(), key: key.strip_prefix(':')?.to_owned(), file }, role))
    }

    /// Removes the file with these rights, unless another file has replaced it.
    pub(super) fn remove_file(&self, rights: &Rights) {
        let Some(path) = self.path() else { return };
        if self.file.is_some() && identity(&path, rights) == self.file {
            let _ = rights.remove(&path);
        }
    }

    /// Returns the path of a unix socket.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.key.starts_with('/').then(|| PathBuf::from(&self.key))
    }
}

/// Returns the identity of the socket at a path. In a user's folder it must belong to that user.
pub(super) fn identity(path: &Path, rights: &Rights) -> Option<(u64, u64)> {
    let (file, rights) = match rights.entry_of_name(path).ok()? {
        Some(role) => (role.act(|_, _| Ok(SocketFile::at(&role.through())?)).ok()?, role.rights()),
        None => (SocketFile::at(path).ok()?, Rights::default()),
    };
    let is_its = rights.user().is_none_or(|user| user.uid == file.uid);
    is_its.then_some(file.identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_names_round_trip() {
        let shard = |number, position| SocketRole::Shard { number, position };
        for (owner, role) in [
            (SocketOwner { app: "a:b".into(), key: "port 80".into(), file: None }, SocketRole::Alone),
            (SocketOwner { app: "é".into(), key: "/run/x:y.sock".into(), file: Some((0xfe00, 17)) }, SocketRole::Alone),
            (SocketOwner { app: String::new(), key: "[::1]:0#2".into(), file: None }, shard(3, Some(0))),
            (SocketOwner { app: "a:b".into(), key: "port 80".into(), file: None }, shard(0, None)),
        ] {
            let name = owner.held_name(role).unwrap();
            assert!(is_held_name(&name));
            assert_eq!(SocketOwner::parse(&name), Some((owner, role)));
        }
        for name in [
            "socket:",
            "socket:0.0:9:a:b",
            "socket:x.y:1:a:b",
            "listen:1:a:b",
            "socket:0.0:1:ab",
            "socket:0.0:1:é:b",
            "lane:1:1:a:b",
            "lane:1.x:1:a:b",
            "lane:?.1:1:a:b",
            "lane:1.-1:1:a:b",
        ] {
            assert_eq!(SocketOwner::parse(name), None, "{name}");
        }
        assert_eq!(SocketOwner { app: "x".repeat(250), key: "port 80".into(), file: None }.held_name(SocketRole::Alone), None);
    }
}
