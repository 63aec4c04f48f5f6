//! The sockets that apps declare (`listen`): opened here, once per app, for programs of any language.
//!
//! # Theory of operation
//!
//! Before an instance is started, every socket of its app is open; the process gets copies as descriptors 3, 4, … and the variables of
//! systemd's socket activation. The sockets belong to the app: no end of an instance closes them, the keeper's copies outlive the daemon,
//! and a connection that nobody accepts yet waits in their queue. They are closed when nothing of the app is wanted up, or when no
//! instance's description names them any more. A file of a unix socket is removed then, if it is still the one that was made.

mod open;
mod rescue;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::SpawnFailure;
use ostler_core::serving::{Listen, ListenAt};
use ostler_proto::control::OpenSocket;
use rustix::io::Errno;
use rustix::net::SocketAddrAny;

use crate::control::Control;
use open::FileRights;

/// Prefix of the names under which the keeper holds these sockets.
pub(crate) const HELD_PREFIX: &str = "socket:";
/// Number of the first socket in the app's processes, by the protocol.
pub(crate) const FIRST_FD: i32 = 3;

/// All open sockets of all apps.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    by_app: BTreeMap<Owner, OwnedFd>,
}

/// Whose, and which: the order is that of the apps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    app: String,
    key: String,
    /// The file that was made for it, by its identity: another one at the same path is not ours to remove.
    file: Option<(u64, u64)>,
}

impl Owner {
    /// Name under which the keeper holds it; what is too long for the keeper has none, and is lost with the daemon.
    fn held_name(&self) -> Option<String> {
        let (device, inode) = self.file.unwrap_or_default();
        let name = format!("{HELD_PREFIX}{device:x}.{inode:x}:{}:{}:{}", self.app.len(), self.app, self.key);
        (name.len() <= 255).then_some(name)
    }

    fn parse(name: &str) -> Option<Self> {
        let (file, rest) = name.strip_prefix(HELD_PREFIX)?.split_once(':')?;
        let (device, inode) = file.split_once('.')?;
        let file = (u64::from_str_radix(device, 16).ok()?, u64::from_str_radix(inode, 16).ok()?);
        // The length keeps app "a" with key "b:c" apart from app "a:b" with key "c".
        let (length, rest) = rest.split_once(':')?;
        let (app, key) = rest.split_at_checked(length.parse().ok()?)?;
        Some(Self { app: app.to_owned(), key: key.strip_prefix(':')?.to_owned(), file: (file != (0, 0)).then_some(file) })
    }

    /// Removes the file, unless another has taken its place.
    fn remove_file(&self) {
        let Some(path) = self.path() else { return };
        if self.file.is_some() && identity(&path) == self.file {
            let _ = std::fs::remove_file(path);
        }
    }

    fn path(&self) -> Option<PathBuf> {
        self.key.starts_with('/').then(|| PathBuf::from(&self.key))
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Names a socket among those of its app: by its address, so that a new name or place in the list does not close it. Those on a port that
/// the kernel chooses are told apart by their order.
fn keys(sockets: &[Listen]) -> impl Iterator<Item = (&Listen, String)> {
    let mut any_port = 0;
    sockets.iter().map(move |listen| {
        let key = match &listen.at {
            ListenAt::Tcp { port: 0, .. } => {
                any_port += 1;
                format!("{}#{any_port}", listen.at)
            }
            at => at.to_string(),
        };
        (listen, key)
    })
}

impl Sockets {
    /// Takes back what the keeper held while there was no daemon. False: it is none of ours.
    pub(crate) fn restore(&mut self, name: &str, fd: OwnedFd) -> bool {
        let Some(owner) = Owner::parse(name) else { return false };
        self.by_app.insert(owner, fd);
        true
    }

    /// For a new keeper.
    pub(crate) fn held(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        self.by_app.iter().filter_map(|(owner, fd)| Some((owner.held_name()?, fd.as_fd())))
    }

    fn find(&self, app: &str, key: &str) -> Option<(&Owner, &OwnedFd)> {
        self.by_app.iter().find(|(owner, _)| owner.app == app && owner.key == key)
    }

    /// The socket that has this number in the processes of an app: for `listen({fd})` of a cluster worker.
    pub(crate) fn by_number(&self, spec: &AppSpec, number: i64) -> Option<BorrowedFd<'_>> {
        let index = usize::try_from(number.checked_sub(FIRST_FD.into())?).ok()?;
        let (_, key) = keys(&spec.listen).nth(index)?;
        self.find(&spec.name, &key).map(|(_, fd)| fd.as_fd())
    }
}

/// What a process gets.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// In the order of the description.
    pub fds: Vec<OwnedFd>,
    /// As they are: with the port that the kernel chose.
    pub shown: Vec<OpenSocket>,
}

