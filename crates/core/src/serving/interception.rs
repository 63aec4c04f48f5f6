//! Programs that open their ports by themselves: whether a process gets a socket of its app in
//! place of its own.

use std::net::SocketAddr;
use std::{fmt, io};

use serde::{Deserialize, Serialize};

use crate::message;
use crate::serving::{Listen, ListenAt};

/// Facts about a process's call of `bind`.
#[derive(Clone, Copy, Debug)]
pub struct BindFacts {
    /// Address that it names; `None` = neither IPv4 nor IPv6.
    pub address: Option<SocketAddr>,
    /// Whether it is a socket of TCP.
    pub is_tcp: bool,
    /// Whether it accepts IPv6 only.
    pub is_v6_only: bool,
    /// Whether the process is in our network namespace.
    pub is_in_our_network: bool,
    /// Whether an epoll instance of the process waits for the socket.
    pub is_registered: bool,
    /// Whether the process itself may open the port.
    pub is_allowed: bool,
    /// Whether the process has a socket at this address already, and this one may not share it.
    pub is_second: bool,
    /// Whether the socket is bound already, and is not the app's at this address. (The app's is bound
    /// again if a signal interrupted the first call after the socket had been replaced.)
    pub is_bound: bool,
    /// Whether the app may have a socket at one more address.
    pub has_room: bool,
    /// Whether the app declares its ports (`listen`), and which of them it is.
    pub declared: Option<DeclaredPort>,
}

/// Port among those that an app declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclaredPort {
    /// Declared at this address.
    Same,
    /// Declared at another address.
    OtherAddress,
    /// Not declared.
    Other,
}

/// Returns whether the address that a process binds is declared.
pub fn declared_port(listens: &[Listen], address: SocketAddr, is_v6_only: bool) -> DeclaredPort {
    let place = place_of(address, is_v6_only);
    if listens.iter().any(|listen| Some(&listen.at) == place.as_ref()) {
        return DeclaredPort::Same;
    }
    let is_port = |listen: &Listen| address.port() > 0 && listen.at.port() == Some(address.port());
    if listens.iter().any(is_port) { DeclaredPort::OtherAddress } else { DeclaredPort::Other }
}

/// Socket of its own that a process keeps, although its app shares the ports that it opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnSocket {
    /// Its address; `None` = unknown, or every socket of the process.
    pub address: Option<SocketAddr>,
    /// Why it is not shared.
    pub reason: OwnSocketReason,
}

/// Reason for which a process keeps its own socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnSocketReason {
    /// It is not TCP, or the kernel chooses the port. Such ports are not shared.
    NotShared,
    /// The app has too many ports.
    TooMany,
    /// The process may not open the port, or opens it twice: the kernel refuses that.
    Refused,
    /// It is in another network.
    OtherNetwork,
    /// It waits for the socket in epoll already.
    Registered,
    /// It is a 32-bit program.
    Narrow,
    /// The call cannot be read.
    Unreadable(Obstacle),
    /// `listen` declares its port at another address.
    OtherAddress,
    /// The kernel or a sandbox refuses the filter, with this errno: no call of the process is seen.
    FilterRefused(i32),
    /// The socket cannot be replaced, with this errno.
    NotReplaced(i32),
}

/// Obstacle to reading the call of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// The process (`PR_SET_DUMPABLE`) or a sandbox forbids it.
    Forbidden,
    /// Yama allows it to ancestors of the process only, and the keeper is not one: it replaced a
    /// keeper that was killed.
    FormerKeeper,
    /// Yama forbids it, with this value of `kernel.yama.ptrace_scope`.
    Yama(u8),
    /// The process runs as another user.
    OtherUser,
    /// It took too long.
    Late,
    /// The process makes too many calls at once.
    Busy,
}

/// Facts about a refused inspection.
#[derive(Clone, Copy, Debug)]
pub struct InspectionFacts {
    /// `kernel.yama.ptrace_scope`; 0 = no restriction, or no Yama.
    pub ptrace_scope: u8,
    /// Whether ostler may trace all processes (`CAP_SYS_PTRACE`).
    pub may_trace_all: bool,
    /// Whether the process runs as the user of ostler.
    pub is_our_user: bool,
    /// Whether the process allows it.
    pub is_dumpable: bool,
}

