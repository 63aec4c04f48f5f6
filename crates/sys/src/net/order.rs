//! The kernel's order of the listening sockets of one address (`SO_REUSEPORT`).
//!
//! # Theory of operation
//!
//! The kernel has no call that returns the order. It is found by trying. The program of the group
//! sends our own connection attempt to one position, and a filter on each socket drops it there.
//! The socket whose count of drops has grown has that position. Programs see nothing of this, and
//! all other connections are steered as before. Needs no privilege.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getpeername, getsockname, socket_with, sockopt};

use crate::net::reuseport::{attach, instruction, program};

/// Most sockets whose order is read: each position takes about 20 µs.
const MOST: usize = 256;
/// Positions that sockets of other programs may have.
const MOST_FOREIGN: usize = 16;
/// Longest time until an attempt has arrived. Usually it arrives within the call of `connect`.
const ARRIVES_WITHIN: Duration = Duration::from_millis(20);
/// Source of the attempts. No client has this address, so none is affected if we are killed before
/// the filters are removed.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 111, 115, 116);

/// Returns the position of each of these sockets in the order of their group. While it is read,
/// other connections go to the `steered` positions. They must be steered again after that, also
/// after an error.
///
/// # Errors
/// Returns `EBUSY` if a socket has a filter already, `ETIMEDOUT` if attempts do not arrive (a
/// firewall), `EAGAIN` if the order was not the same twice, `EINVAL` for too many sockets, and the
/// errors of `setsockopt` of an old kernel.
pub fn order(sockets: &[BorrowedFd<'_>], steered: &[u32]) -> Result<Vec<u32>, Errno> {
    let first = sockets.first().filter(|_| sockets.len() <= MOST).ok_or(Errno::INVAL)?;
    let (source, target) = addresses(*first)?;
    let attempts = Attempts::from(source, target)?;
    let filters = Filters::add(sockets, attempts.source)?;
    let all: Vec<u32> = (0_u32..).take(sockets.len()).collect();
    let steered = if steered.is_empty() { &all } else { steered };
    let read = || read_order(&filters, &attempts, steered);
    // A packet that was dropped for another reason could be taken for ours.
    let order = read()?;
    if read()? == order { Ok(order) } else { Err(Errno::AGAIN) }
}

/// Returns the addresses of an attempt: its source and its target.
fn addresses(listener: BorrowedFd<'_>) -> Result<(IpAddr, SocketAddr), Errno> {
    let at = SocketAddr::try_from(getsockname(listener)?)?;
    let ip = match at.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() && sockopt::ipv6_v6only(listener) == Ok(true) => Ipv6Addr::LOCALHOST.into(),
        ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    let source = if ip.is_ipv4() { SOURCE.into() } else { Ipv6Addr::LOCALHOST.into() };
    Ok((source, SocketAddr::new(ip, at.port())))
}

fn read_order(filters: &Filters<'_, '_>, attempts: &Attempts, steered: &[u32]) -> Result<Vec<u32>, Errno> {
    let mut positions: Vec<Option<u32>> = vec![None; filters.sockets.len()];
    for position in (0_u32..).take(filters.sockets.len() + MOST_FOREIGN) {
        if positions.iter().all(Option::is_some) {
            break;
        }
        attach(filters.sockets[0], libc::SO_ATTACH_REUSEPORT_CBPF, only_from(attempts.source, position, program(steered)))?;
        // Beyond the last position, the kernel takes any socket. Those have a position by then.
        if let Some(at) = filters.dropped(attempts)? {
            positions[at].get_or_insert(position);
        }
    }
    positions.into_iter().collect::<Option<_>>().ok_or(Errno::TIMEDOUT)
}

/// Connection attempts from one address and port.
struct Attempts {
    source: SocketAddr,
    target: SocketAddr,
    /// Keeps the port.
    _bound: OwnedFd,
}

impl Attempts {
    fn from(source: IpAddr, target: SocketAddr) -> Result<Self, Errno> {
        let bound = bound_to(SocketAddr::new(source, 0))?;
        Ok(Self { source: getsockname(&bound)?.try_into()?, target, _bound: bound })
    }

    fn begin(&self) -> Result<OwnedFd, Errno> {
        let socket = bound_to(self.source)?;
        match rustix::net::connect(&socket, &self.target) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(errno) => Err(errno),
        }
    }
}

