//! The sockets that apps declare (`listen`): opened here, once per app, for programs of any language.
//!
//! # Theory of operation
//!
//! Before an instance is started, every socket of its app is open; the process gets copies as descriptors 3, 4, … and the variables of
//! systemd's socket activation. The sockets belong to the app: no end of an instance closes them, the keeper's copies outlive the daemon,
//! and a connection that nobody accepts yet waits in their queue. A port has a socket for each process ([`lanes`]), everything else one
//! for all. They are closed when nothing of the app is wanted up, or when no instance's description names them any more. A file of a unix
//! socket is removed then, if it is still the one that was made.

mod group;
mod lanes;
mod open;
mod owner;
mod rescue;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::SpawnFailure;
use ostler_core::serving::{Listen, ListenAt};
use ostler_proto::control::OpenSocket;
use rustix::io::Errno;
use rustix::net::SocketAddrAny;

use crate::control::Control;
use crate::rights::Rights;
use group::{Group, Socket, lane_number};
use lanes::Lanes;
pub(crate) use lanes::has_lanes;
use open::{FileRights, Sharing};
pub(crate) use owner::is_held_name;
use owner::{Owner, Place};

/// Number of the first socket in the app's processes, by the protocol.
pub(crate) const FIRST_FD: i32 = 3;

/// All open sockets of all apps.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    by_app: BTreeMap<Owner, Group>,
    lanes: Lanes,
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
        let Some((owner, place)) = Owner::parse(name) else { return false };
        self.add(owner, Socket { fd, place });
        true
    }

    fn add(&mut self, owner: Owner, socket: Socket) {
        match self.by_app.entry(owner) {
            Entry::Occupied(present) => present.into_mut().add(socket),
            Entry::Vacant(absent) => _ = absent.insert(Group::new(socket)),
        }
    }

    /// The app for which this socket is held.
    pub(crate) fn app_of(&self, inode: u64) -> Option<&str> {
        let is_it = |group: &Group| group.sockets().any(|socket| ostler_sys::listening::inode(socket.as_fd()) == Some(inode));
        self.by_app.iter().find(|(_, group)| is_it(group)).map(|(owner, _)| owner.app.as_str())
    }

    /// For a new keeper.
    pub(crate) fn held(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        self.by_app.iter().flat_map(|(owner, group)| held(owner, group))
    }

    /// When the clock has something to say.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.lanes.deadline_ms()
    }

    fn find(&self, app: &str, key: &str) -> Option<(&Owner, &Group)> {
        self.by_app.iter().find(|(owner, _)| owner.app == app && owner.key == key)
    }

    /// The ports of an app whose connections are steered.
    fn lanes_of(&self, app: &str) -> impl Iterator<Item = &Group> {
        self.by_app.iter().filter(move |(owner, group)| owner.app == app && group.has_lanes()).map(|(_, group)| group)
    }

    /// The socket that has this number in the processes of an app: for `listen({fd})` of a cluster worker.
    pub(crate) fn by_number(&self, spec: &AppSpec, number: i64) -> Option<BorrowedFd<'_>> {
        let index = usize::try_from(number.checked_sub(FIRST_FD.into())?).ok()?;
        let (_, key) = keys(&spec.listen).nth(index)?;
        self.find(&spec.name, &key).map(|(_, group)| group.first().as_fd())
    }
}