/// Returns the reason for a refused inspection.
pub fn obstacle(facts: &InspectionFacts) -> Obstacle {
    match facts.ptrace_scope {
        scope if scope >= 3 || (scope == 2 && !facts.may_trace_all) => Obstacle::Yama(scope),
        _ if !facts.is_our_user => Obstacle::OtherUser,
        1 if facts.is_dumpable => Obstacle::FormerKeeper,
        _ => Obstacle::Forbidden,
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Self::Forbidden => message!("the process (PR_SET_DUMPABLE) or a sandbox forbids its inspection"),
            Self::FormerKeeper => message!(
                "Yama forbids to inspect a process that a former keeper started (kernel.yama.ptrace_scope = 1), until the app is restarted"
            ),
            Self::Yama(scope) => message!("Yama forbids to inspect processes (kernel.yama.ptrace_scope = {scope})", scope),
            Self::OtherUser => message!("a process of another user cannot be inspected without CAP_SYS_PTRACE"),
            Self::Late => message!("its memory could not be read within a second"),
            Self::Busy => message!("it opens too many ports at once"),
        })
    }
}

impl OwnSocketReason {
    /// Returns true if users should learn of it: the app wants to share its port, and cannot.
    pub fn is_a_problem(self) -> bool {
        !matches!(self, Self::NotShared | Self::Refused)
    }
}

impl fmt::Display for OwnSocketReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Self::NotShared => message!("it is not a port that can be shared"),
            Self::TooMany => message!("the app opens too many ports"),
            Self::Refused => message!("the process may not open it"),
            Self::OtherNetwork => message!("the process is in another network namespace"),
            Self::Registered => message!("the program waits for the socket in epoll before it binds it"),
            Self::Narrow => message!("it is a 32-bit program"),
            Self::Unreadable(obstacle) => obstacle.to_string(),
            Self::OtherAddress => message!("`listen` declares the port at another address"),
            Self::FilterRefused(errno) => message!("the kernel or a sandbox refuses the filter: {error}", error = text_of(*errno)),
            Self::NotReplaced(errno) => message!("ostler cannot replace the socket: {error}", error = text_of(*errno)),
        })
    }
}

