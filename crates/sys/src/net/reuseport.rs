//! Groups of listening sockets of one address (`SO_REUSEPORT`), and the choice which of them get
//! new connections.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::net::sockopt;

/// Maximum number of sockets to choose from: a program has at most 4096 instructions.
pub const MAX_ACTIVE: usize = 2000;

/// Number of positions that a mark can name ([`mark`]).
pub const MARKED_POSITIONS: u32 = 1 << 11;

/// Bits that each mark has: a TTL of 128 or more, and a code point (DSCP) of the pool for local use
/// (RFC 2474). The position is between them.
const MARK: u32 = 0x800c;
const MARK_MASK: u32 = 0x800f;
const POSITION_SHIFT: u32 = 4;

/// Marks the connection that this new TCP socket will open to `peer`, an address of this machine:
/// it reaches the socket at this position of its group ([`steer`]), whether that one is active or
/// not. Needs no privilege.
///
/// The mark is in the TTL and the code point of each packet, so it does not depend on the port of
/// our end, and needs no change of the group's program. Any program of this machine can use such a
/// mark. It then reaches a process that gets no connections at present, which harms no other
/// client. Packets of other machines have no effect, whatever their mark.
///
/// # Errors
/// Returns `EINVAL` for a position that a mark cannot name.
pub fn mark(socket: impl AsFd, peer: IpAddr, position: u32) -> Result<(), Errno> {
    if position >= MARKED_POSITIONS {
        return Err(Errno::INVAL);
    }
    let mark = u16::try_from(MARK | position << POSITION_SHIFT).map_err(|_| Errno::INVAL)?;
    let [ttl, tos] = mark.to_be_bytes();
    if peer.is_ipv6() {
        sockopt::set_ipv6_unicast_hops(&socket, Some(ttl))?;
        sockopt::set_ipv6_tclass(&socket, tos.into())
    } else {
        sockopt::set_ip_ttl(&socket, ttl.into())?;
        sockopt::set_ip_tos(&socket, tos)
    }
}

/// Sends each new connection from now on to a random socket out of the `active` ones of the group
/// that `socket` belongs to, except connections with a mark ([`mark`]). The numbers count from 0 in
/// the order in which the sockets started to listen. If one is closed or shut down, the last one
/// takes its number. Needs no privilege.
///
/// # Errors
/// Returns `EINVAL` for an empty or too long list, or if the socket is in no group. Returns
/// `ENOPROTOOPT` before Linux 4.5, and `ENOMEM`.
pub fn steer(socket: impl AsFd, active: &[u32]) -> Result<(), Errno> {
    if active.is_empty() || active.len() > MAX_ACTIVE {
        return Err(Errno::INVAL);
    }
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, program(active))
}

/// Attaches a classic BPF program to a socket by this option.
pub(crate) fn attach(socket: impl AsFd, option: libc::c_int, mut program: Vec<libc::sock_filter>) -> Result<(), Errno> {
    let description = libc::sock_fprog { len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?, filter: program.as_mut_ptr() };
    // SAFETY: the description and the program that it points to outlive the call, which copies
    // them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const description).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(crate::process::last_errno()) } else { Ok(()) }
}

/// Returns the number of connections in the queue of a listening TCP socket that no process has
/// accepted yet.
///
/// # Errors
/// Returns an error if the socket is not a TCP socket.
pub fn waiting(socket: impl AsFd) -> Result<u32, Errno> {
    /// Index of `tcpi_unacked` of `linux/tcp.h`, in words. For a listening socket, it is the length
    /// of its queue.
    const UNACKED: usize = 6;
    let mut info = [0_u32; UNACKED + 1];
    let mut length = size_of_val(&info) as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the pointers are to a record of that length; the kernel writes at most that many
    // bytes.
    let got = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut length) };
    if got < 0 { Err(crate::process::last_errno()) } else { Ok(info[UNACKED]) }
}

