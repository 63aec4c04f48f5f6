//! Guests: connections whose client is not logged in. Each address may have a limited number of
//! them, and they are closed first when room is needed.
//!
//! A client may open connections and finish neither a head nor a body. If such connections could
//! fill all places, no user could log in. The oldest guest of an address is therefore closed if the
//! address has too many. Guests are also closed if there is no place at all.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Address of a client; none = it connected by a unix socket.
type ClientAddress = Option<IpAddr>;

/// Status of a connection: guest or logged in. Each of its requests has it in its extensions.
#[derive(Clone, Debug)]
pub struct GuestStatus(Arc<GuestState>);

#[derive(Debug, Default)]
struct GuestState {
    is_known: AtomicBool,
    closed: Notify,
}

impl GuestStatus {
    /// Marks the client of this connection as logged in, so it is no longer a guest.
    pub fn admit(&self) {
        self.0.is_known.store(true, Ordering::Relaxed);
    }

    /// Returns true if the connection is not a guest.
    pub fn is_known(&self) -> bool {
        self.0.is_known.load(Ordering::Relaxed)
    }

    /// Waits until the connection has to make room for a newer one of the same address.
    pub async fn closed(&self) {
        self.0.closed.notified().await;
    }
}

/// Guests by address, the oldest first.
#[derive(Debug)]
pub struct Guests {
    /// Maximum number of guests per address; none = no client is a guest.
    most: Option<usize>,
    all: RefCell<HashMap<ClientAddress, VecDeque<Arc<GuestState>>>>,
}

/// Registration of a connection as a guest, until it is dropped.
#[derive(Debug)]
pub struct Guest {
    /// Its standing.
    pub standing: GuestStatus,
    address: ClientAddress,
    guests: Rc<Guests>,
}

impl Guests {
    /// Creates an empty list. `most` is the maximum number of guests per address; none = no client
    /// is a guest.
    pub fn new(most: Option<usize>) -> Rc<Self> {
        Rc::new(Self { most, all: RefCell::default() })
    }

    /// Registers a new connection. If its address has too many guests, the oldest of them is
    /// closed.
    pub fn enter(self: &Rc<Self>, address: ClientAddress) -> Guest {
        let who = address.map(network);
        let state = Arc::new(GuestState { is_known: AtomicBool::new(self.most.is_none()), closed: Notify::new() });
        if let Some(most) = self.most {
            let mut all = self.all.borrow_mut();
            let of_address = all.entry(who).or_default();
            of_address.retain(|guest| !guest.is_known.load(Ordering::Relaxed));
            while of_address.len() >= most.max(1) {
                of_address.pop_front().into_iter().for_each(|oldest| oldest.closed.notify_one());
            }
            of_address.push_back(Arc::clone(&state));
        }
        Guest { standing: GuestStatus(state), address: who, guests: Rc::clone(self) }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut all = self.guests.all.borrow_mut();
        let Some(of_address) = all.get_mut(&self.address) else { return };
        of_address.retain(|guest| !Arc::ptr_eq(guest, &self.standing.0));
        if of_address.is_empty() {
            all.remove(&self.address);
        }
    }
}

/// Returns the network that an address counts for. For IPv6 it is the /64, because a client has all
/// addresses of its /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_closed(guest: &Guest) -> bool {
        use std::future::Future as _;
        let mut closed = std::pin::pin!(guest.standing.closed());
        closed.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn oldest_guest_of_an_address_is_closed_if_share_is_full() {
        let guests = Guests::new(Some(2));
        let enter = |address: &str| guests.enter(Some(address.parse().unwrap()));
        let (known, first, second) = (enter("192.0.2.1"), enter("192.0.2.1"), enter("192.0.2.1"));
        assert!(is_closed(&known), "a third one came");
        let other = enter("192.0.2.2");
        first.standing.admit();
        let third = enter("192.0.2.1");
        assert!([&first, &second, &third, &other].iter().all(|guest| !is_closed(guest)), "one of them is known by now");
        drop(second);
        let fourth = enter("192.0.2.1");
        assert!([&third, &fourth].iter().all(|guest| !is_closed(guest)));
        let hosts: Vec<Guest> = (1..=3).map(|host| enter(&format!("2001:db8:0:1::{host}"))).collect();
        assert_eq!(hosts.iter().map(is_closed).collect::<Vec<_>>(), [true, false, false], "a network of version 6 is one");
        drop((known, first, third, fourth, other, hosts));
        assert!(guests.all.borrow().is_empty());
    }

    #[test]
    fn without_a_share_no_connection_is_a_guest() {
        let guests = Guests::new(None);
        let all: Vec<Guest> = (0..100).map(|_| guests.enter(None)).collect();
        assert!(all.iter().all(|guest| guest.standing.is_known() && !is_closed(guest)));
    }
}