fn text_of(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// Returns the place that a socket of TCP gets by `bind`. `None` = the place has no identity that
/// processes could share.
pub fn place_of(address: SocketAddr, is_v6_only: bool) -> Option<ListenAt> {
    let port = address.port();
    match address {
        // The kernel chooses another port for each process.
        _ if port == 0 => None,
        SocketAddr::V6(v6) if v6.ip().is_unspecified() && is_v6_only => Some(ListenAt::TcpV6 { port }),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Some(ListenAt::Tcp { address: None, port }),
        // Addresses of one link need its number, too.
        SocketAddr::V6(v6) if v6.scope_id() != 0 => None,
        // The kernel refuses an address of IPv4 in a socket of IPv6 only.
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() && is_v6_only => None,
        // At a single address, the option makes no difference.
        address => Some(ListenAt::Tcp { address: Some(address.ip()), port }),
    }
}

/// Returns the address at which the process gets a socket of its app.
///
/// # Errors
/// Returns the reason for which it keeps its own socket.
pub fn shared_address(facts: &BindFacts) -> Result<ListenAt, OwnSocketReason> {
    let place = facts.address.filter(|_| facts.is_tcp).and_then(|address| place_of(address, facts.is_v6_only));
    let Some(at) = place else { return Err(OwnSocketReason::NotShared) };
    match facts.declared {
        Some(DeclaredPort::Other) => return Err(OwnSocketReason::NotShared),
        Some(DeclaredPort::OtherAddress) => return Err(OwnSocketReason::OtherAddress),
        Some(DeclaredPort::Same) | None => {}
    }
    if !facts.is_allowed || facts.is_second || facts.is_bound {
        return Err(OwnSocketReason::Refused);
    }
    if !facts.has_room {
        return Err(OwnSocketReason::TooMany);
    }
    if !facts.is_in_our_network {
        return Err(OwnSocketReason::OtherNetwork);
    }
    if facts.is_registered { Err(OwnSocketReason::Registered) } else { Ok(at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(address: &str) -> BindFacts {
        BindFacts {
            address: Some(address.parse().unwrap()),
            is_tcp: true,
            is_v6_only: false,
            is_in_our_network: true,
            is_registered: false,
            is_allowed: true,
            is_second: false,
            is_bound: false,
            has_room: true,
            declared: None,
        }
    }

    fn at(address: Option<&str>, port: u16) -> ListenAt {
        ListenAt::Tcp { address: address.map(|address| address.parse().unwrap()), port }
    }

    #[test]
    fn ports_of_tcp_are_shared() {
        use OwnSocketReason as Own;
        let plain = facts("0.0.0.0:80");
        for (facts, expected) in [
            (plain, Ok(at(Some("0.0.0.0"), 80))),
            (facts("[::]:80"), Ok(at(None, 80))),
            (facts("[::1]:80"), Ok(at(Some("::1"), 80))),
            (facts("0.0.0.0:0"), Err(Own::NotShared)),
            (BindFacts { is_tcp: false, ..plain }, Err(Own::NotShared)),
            (BindFacts { address: None, ..plain }, Err(Own::NotShared)),
            (BindFacts { is_allowed: false, ..plain }, Err(Own::Refused)),
            (BindFacts { is_second: true, ..plain }, Err(Own::Refused)),
            (BindFacts { is_bound: true, ..plain }, Err(Own::Refused)),
            (BindFacts { has_room: false, ..plain }, Err(Own::TooMany)),
            (BindFacts { declared: Some(DeclaredPort::Same), ..plain }, Ok(at(Some("0.0.0.0"), 80))),
            (BindFacts { declared: Some(DeclaredPort::OtherAddress), ..plain }, Err(Own::OtherAddress)),
            (BindFacts { declared: Some(DeclaredPort::Other), ..plain }, Err(Own::NotShared)),
            (BindFacts { is_in_our_network: false, ..plain }, Err(Own::OtherNetwork)),
            (BindFacts { is_registered: true, ..plain }, Err(Own::Registered)),
            (BindFacts { is_v6_only: true, ..plain }, Ok(at(Some("0.0.0.0"), 80))),
            (BindFacts { is_v6_only: true, ..facts("[::]:80") }, Ok(ListenAt::TcpV6 { port: 80 })),
            (BindFacts { is_v6_only: true, ..facts("[::1]:80") }, Ok(at(Some("::1"), 80))),
            // Java binds addresses of IPv4 in this form.
            (facts("[::ffff:127.0.0.1]:80"), Ok(at(Some("::ffff:127.0.0.1"), 80))),
            (BindFacts { is_v6_only: true, ..facts("[::ffff:127.0.0.1]:80") }, Err(Own::NotShared)),
            (facts("[fe80::1%3]:80"), Err(Own::NotShared)),
        ] {
            assert_eq!(shared_address(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn refused_inspections_have_a_reason() {
        let plain = InspectionFacts { ptrace_scope: 0, may_trace_all: false, is_our_user: true, is_dumpable: true };
        for (facts, expected) in [
            (plain, Obstacle::Forbidden),
            (InspectionFacts { ptrace_scope: 1, ..plain }, Obstacle::FormerKeeper),
            (InspectionFacts { ptrace_scope: 2, ..plain }, Obstacle::Yama(2)),
            (InspectionFacts { ptrace_scope: 2, is_our_user: false, may_trace_all: true, ..plain }, Obstacle::OtherUser),
            (InspectionFacts { ptrace_scope: 3, may_trace_all: true, ..plain }, Obstacle::Yama(3)),
            (InspectionFacts { is_our_user: false, ptrace_scope: 1, ..plain }, Obstacle::OtherUser),
            (InspectionFacts { is_dumpable: false, ptrace_scope: 1, ..plain }, Obstacle::Forbidden),
        ] {
            assert_eq!(obstacle(&facts), expected, "{facts:?}");
        }
        let text = OwnSocketReason::Unreadable(Obstacle::Yama(2)).to_string();
        assert_eq!(text, "Yama forbids to inspect processes (kernel.yama.ptrace_scope = 2)");
    }

    #[test]
    fn declared_ports_are_found_by_their_address() {
        let listen = |at| Listen { at, name: "a".into(), backlog: None, mode: None };
        let declared = [at(None, 80), at(Some("127.0.0.1"), 81), at(None, 0), ListenAt::Unix { path: "/s".into() }].map(listen);
        for (address, is_v6_only, expected) in [
            ("[::]:80", false, DeclaredPort::Same),
            ("[::]:80", true, DeclaredPort::OtherAddress),
            ("0.0.0.0:80", false, DeclaredPort::OtherAddress),
            ("127.0.0.1:81", false, DeclaredPort::Same),
            ("127.0.0.1:82", false, DeclaredPort::Other),
            ("0.0.0.0:0", false, DeclaredPort::Other),
        ] {
            assert_eq!(declared_port(&declared, address.parse().unwrap(), is_v6_only), expected, "{address} {is_v6_only}");
        }
    }
}