/// Names and sockets for the keeper.
fn held<'a>(owner: &'a Owner, group: &'a Group) -> impl Iterator<Item = (String, BorrowedFd<'a>)> {
    group.sockets().filter_map(|socket| Some((owner.held_name(socket.place)?, socket.as_fd())))
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
    /// The sockets of an app for a new process of it, that of this lane: the present ones, and new ones for what is not open yet. All or
    /// none.
    pub(crate) fn open_sockets(&mut self, spec: &AppSpec, lane: u32) -> Result<Given, SpawnFailure> {
        if spec.listen.is_empty() {
            self.close_sockets_of(spec);
            return Ok(Given::default());
        }
        let rights = FileRights { umask: spec.limits.umask.unwrap_or(self.ctx.originals.umask), rights: Rights::of(spec) };
        let lane = has_lanes(spec).then_some(lane);
        let mut fresh: Vec<(Owner, Group)> = Vec::new();
        let mut given = Given::default();
        for (listen, key) in keys(&spec.listen) {
            self.add_lane(&spec.name, listen, &key, lane);
            let copied = match self.sockets.find(&spec.name, &key) {
                Some((_, group)) => copy(group.socket_for(lane)),
                None => self.open_one(spec, listen, &key, lane, &rights).and_then(|(owner, group)| {
                    let copied = copy(group.socket_for(lane));
                    fresh.push((owner, group));
                    copied
                }),
            };
            match copied {
                Ok(fd) => {
                    given.shown.push(OpenSocket { name: listen.name.clone(), address: address_of(&fd, &listen.at) });
                    given.fds.push(fd);
                }
                Err(errno) => {
                    fresh.iter().for_each(|(owner, _)| owner.remove_file(&rights.rights));
                    return Err(SpawnFailure { step: self.explain_listen(&listen.at, &key, errno), errno: errno.raw_os_error() });
                }
            }
        }
        for (owner, group) in fresh {
            held(&owner, &group).for_each(|(name, fd)| self.ctx.keeper.hold(&name, fd));
            self.sockets.by_app.insert(owner, group);
        }
        // An edited file: what nobody names any more is closed as soon as the first instance has what it names now.
        if self.sockets.by_app.keys().filter(|owner| owner.app == spec.name).count() > spec.listen.len() {
            self.close_sockets_of(spec);
        }
        Ok(given)
    }

    /// Opens the lane of a process at a port that is open already. It gets nothing until it is steered to.
    fn add_lane(&mut self, app: &str, listen: &Listen, key: &str, lane: Option<u32>) {
        let Some(number) = lane.map(lane_number) else { return };
        let present = self.sockets.by_app.iter_mut().find(|(owner, group)| owner.app == app && owner.key == key && group.has_lanes());
        let Some((owner, group)) = present.filter(|(_, group)| group.lane(number).is_none()) else { return };
        match open::open_beside(group.first(), listen) {
            Ok(fd) => {
                let place = Place::Lane { number, position: Some(group.next_position()) };
                if let Some(name) = owner.held_name(place) {
                    self.ctx.keeper.hold(&name, fd.as_fd());
                }
                group.add(Socket { fd, place });
            }
            // Two processes then accept from the first one.
            Err(errno) => {
                self.ctx.log.error_once("lane", format_args!("cannot open another socket at {key} for {app}: {errno}"));
            }
        }
    }

    /// Opens what is not open, or takes it from an app that is no more: the same one under its former name.
    fn open_one(
        &mut self,
        spec: &AppSpec,
        listen: &Listen,
        key: &str,
        lane: Option<u32>,
        rights: &FileRights,
    ) -> Result<(Owner, Group), Errno> {
        let orphan = |owner: &&Owner| owner.key == key && !self.ctx.slots.iter().any(|slot| slot.spec().name == owner.app);
        if let Some(former) = self.sockets.by_app.keys().find(orphan).cloned()
            && let Some(group) = self.sockets.by_app.remove(&former)
        {
            held(&former, &group).for_each(|(name, _)| self.ctx.keeper.drop_held(&name));
            return Ok((Owner { app: spec.name.clone(), ..former }, group));
        }
        let mut file = None;
        let socket = match lane.filter(|_| matches!(listen.at, ListenAt::Tcp { .. })) {
            Some(lane) => self.open_first_lane(listen, lane, rights)?,
            None => {
                let opened = open::open(listen, rights, Sharing::Alone)?;
                file = opened.file;
                Socket { fd: opened.fd, place: Place::Alone }
            }
        };
        Ok((Owner { app: spec.name.clone(), key: key.to_owned(), file }, Group::new(socket)))
    }

    /// The first of several sockets of a port; the only one where the kernel does not let connections be steered.
    fn open_first_lane(&mut self, listen: &Listen, lane: u32, rights: &FileRights) -> Result<Socket, Errno> {
        let fd = open::open(listen, rights, Sharing::First)?.fd;
        // At once: the next ones must not get anything before they are to.
        match ostler_sys::reuseport::steer(&fd, &[0]) {
            Ok(()) => Ok(Socket { fd, place: Place::Lane { number: lane_number(lane), position: Some(0) } }),
            Err(errno) => {
                let at = &listen.at;
                self.ctx.log.error_once(
                    "steer",
                    format_args!("the kernel does not let the connections at {at} be steered ({errno}): a reload may cut some"),
                );
                drop(fd);
                Ok(Socket { fd: open::open(listen, rights, Sharing::Alone)?.fd, place: Place::Alone })
            }
        }
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
    pub(crate) fn close_sockets_of(&mut self, spec: &AppSpec) {
        let app = spec.name.as_str();
        if !self.sockets.by_app.keys().any(|owner| owner.app == app) {
            return;
        }
        let wanted: Vec<String> = self
            .ctx
            .slots
            .iter()
            .filter(|slot| slot.spec().name == app && slot.is_or_will_be_up())
            .flat_map(|slot| keys(&slot.spec().listen).map(|(_, key)| key))
            .collect();
        let idle = |owner: &&Owner| owner.app == app && !wanted.contains(&owner.key);
        let idle: Vec<Owner> = self.sockets.by_app.keys().filter(idle).cloned().collect();
        let rights = Rights::of(spec);
        for owner in idle {
            owner.remove_file(&rights);
            if let Some(group) = self.sockets.by_app.remove(&owner) {
                held(&owner, &group).for_each(|(name, _)| self.ctx.keeper.drop_held(&name));
            }
        }
    }
}

fn copy(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
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
