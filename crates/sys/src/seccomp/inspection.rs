//! Copies the arguments of a call of `bind`: the address in the memory of the process, and the socket.
//!
//! The kernel permits a process to make these copies if it may trace the caller. Under Yama
//! (`kernel.yama.ptrace_scope` = 1), an ordinary user may trace descendants only. The daemon is a
//! sibling of the apps, so it asks their ancestor, the keeper ([`copy_in_thread`]).
//!
//! The process may be hostile. Reading its memory may block without end (a page of a file system
//! that it serves itself), so a copy is made in a thread that may be given up. Only the copy may be
//! used for decisions, because the process can change its memory at any time.

use std::fs::File;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::fd::fdpass;
use crate::memory;
use crate::process::{is_refusal, last_errno};

/// Most bytes of an address.
const ADDRESS_BYTES: usize = size_of::<libc::sockaddr_in6>();
/// Most threads that make copies. A hostile process can make its threads hang.
const MOST_THREADS: usize = 16;
/// Stack of such a thread.
const STACK_BYTES: usize = 64 << 10;
/// Number of times to wait for threads that are about to finish.
const TRIES: usize = 1000;

/// Number of threads that make copies.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Call of `bind` that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindCall {
    /// Id of the thread that made the call.
    pub thread: i32,
    /// Id of its process.
    pub pid: i32,
    /// Descriptor of the socket.
    pub fd: RawFd,
    /// Address of the socket address, in the memory of the process.
    pub address: u64,
    /// Length of the socket address.
    pub length: u32,
}

/// Arguments of a call.
#[derive(Debug)]
pub struct BindCopies {
    /// The address. Errors: `EPERM` or `ENOSYS` if its memory must not be read, `EFAULT` if the
    /// memory is not mapped.
    pub address: Result<AddressBytes, Errno>,
    /// Another descriptor of the socket. Errors: `EBADF` if the process has no such descriptor,
    /// `EPERM` if a sandbox forbids it or the process belongs to another user, `ENOSYS` before
    /// Linux 5.6.
    pub socket: Result<OwnedFd, Errno>,
}

/// Bytes of a socket address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressBytes {
    bytes: [u8; ADDRESS_BYTES],
    length: usize,
}

impl BindCall {
    /// Makes the copies. May block as long as the process exists.
    pub fn copy(&self) -> BindCopies {
        BindCopies { address: self.read_address(), socket: self.copy_socket() }
    }

    fn read_address(&self) -> Result<AddressBytes, Errno> {
        let mut bytes = [0_u8; ADDRESS_BYTES];
        let length = bytes.len().min(self.length as usize);
        let part = bytes.get_mut(..length).ok_or(Errno::INVAL)?;
        match self.read_memory(part) {
            Err(errno) if is_refusal(errno) => self.read_file(part).map_err(|error| error.unwrap_or(errno))?,
            read => read?,
        }
        Ok(AddressBytes { bytes, length })
    }

