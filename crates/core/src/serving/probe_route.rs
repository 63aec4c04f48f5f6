//! Private probes: which socket of its app the probe of a process has to reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Destination of a probe's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeRoute {
    /// Any process that listens there, as for every client.
    Common,
    /// The socket at this position of the port's sockets, which only the probed process has.
    Position(u32),
    /// No socket: only other processes of the app listen there.
    NotOpened,
}

/// Address at which each process of an app has its own socket.
#[derive(Clone, Copy, Debug)]
pub struct OwnSockets {
    /// The address.
    pub address: SocketAddr,
    /// Whether the process has a socket there.
    pub is_open: bool,
    /// Position of that socket, if it is known.
    pub position: Option<u32>,
}

/// Returns the destination of a probe that connects to `to`. `is_own` returns true for addresses of
/// this machine.
pub fn route(to: SocketAddr, sockets: impl Iterator<Item = OwnSockets>, is_own: impl Fn(IpAddr) -> bool) -> ProbeRoute {
    // The kernel takes the unspecified address of a peer for this machine.
    let ip = match to.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let reached = sockets.filter(|own| own.address.port() == to.port()).filter_map(|own| Some((precision(own.address.ip(), ip)?, own)));
    match reached.max_by_key(|(precision, _)| *precision) {
        Some((precision, _)) if precision < Precision::Exact && !is_own(ip) => ProbeRoute::Common,
        Some((_, own)) if !own.is_open => ProbeRoute::NotOpened,
        Some((_, own)) => own.position.map_or(ProbeRoute::Common, ProbeRoute::Position),
        None => ProbeRoute::Common,
    }
}

/// How precisely the address of a socket matches: the kernel prefers the best match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    /// All addresses of both families.
    Any,
    /// All addresses of its family.
    Family,
    /// The address itself.
    Exact,
}

/// Returns how a socket at `listens` matches a connection to `to`; `None` if it does not.
fn precision(listens: IpAddr, to: IpAddr) -> Option<Precision> {
    match (listens, to) {
        _ if listens == to => Some(Precision::Exact),
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(_)) | (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(_)) => Some(Precision::Family),
        // Sockets of apps that are open to IPv6 only are never shared.
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(_)) => Some(Precision::Any),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProbeRoute::{Common, NotOpened, Position};

    fn own(address: &str, is_open: bool, position: Option<u32>) -> OwnSockets {
        OwnSockets { address: address.parse().unwrap(), is_open, position }
    }

    #[test]
    fn probe_reaches_the_socket_of_its_process() {
        let local = |ip: IpAddr| ip.is_loopback() || ip == IpAddr::from([10, 0, 0, 1]);
        let both = [own("0.0.0.0:80", true, Some(1)), own("127.0.0.1:80", true, Some(2))];
        let any = [own("[::]:80", true, Some(3))];
        for (sockets, to, expected) in [
            (&[][..], "127.0.0.1:80", Common),
            (&both, "127.0.0.1:80", Position(2)),
            (&both, "127.0.0.2:80", Position(1)),
            (&both, "10.0.0.1:80", Position(1)),
            (&both, "0.0.0.0:80", Position(2)),
            (&both, "[::ffff:127.0.0.1]:80", Position(2)),
            // Another port, family or machine.
            (&both, "127.0.0.1:81", Common),
            (&both, "[::1]:80", Common),
            (&both, "10.0.0.2:80", Common),
            (&any, "127.0.0.1:80", Position(3)),
            (&any, "[::1]:80", Position(3)),
            (&any, "[::]:80", Position(3)),
            (&any, "[2001:db8::1]:80", Common),
            // The kernel's order is unknown, or the process has no socket of its own.
            (&[own("[::1]:80", true, None)], "[::1]:80", Common),
            // Only other processes listen.
            (&[own("[::1]:80", false, None)], "[::1]:80", NotOpened),
            (&[own("0.0.0.0:80", false, Some(1))], "127.0.0.1:80", NotOpened),
            (&[own("0.0.0.0:80", false, Some(1))], "10.0.0.2:80", Common),
            (&[own("10.0.0.3:80", false, Some(1))], "10.0.0.3:80", NotOpened),
        ] {
            assert_eq!(route(to.parse().unwrap(), sockets.iter().copied(), local), expected, "{sockets:?} {to}");
        }
    }
}