impl Control {
    /// The sockets of an app for a new process of it: the present ones, and new ones for what is not open yet. All or none.
    pub(crate) fn open_sockets(&mut self, spec: &AppSpec) -> Result<Given, SpawnFailure> {
        if spec.listen.is_empty() {
            self.close_sockets_of(&spec.name);
            return Ok(Given::default());
        }
        let rights = FileRights { umask: spec.limits.umask.unwrap_or(self.originals.umask), owner: owner_of(spec)? };
        let mut fresh: Vec<(Owner, OwnedFd)> = Vec::new();
        let mut given = Given::default();
        for (listen, key) in keys(&spec.listen) {
            let copied = match self.sockets.find(&spec.name, &key) {
                Some((_, fd)) => copy(fd),
                None => self.open_one(spec, listen, &key, rights).and_then(|(owner, fd)| {
                    let copied = copy(&fd);
                    fresh.push((owner, fd));
                    copied
                }),
            };
            match copied {
                Ok(fd) => {
                    given.shown.push(OpenSocket { name: listen.name.clone(), address: address_of(&fd, &listen.at) });
                    given.fds.push(fd);
                }
                Err(errno) => {
                    fresh.iter().for_each(|(owner, _)| owner.remove_file());
                    return Err(SpawnFailure { step: self.explain_listen(&listen.at, &key, errno), errno: errno.raw_os_error() });
                }
            }
        }
        for (owner, fd) in fresh {
            if let Some(name) = owner.held_name() {
                self.keeper.hold(&name, fd.as_fd());
            }
            self.sockets.by_app.insert(owner, fd);
        }
        // An edited file: what nobody names any more is closed as soon as the first instance has what it names now.
        if self.sockets.by_app.keys().filter(|owner| owner.app == spec.name).count() > spec.listen.len() {
            self.close_sockets_of(&spec.name);
        }
        Ok(given)
    }

    /// Opens what is not open, or takes it from an app that is no more: the same one under its former name.
    fn open_one(&mut self, spec: &AppSpec, listen: &Listen, key: &str, rights: FileRights) -> Result<(Owner, OwnedFd), Errno> {
        let orphan = |owner: &&Owner| owner.key == key && !self.registry.iter().any(|slot| slot.spec().name == owner.app);
        if let Some(former) = self.sockets.by_app.keys().find(orphan).cloned()
            && let Some(fd) = self.sockets.by_app.remove(&former)
        {
            former.held_name().iter().for_each(|name| self.keeper.drop_held(name));
            return Ok((Owner { app: spec.name.clone(), ..former }, fd));
        }
        let fd = open::open(listen, rights)?;
        let file = match &listen.at {
            ListenAt::Unix { path } => identity(Path::new(path)),
            ListenAt::Tcp { .. } => None,
        };
        Ok((Owner { app: spec.name.clone(), key: key.to_owned(), file }, fd))
    }

    /// What was tried, with the reason where errno's text does not say it.
    fn explain_listen(&self, at: &ListenAt, key: &str, errno: Errno) -> String {
        let other = self.sockets.by_app.keys().find(|owner| owner.key == key);
        let hint = match (at, errno) {
            (_, Errno::ADDRINUSE) if other.is_some() => other.map_or_else(String::new, |owner| format!(" (the app {} has it)", owner.app)),
            (ListenAt::Tcp { port: 1..1024, .. }, Errno::ACCESS) => " (ports below 1024 need root or CAP_NET_BIND_SERVICE)".into(),
            (ListenAt::Unix { .. }, Errno::ADDRINUSE) => " (somebody listens there, or it is no socket)".into(),
            _ => String::new(),
        };
        format!("listen at {at}{hint}")
    }