fn bound_to(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // A connection that a program accepted must not keep the port busy.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    bind(&socket, &address)?;
    Ok(socket)
}

/// Filters that drop our attempts, on all sockets. They are removed at the end.
struct Filters<'a, 'fd> {
    sockets: &'a [BorrowedFd<'fd>],
}

impl<'a, 'fd> Filters<'a, 'fd> {
    fn add(sockets: &'a [BorrowedFd<'fd>], source: SocketAddr) -> Result<Self, Errno> {
        if sockets.iter().any(|socket| option(*socket, libc::SO_GET_FILTER, &mut [0; 0]) != Ok(0)) {
            return Err(Errno::BUSY);
        }
        let filters = Self { sockets };
        for socket in sockets {
            let accept = vec![instruction(libc::BPF_RET | libc::BPF_K, 0, u32::MAX)];
            attach(socket, libc::SO_ATTACH_FILTER, only_from(source, 0, accept))?;
        }
        Ok(filters)
    }

    /// Makes an attempt. Returns the number of the socket that dropped it, or `None` if a socket of
    /// another program has accepted it.
    fn dropped(&self, attempts: &Attempts) -> Result<Option<usize>, Errno> {
        let before = self.drops()?;
        let attempt = attempts.begin()?;
        let until = Instant::now() + ARRIVES_WITHIN;
        loop {
            let after = self.drops()?;
            let mut grown = (0..after.len()).filter(|at| after[*at] != before[*at]);
            match (grown.next(), grown.next()) {
                (Some(at), None) => return Ok(Some(at)),
                (Some(_), Some(_)) => return Err(Errno::AGAIN),
                _ if getpeername(&attempt).is_ok() => return Ok(None),
                _ if Instant::now() > until => return Err(Errno::TIMEDOUT),
                _ => std::thread::yield_now(),
            }
        }
    }

    fn drops(&self) -> Result<Vec<u32>, Errno> {
        /// Index of `SK_MEMINFO_DROPS` of `linux/sock_diag.h`.
        const DROPS: usize = 8;
        let of = |socket: &BorrowedFd<'_>| {
            let mut info = [0; DROPS + 1];
            option(*socket, libc::SO_MEMINFO, &mut info)?;
            Ok(info[DROPS])
        };
        self.sockets.iter().map(of).collect()
    }
}

impl Drop for Filters<'_, '_> {
    fn drop(&mut self) {
        for socket in self.sockets {
            let _ = set_option(*socket, libc::SO_DETACH_FILTER);
        }
    }
}

/// Reads an option of a socket; returns the length that the kernel reports.
fn option(socket: BorrowedFd<'_>, name: libc::c_int, value: &mut [u32]) -> Result<u32, Errno> {
    let mut length = size_of_val(value) as libc::socklen_t;
    // SAFETY: the pointers are to words of that length; the kernel writes at most that many bytes.
    let got = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, value.as_mut_ptr().cast(), &raw mut length) };
    if got < 0 { Err(crate::process::last_errno()) } else { Ok(length) }
}

/// Sets an option of a socket to 0.
fn set_option(socket: BorrowedFd<'_>, name: libc::c_int) -> Result<(), Errno> {
    let zero: libc::c_int = 0;
    // SAFETY: the pointer is to an int that outlives the call.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, (&raw const zero).cast(), size_of::<libc::c_int>() as libc::socklen_t)
    };
    if set < 0 { Err(crate::process::last_errno()) } else { Ok(()) }
}