/// Returns the program in the instructions of `linux/filter.h`: the position of a marked packet,
/// or by default `active[random() % active.len()]`.
pub(crate) fn program(active: &[u32]) -> Vec<libc::sock_filter> {
    /// Offset that stands for a random number (`SKF_AD_OFF + SKF_AD_RANDOM`).
    const RANDOM: u32 = (-0x1000_i32 + 56) as u32;
    let mut program = position_of_mark().to_vec();
    program.extend([
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, RANDOM),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, active.len() as u32),
    ]);
    for (number, socket) in active.iter().enumerate() {
        program.push(unless_equal(number as u32, 1));
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, *socket));
    }
    // Unreachable, but a program has to end with a return.
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, active[0]));
    program
}

/// Returns the part that handles marked packets. It continues behind its end for all others.
fn position_of_mark() -> [libc::sock_filter; 23] {
    /// Offset that stands for the interface (`SKF_AD_OFF + SKF_AD_IFINDEX`).
    const INTERFACE: u32 = (-0x1000_i32 + 8) as u32;
    /// Number of the loopback interface, which has all packets between addresses of this machine.
    const LOOPBACK: u32 = 1;
    /// Offset of the IP header (`SKF_NET_OFF`). The program otherwise sees only what follows the
    /// TCP header.
    const HEADER: u32 = -0x0010_0000_i32 as u32;
    const LENGTH: u8 = 23;
    let load = |size: u32, offset: u32| instruction(libc::BPF_LD | size | libc::BPF_ABS, 0, offset);
    let compute = |operation: u32, k: u32| instruction(libc::BPF_ALU | operation | libc::BPF_K, 0, k);
    let keep = instruction(libc::BPF_MISC | libc::BPF_TAX, 0, 0);
    let to_end = |from: u8| LENGTH - 1 - from;
    [
        load(libc::BPF_W, INTERFACE),
        unless_equal(LOOPBACK, to_end(1)),
        load(libc::BPF_B, HEADER),
        compute(libc::BPF_RSH, 4),
        unless_equal(4, 4),
        // IPv4: type of service, TTL.
        load(libc::BPF_B, HEADER + 1),
        keep,
        load(libc::BPF_B, HEADER + 8),
        instruction(libc::BPF_JMP | libc::BPF_JA, 0, 5),
        // IPv6: traffic class, hop limit.
        load(libc::BPF_H, HEADER),
        compute(libc::BPF_RSH, 4),
        compute(libc::BPF_AND, 0xff),
        keep,
        load(libc::BPF_B, HEADER + 7),
        compute(libc::BPF_LSH, 8),
        instruction(libc::BPF_ALU | libc::BPF_OR | libc::BPF_X, 0, 0),
        keep,
        compute(libc::BPF_AND, MARK_MASK),
        unless_equal(MARK, to_end(18)),
        instruction(libc::BPF_MISC | libc::BPF_TXA, 0, 0),
        compute(libc::BPF_RSH, POSITION_SHIFT),
        compute(libc::BPF_AND, MARKED_POSITIONS - 1),
        instruction(libc::BPF_RET | libc::BPF_A, 0, 0),
    ]
}

/// Returns an instruction. `jf`: instructions to skip if a comparison fails.
pub(crate) fn instruction(code: u32, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf, k }
}

