//! Groups of listening sockets of one address (`SO_REUSEPORT`), and the choice which of them get
//! new connections.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Maximum number of sockets to choose from: a program has at most 4096 instructions.
pub const MAX_ACTIVE: usize = 2000;

/// Sends each new connection from now on to a random socket out of the `active` ones of the group
/// that `socket` belongs to. The numbers count from 0 in the order in which the sockets started to
/// listen (valid as long as none is closed). Needs no privilege.
///
/// # Errors
/// Returns `EINVAL` for an empty or too long list, or if the socket is in no group. Returns
/// `ENOPROTOOPT` before Linux 4.5, and `ENOMEM`.
pub fn steer(socket: impl AsFd, active: &[u32]) -> Result<(), Errno> {
    if active.is_empty() || active.len() > MAX_ACTIVE {
        return Err(Errno::INVAL);
    }
    let mut program = program(active);
    let description = libc::sock_fprog { len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?, filter: program.as_mut_ptr() };
    // SAFETY: the description and the program that it points to outlive the call, which copies
    // them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
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

/// Returns the program `active[random() % active.len()]` in the instructions of `linux/filter.h`.
fn program(active: &[u32]) -> Vec<libc::sock_filter> {
    /// Offset that stands for a random number (`SKF_AD_OFF + SKF_AD_RANDOM`).
    const RANDOM: u32 = (-0x1000_i32 + 56) as u32;
    let instruction = |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut program = vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, RANDOM),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, active.len() as u32),
    ];
    for (number, socket) in active.iter().enumerate() {
        program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number as u32));
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, *socket));
    }
    // Unreachable, but a program has to end with a return.
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, active[0]));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpStream};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};

    fn group(size: usize) -> (Vec<std::os::fd::OwnedFd>, SocketAddr) {
        let mut address: SocketAddr = ([127, 0, 0, 1], 0).into();
        let sockets = (0..size)
            .map(|_| {
                let socket =
                    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap();
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
            let mut counts = [0_usize; 4];
            for (socket, count) in sockets.iter().zip(&mut counts) {
                while crate::net::socket::accept(socket).unwrap().is_some() {
                    *count += 1;
                }
            }
            drop(clients);
            let even = 200 / active.len();
            for (socket, count) in counts.iter().enumerate() {
                let wanted = active.contains(&(socket as u32));
                assert!(if wanted { *count > even / 2 } else { *count == 0 }, "{counts:?} of {active:?}");
            }
        }
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
    }
}