    /// A copy of the socket that has this number in the processes of an app, for a cluster worker. Node's servers do not block.
    pub(crate) fn app_socket(&self, spec: &AppSpec, number: i64) -> Option<OwnedFd> {
        let fd = copy(self.sockets.by_number(spec, number)?).ok()?;
        rustix::io::ioctl_fionbio(&fd, true).ok()?;
        Some(fd)
    }

    /// Closes what no instance of an app has use for: all when none is wanted up, else what no description names any more.
    pub(crate) fn close_sockets_of(&mut self, app: &str) {
        if !self.sockets.by_app.keys().any(|owner| owner.app == app) {
            return;
        }
        let wanted: Vec<String> = self
            .registry
            .iter()
            .filter(|slot| slot.spec().name == app && slot.is_or_will_be_up())
            .flat_map(|slot| keys(&slot.spec().listen).map(|(_, key)| key))
            .collect();
        let idle = |owner: &&Owner| owner.app == app && !wanted.contains(&owner.key);
        let idle: Vec<Owner> = self.sockets.by_app.keys().filter(idle).cloned().collect();
        for owner in idle {
            owner.remove_file();
            self.sockets.by_app.remove(&owner);
            owner.held_name().iter().for_each(|name| self.keeper.drop_held(name));
        }
    }
}

fn copy(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
}

/// User and group of the app, where it has its own.
fn owner_of(spec: &AppSpec) -> Result<Option<(u32, u32)>, SpawnFailure> {
    let account = crate::supervisor::spawn::account(spec)?;
    Ok(account.map(|account| (account.credentials.uid, account.credentials.gid)))
}

/// Where it listens in fact.
fn address_of(fd: &OwnedFd, wanted: &ListenAt) -> String {
    let actual = match wanted {
        ListenAt::Tcp { .. } => rustix::net::getsockname(fd).ok().and_then(|address: SocketAddrAny| address.try_into().ok()),
        ListenAt::Unix { .. } => None,
    };
    match (actual, wanted) {
        (Some(address), ListenAt::Tcp { address: None, .. }) => ListenAt::Tcp { address: None, port: std::net::SocketAddr::port(&address) },
        (Some(address), _) => ListenAt::Tcp { address: Some(address.ip()), port: address.port() },
        (None, wanted) => wanted.clone(),
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for owner in [
            Owner { app: "a:b".into(), key: "port 80".into(), file: None },
            Owner { app: "é".into(), key: "/run/x:y.sock".into(), file: Some((0xfe00, 17)) },
            Owner { app: String::new(), key: "[::1]:0#2".into(), file: None },
        ] {
            assert_eq!(Owner::parse(&owner.held_name().unwrap()), Some(owner));
        }
        for name in ["socket:", "socket:0.0:9:a:b", "socket:x.y:1:a:b", "listen:1:a:b", "socket:0.0:1:ab", "socket:0.0:1:é:b"] {
            assert_eq!(Owner::parse(name), None, "{name}");
        }
        assert_eq!(Owner { app: "x".repeat(250), key: "port 80".into(), file: None }.held_name(), None);
    }

    #[test]
    fn sockets_are_told_apart_by_address() {
        let listen = |address: Option<&str>, port| Listen {
            at: ListenAt::Tcp { address: address.map(|text| text.parse().unwrap()), port },
            name: String::new(),
            backlog: None,
            mode: None,
        };
        let sockets = [listen(None, 0), listen(Some("::1"), 80), listen(None, 80), listen(None, 0)];
        let keys: Vec<String> = keys(&sockets).map(|(_, key)| key).collect();
        assert_eq!(keys, ["port 0#1", "[::1]:80", "port 80", "port 0#2"]);
    }
}