/// Returns the instruction that skips the next ones if the accumulator has another value.
fn unless_equal(value: u32, skipped: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, skipped, value)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
    use std::os::fd::OwnedFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

    fn group(size: usize) -> (Vec<OwnedFd>, SocketAddr) {
        group_at(Ipv4Addr::LOCALHOST.into(), size)
    }

    fn family(address: IpAddr) -> AddressFamily {
        if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET }
    }

    /// Returns listening sockets of a port at this address, and the address.
    pub(crate) fn group_at(address: IpAddr, size: usize) -> (Vec<OwnedFd>, SocketAddr) {
        let mut address = SocketAddr::new(address, 0);
        let sockets = (0..size)
            .map(|_| {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = socket_with(family(address.ip()), SocketType::STREAM, flags, None).unwrap();
                if address.is_ipv6() {
                    sockopt::set_ipv6_v6only(&socket, false).unwrap();
                }
                sockopt::set_socket_reuseport(&socket, true).unwrap();
                bind(&socket, &address).unwrap();
                listen(&socket, 512).unwrap();
                address = getsockname(&socket).unwrap().try_into().unwrap();
                socket
            })
            .collect();
        (sockets, address)
    }

    #[test]
    fn new_connections_go_only_to_active_sockets() {
        let (sockets, address) = group(4);
        for active in [&[0_u32, 1, 2, 3][..], &[1, 3], &[2], &[0, 1, 2, 3]] {
            steer(&sockets[0], active).unwrap();
            let clients: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
            let counts = accepted(&sockets);
            drop(clients);
            let even = 200 / active.len();
            for (socket, count) in counts.iter().enumerate() {
                let wanted = active.contains(&(socket as u32));
                assert!(if wanted { *count > even / 2 } else { *count == 0 }, "{counts:?} of {active:?}");
            }
        }
    }

    /// Returns how many connections each socket has got.
    fn accepted(sockets: &[OwnedFd]) -> Vec<usize> {
        let count = |socket| std::iter::from_fn(|| crate::net::socket::accept(socket).unwrap()).count();
        sockets.iter().map(count).collect()
    }

    /// Connects with a mark and returns the socket.
    fn connect_marked(peer: SocketAddr, position: u32) -> OwnedFd {
        let socket = socket_with(family(peer.ip()), SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        mark(&socket, peer.ip(), position).unwrap();
        rustix::net::connect(&socket, &peer).unwrap();
        socket
    }

    #[test]
    fn marked_connection_reaches_its_socket_and_others_do_not() {
        let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
        for (at, targets) in
            [(v4, &[v4][..]), (v6, &[v6]), (Ipv4Addr::UNSPECIFIED.into(), &[v4]), (Ipv6Addr::UNSPECIFIED.into(), &[v4, v6])]
        {
            if at.is_ipv6() && std::net::TcpListener::bind((v6, 0)).is_err() {
                continue;
            }
            // More than one field has room for.
            let (sockets, address) = group_at(at, 40);
            steer(&sockets[0], &[1, 38]).unwrap();
            for target in targets {
                let peer = SocketAddr::new(*target, address.port());
                let clients: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(peer).unwrap()).collect();
                let probes: Vec<OwnedFd> = (0..40).map(|position| connect_marked(peer, position)).collect();
                let counts = accepted(&sockets);
                drop((clients, probes));
                let clients_of = |position: usize| counts[position] - 1;
                assert!(clients_of(1) > 75 && clients_of(38) > 75 && clients_of(1) + clients_of(38) == 300, "{peer}: {counts:?}");
                assert_eq!(counts.iter().filter(|count| **count == 1).count(), 38, "{peer}: {counts:?}");
            }
        }
    }

    /// Without all bits of a mark, a connection is one of many.
    #[test]
    fn usual_type_of_service_and_ttl_are_no_mark() {
        let (sockets, address) = group(3);
        steer(&sockets[0], &[2]).unwrap();
        let clients: Vec<OwnedFd> = [(255, 0), (128, 0xb8), (64, 0x0c), (255, 0x10), (127, 0xfc)]
            .into_iter()
            .map(|(ttl, tos)| {
                let client = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
                sockopt::set_ip_ttl(&client, ttl).unwrap();
                sockopt::set_ip_tos(&client, tos).unwrap();
                rustix::net::connect(&client, &address).unwrap();
                client
            })
            .collect();
        assert_eq!(accepted(&sockets), [0, 0, clients.len()]);
    }

    #[test]
    fn waiting_connections_are_counted() {
        let (sockets, address) = group(2);
        steer(&sockets[0], &[1]).unwrap();
        let clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!((waiting(&sockets[0]), waiting(&sockets[1])), (Ok(0), Ok(3)));
        drop(crate::net::socket::accept(&sockets[1]).unwrap().unwrap());
        assert_eq!(waiting(&sockets[1]), Ok(2));
        drop(clients);
        assert!(waiting(std::fs::File::open("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn invalid_steering_is_rejected() {
        let (sockets, _) = group(1);
        assert_eq!(steer(&sockets[0], &[]), Err(Errno::INVAL));
        assert_eq!(steer(&sockets[0], &[0; MAX_ACTIVE + 1]), Err(Errno::INVAL));
        assert_eq!(steer(&sockets[0], &[0; MAX_ACTIVE]), Ok(()));
        let (file, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(steer(&file, &[0]).is_err());
        assert_eq!(mark(&file, Ipv4Addr::LOCALHOST.into(), MARKED_POSITIONS), Err(Errno::INVAL));
    }
}