    /// Reads by the system call for that. A signal that kills this process ends the wait in most
    /// cases.
    fn read_memory(&self, part: &mut [u8]) -> Result<(), Errno> {
        let length = part.len();
        let ours = libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: length };
        let theirs = libc::iovec { iov_base: self.address as *mut libc::c_void, iov_len: length };
        // SAFETY: the kernel writes at most `length` bytes to our buffer, and checks their address.
        let read = unsafe { libc::process_vm_readv(self.thread, &raw const ours, 1, &raw const theirs, 1, 0) };
        if read < 0 {
            return Err(last_errno());
        }
        if read.unsigned_abs() == length { Ok(()) } else { Err(Errno::FAULT) }
    }

    /// Reads the file of the memory: sandboxes that refuse the system call (Docker 20.10) permit
    /// that. It needs the same rights. `None` = it is refused, too.
    fn read_file(&self, part: &mut [u8]) -> Result<(), Option<Errno>> {
        let file = File::open(format!("/proc/{}/mem", self.thread)).map_err(|_| None)?;
        // The only other error is `EIO`: the memory is not mapped.
        file.read_exact_at(part, self.address).map_err(|_| Some(Errno::FAULT))
    }

    fn copy_socket(&self) -> Result<OwnedFd, Errno> {
        if self.fd < 0 {
            return Err(Errno::BADF);
        }
        let pidfd = pidfd_open(Pid::from_raw(self.pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
        pidfd_getfd(&pidfd, self.fd, PidfdGetfdFlags::empty())
    }
}

/// Makes the copies in a thread, and sends them to `answer`. If that is impossible, the other side
/// finds the end of the socket. Never blocks.
pub fn copy_in_thread(call: BindCall, answer: OwnedFd) {
    memory::one_heap();
    let work = move || {
        call.copy().send(&answer);
        drop(answer);
        THREADS.fetch_sub(1, Ordering::Relaxed);
    };
    if THREADS.fetch_add(1, Ordering::Relaxed) >= MOST_THREADS || std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).is_err() {
        THREADS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns true if a thread makes copies in this process, and does not finish at once.
pub fn is_copying() -> bool {
    let mut tries = 0..TRIES;
    while copying_threads() > 0 {
        if tries.next().is_none() {
            return true;
        }
        rustix::thread::sched_yield();
    }
    false
}

/// Returns the number of threads that make copies in this process. They hold no lock except those
/// of the C library.
pub(crate) fn copying_threads() -> usize {
    THREADS.load(Ordering::Relaxed)
}

impl BindCopies {
    /// Sends the copies as one packet: two errnos, the bytes of the address, and the descriptor.
    fn send(&self, to: &OwnedFd) {
        let errno = |error: Option<&Errno>| error.map_or(0, |errno| errno.raw_os_error()).to_ne_bytes();
        let (address, socket) = (errno(self.address.as_ref().err()), errno(self.socket.as_ref().err()));
        let bytes = self.address.as_ref().map(AddressBytes::used).unwrap_or_default();
        let parts = [IoSlice::new(&address), IoSlice::new(&socket), IoSlice::new(bytes)];
        let fd = self.socket.as_ref().ok().map(AsFd::as_fd);
        // The other side may have given up.
        let _ = fdpass::send(to, &parts, fd.as_slice());
    }

    /// Receives the copies that another process makes.
    ///
    /// # Errors
    /// Returns `ETIMEDOUT` if they do not arrive within this time, and `EPIPE` if they will not.
    pub fn receive(from: &OwnedFd, within_ms: u64) -> Result<Self, Errno> {
        const ERRNO: usize = size_of::<i32>();
        let within = Timespec { tv_sec: (within_ms / 1000).cast_signed(), tv_nsec: (within_ms % 1000 * 1_000_000) as _ };
        if rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&within)))? == 0 {
            return Err(Errno::TIMEDOUT);
        }
        let (mut packet, mut fds) = ([0; 2 * ERRNO + ADDRESS_BYTES], Vec::new());
        let received = fdpass::recv(from, &mut packet, &mut fds)?;
        let packet = packet.get(..received.len).ok_or(Errno::PIPE)?;
        let (address, rest) = packet.split_first_chunk::<ERRNO>().ok_or(Errno::PIPE)?;
        let (socket, rest) = rest.split_first_chunk::<ERRNO>().ok_or(Errno::PIPE)?;
        let result = |errno: &[u8; ERRNO]| match i32::from_ne_bytes(*errno) {
            0 => Ok(()),
            errno => Err(Errno::from_raw_os_error(errno)),
        };
        Ok(Self {
            address: result(address).map(|()| AddressBytes::new(rest)),
            socket: result(socket).and_then(|()| fds.pop().ok_or(Errno::MFILE)),
        })
    }
}

impl AddressBytes {
    fn new(used: &[u8]) -> Self {
        let mut bytes = [0; ADDRESS_BYTES];
        bytes.iter_mut().zip(used).for_each(|(to, from)| *to = *from);
        Self { bytes, length: used.len().min(ADDRESS_BYTES) }
    }

    fn used(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Returns the address, a `struct sockaddr`. `None` = neither IPv4 nor IPv6.
    ///
    /// # Errors
    /// Returns `EINVAL` if it is too short for its family.
    pub fn parse(&self) -> Result<Option<SocketAddr>, Errno> {
        fn at<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], Errno> {
            bytes.get(offset..offset + N).and_then(|part| part.try_into().ok()).ok_or(Errno::INVAL)
        }
        let bytes = self.used();
        let family = u16::from_ne_bytes(at(bytes, 0)?);
        match i32::from(family) {
            libc::AF_INET => {
                let (port, address) = (u16::from_be_bytes(at(bytes, 2)?), Ipv4Addr::from(at::<4>(bytes, 4)?));
                Ok(Some(SocketAddr::new(IpAddr::V4(address), port)))
            }
            libc::AF_INET6 => {
                let (port, address) = (u16::from_be_bytes(at(bytes, 2)?), Ipv6Addr::from(at::<16>(bytes, 8)?));
                // Old programs leave the scope out.
                let scope = at(bytes, 24).map_or(0, u32::from_ne_bytes);
                Ok(Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope))))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use crate::net::socket::packet_pair;