/// Returns a program that returns `result` for packets from this address, and otherwise continues.
fn only_from(source: SocketAddr, result: u32, otherwise: Vec<libc::sock_filter>) -> Vec<libc::sock_filter> {
    /// Offset of the network header (`SKF_NET_OFF`).
    const HEADER: u32 = -0x10_0000_i32 as u32;
    let (version, words, port_at): (u32, Vec<(u32, u32)>, u32) = match source.ip() {
        IpAddr::V4(ip) => (0x40, vec![(12, ip.to_bits())], 20),
        IpAddr::V6(ip) => {
            let word = |at: u32| (ip.to_bits() >> (96 - 32 * at)) as u32;
            (0x60, (0..4).map(|at| (8 + 4 * at, word(at))).collect(), 40)
        }
    };
    let load = |size: u32, at: u32| instruction(libc::BPF_LD | size | libc::BPF_ABS, 0, HEADER.wrapping_add(at));
    let equals = |value: u32| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, value);
    let mut program = vec![load(libc::BPF_B, 0), instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0xf0), equals(version)];
    words.into_iter().for_each(|(at, word)| program.extend([load(libc::BPF_W, at), equals(word)]));
    program.extend([load(libc::BPF_H, port_at), equals(source.port().into()), instruction(libc::BPF_RET | libc::BPF_K, 0, result)]);
    let end = program.len();
    let jumps = program.iter_mut().enumerate().filter(|(_, step)| u32::from(step.code) == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    jumps.for_each(|(at, step)| step.jf = (end - at - 1) as u8);
    program.extend(otherwise);
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    use crate::net::reuseport::{steer, tests::group_at, waiting};
    use rustix::net::{Shutdown, shutdown};

    #[test]
    fn order_is_read_after_sockets_were_shut_down() {
        for ip in ["127.0.0.1", "0.0.0.0", "::1", "::"] {
            if std::net::TcpListener::bind((ip, 0)).is_err() {
                continue;
            }
            let (sockets, _) = group_at(ip.parse().unwrap(), 6);
            let of = |numbers: &[usize]| {
                let fds: Vec<BorrowedFd<'_>> = numbers.iter().map(|at| sockets[*at].as_fd()).collect();
                order(&fds, &[])
            };
            steer(&sockets[0], &[1]).unwrap();
            assert_eq!(of(&[3, 0, 5, 1, 4, 2]), Ok(vec![3, 0, 5, 1, 4, 2]), "{ip}");
            // Socket 5 takes position 1, and socket 4 position 0.
            [1, 0].iter().for_each(|at| shutdown(&sockets[*at], Shutdown::Both).unwrap());
            assert_eq!(of(&[2, 3, 4, 5]), Ok(vec![2, 3, 0, 1]), "{ip}");
            // The others belong to another program.
            assert_eq!(of(&[3]), Ok(vec![3]), "{ip}");
        }
    }

    #[test]
    fn programs_see_nothing_of_the_attempts() {
        let (sockets, address) = group_at([127, 0, 0, 1].into(), 3);
        steer(&sockets[0], &[2]).unwrap();
        let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        assert_eq!(order(&fds, &[2]), Ok(vec![0, 1, 2]));
        assert!(sockets.iter().all(|socket| waiting(socket) == Ok(0)));
        // Other connections are steered as before, and the filters are gone.
        let _client = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(waiting(&sockets[2]), Ok(1));
        assert!(fds.iter().all(|socket| option(*socket, libc::SO_GET_FILTER, &mut [0; 0]) == Ok(0)));
    }

    #[test]
    fn own_filter_of_a_program_is_left_alone() {
        let (sockets, _) = group_at([127, 0, 0, 1].into(), 1);
        attach(&sockets[0], libc::SO_ATTACH_FILTER, vec![instruction(libc::BPF_RET | libc::BPF_K, 0, u32::MAX)]).unwrap();
        assert_eq!(order(&[sockets[0].as_fd()], &[]), Err(Errno::BUSY));
        assert_eq!(order(&[], &[]), Err(Errno::INVAL));
        let alone = OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        assert!(order(&[alone.as_fd()], &[]).is_err());
    }
}
