//! Shares: limits on the resources of one client, so that it cannot lock out the others.
//!
//! Before a login, a share belongs to an address ([`ostler_http::Guests`]); after it, to an
//! identity. It covers the identity's running requests, including streams and slow readers, and its
//! log readers.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};

use crate::access::{Identity, Role};
use crate::http::reply::Body;

/// Maximum number of simultaneous requests of one identity.
const REQUESTS: usize = 32;
/// Maximum number of log readers, each with a process: in total, for all clients except admins, and
/// for one identity that is not an admin.
const READERS: usize = 16;
const READERS_OF_OTHERS: usize = 12;
const READERS_OF_ONE: usize = 8;

/// Kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ShareKind {
    Request,
    Reader,
}

/// Shares in use, by identity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares(Arc<Mutex<HashMap<(ShareKind, String), usize>>>);

/// Part of a share that is in use until this is dropped.
#[derive(Debug)]
pub(crate) struct SharePermit {
    shares: Shares,
    holder: (ShareKind, String),
}

impl Shares {
    /// Takes a seat for a request; none if the identity has used its share.
    pub(crate) fn request(&self, identity: &Identity) -> Option<SharePermit> {
        self.take(ShareKind::Request, identity, |of_one, _| of_one < REQUESTS)
    }

    /// Takes a seat for a log reader; none if there are too many.
    pub(crate) fn reader(&self, identity: &Identity) -> Option<SharePermit> {
        let (one, all) = if identity.role == Role::Admin { (READERS, READERS) } else { (READERS_OF_ONE, READERS_OF_OTHERS) };
        self.take(ShareKind::Reader, identity, |of_one, of_all| of_one < one && of_all < all)
    }

    fn take(&self, kind: ShareKind, identity: &Identity, has_room: impl Fn(usize, usize) -> bool) -> Option<SharePermit> {
        let mut used = self.used();
        let of_all = used.iter().filter(|((of, _), _)| *of == kind).map(|(_, count)| count).sum();
        let of = (kind, identity.share.clone());
        let of_one = used.entry(of.clone()).or_default();
        if !has_room(*of_one, of_all) {
            return None;
        }
        *of_one += 1;
        Some(SharePermit { shares: self.clone(), holder: of })
    }

    fn used(&self) -> MutexGuard<'_, HashMap<(ShareKind, String), usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SharePermit {
    fn drop(&mut self) {
        let mut used = self.shares.used();
        match used.get_mut(&self.holder) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(used.remove(&self.holder)),
        }
    }
}

/// Body of a reply that keeps its seat until the body is sent or the reader disconnects.
pub(crate) struct BodyWithPermit {
    pub(crate) body: Body,
    pub(crate) _seat: SharePermit,
}

impl hyper::body::Body for BodyWithPermit {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(share: &str, role: Role) -> Identity {
        Identity { user: share.into(), role, namespaces: Vec::new(), share: share.into() }
    }

    #[test]
    fn one_identity_cannot_use_all_request_slots() {
        let shares = Shares::default();
        let (viewer, admin) = (identity("viewer", Role::Viewer), identity("admin", Role::Admin));
        let mut taken: Vec<SharePermit> = (0..300).filter_map(|_| shares.request(&viewer)).collect();
        assert_eq!(taken.len(), REQUESTS);
        assert!(shares.request(&admin).is_some());
        taken.pop();
        assert!(shares.request(&viewer).is_some());
        drop(taken);
        assert!(shares.used().is_empty());
    }

    #[test]
    fn viewers_leave_reader_slots_for_admins() {
        let shares = Shares::default();
        let viewers: Vec<Identity> = (0..4).map(|number| identity(&format!("viewer {number}"), Role::Viewer)).collect();
        let taken: Vec<SharePermit> = viewers.iter().flat_map(|viewer| (0..20).filter_map(|_| shares.reader(viewer))).collect();
        assert_eq!(taken.len(), READERS_OF_OTHERS);
        let admin = identity("admin", Role::Admin);
        assert_eq!((0..20).filter_map(|_| shares.reader(&admin)).count(), 20, "each is dropped at once");
        let kept: Vec<SharePermit> = (0..20).filter_map(|_| shares.reader(&admin)).collect();
        assert_eq!(kept.len(), READERS - READERS_OF_OTHERS);
    }
}