    const PATIENCE_MS: u64 = 60_000;

    fn call(fd: RawFd, address: u64, length: u32) -> BindCall {
        // SAFETY: both return a number.
        let (thread, pid) = unsafe { (libc::gettid(), libc::getpid()) };
        BindCall { thread, pid, fd, address, length }
    }

    #[test]
    fn addresses_are_read_from_any_bytes() {
        let parse = |bytes: &[u8]| AddressBytes::new(bytes).parse();
        let v4 = [&(libc::AF_INET as u16).to_ne_bytes()[..], &[0x1f, 0x90, 127, 0, 0, 1], &[0; 8]].concat();
        assert_eq!(parse(&v4), Ok(Some("127.0.0.1:8080".parse().unwrap())));
        assert_eq!(parse(&v4[..7]), Err(Errno::INVAL));
        let mut v6 = [&(libc::AF_INET6 as u16).to_ne_bytes()[..], &[0, 80], &[0; 24]].concat();
        v6[23] = 1;
        assert_eq!(parse(&v6), Ok(Some("[::1]:80".parse().unwrap())));
        assert_eq!(parse(&v6[..24]), Ok(Some("[::1]:80".parse().unwrap())));
        assert_eq!(parse(&v6[..23]), Err(Errno::INVAL));
        assert_eq!(parse(&(libc::AF_UNIX as u16).to_ne_bytes()), Ok(None));
        assert_eq!(parse(&[1]), Err(Errno::INVAL));
        assert_eq!(parse(&[]), Err(Errno::INVAL));
    }

    #[test]
    fn memory_of_a_process_is_read_within_its_bounds() {
        let bytes = [&(libc::AF_INET as u16).to_ne_bytes()[..], &[0, 80, 1, 2, 3, 4], &[0; 20]].concat();
        let read = |address, length| call(-1, address, length).copy().address.and_then(|bytes| bytes.parse());
        let address = bytes.as_ptr() as u64;
        for length in [8, 16, 28, 4000] {
            assert_eq!(read(address, length), Ok(Some("1.2.3.4:80".parse().unwrap())), "{length}");
        }
        assert_eq!(read(address, 1), Err(Errno::INVAL));
        assert_eq!(read(8, 16), Err(Errno::FAULT));
        let (mut by_call, mut by_file) = ([0; 8], [0; 8]);
        call(-1, address, 8).read_memory(&mut by_call).unwrap();
        call(-1, address, 8).read_file(&mut by_file).unwrap();
        assert_eq!((&by_call[..], &by_file[..]), (&bytes[..8], &bytes[..8]));
        assert_eq!(call(-1, 8, 8).read_file(&mut by_file), Err(Some(Errno::FAULT)));
    }

    #[test]
    fn copies_of_a_thread_arrive_with_their_errors() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let copied = |fd, address: u64| {
            let (ours, theirs) = packet_pair().unwrap();
            copy_in_thread(call(fd, address, 8), theirs);
            BindCopies::receive(&ours, PATIENCE_MS).unwrap()
        };
        let bytes = [&(libc::AF_INET as u16).to_ne_bytes()[..], &[0, 80, 1, 2, 3, 4]].concat();
        let copies = copied(listener.as_raw_fd(), bytes.as_ptr() as u64);
        assert_eq!(copies.address.unwrap().parse(), Ok(Some("1.2.3.4:80".parse().unwrap())));
        assert_eq!(TcpListener::from(copies.socket.unwrap()).local_addr().unwrap(), listener.local_addr().unwrap());
        let copies = copied(-1, 8);
        assert_eq!((copies.address, copies.socket.err()), (Err(Errno::FAULT), Some(Errno::BADF)));
        assert!(!is_copying());
    }

    #[test]
    fn missing_answers_are_errors() {
        let (ours, theirs) = packet_pair().unwrap();
        assert_eq!(BindCopies::receive(&ours, 0).err(), Some(Errno::TIMEDOUT));
        drop(theirs);
        assert_eq!(BindCopies::receive(&ours, PATIENCE_MS).err(), Some(Errno::PIPE));
    }
}
