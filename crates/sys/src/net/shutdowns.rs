//! Watch of listening sockets for `shutdown(2)`.
//!
//! A process that shuts down a listening socket stops it for all processes that hold a copy. The
//! connections in its queue are reset. A TCP socket leaves its group (`SO_REUSEPORT`), and the last
//! socket of the group takes its position.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Most sockets per call of the kernel.
const BATCH: usize = 64;

/// Listening sockets that are watched. Its descriptor is readable when one has stopped listening.
#[derive(Debug)]
pub struct ShutdownWatch(OwnedFd);

impl ShutdownWatch {
    /// Creates an empty watch.
    ///
    /// # Errors
    /// Returns `EMFILE` or `ENFILE`.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Watches a listening socket. Its connections cause no wakeup. A socket that does not listen
    /// counts as shut down.
    ///
    /// # Errors
    /// Returns `EEXIST` if it is watched already, `ENOSPC` and `ENOMEM`.
    pub fn add(&self, socket: impl AsFd) -> Result<(), Errno> {
        let number = u64::try_from(socket.as_fd().as_raw_fd()).map_err(|_| Errno::BADF)?;
        // `HUP` is always reported. `RDHUP` is for unix sockets: their two directions can be shut
        // down separately.
        epoll::add(&self.0, socket, EventData::new_u64(number), EventFlags::RDHUP | EventFlags::ET)
    }

    /// Stops watching. Call it before the descriptor is closed, because other processes may hold the
    /// socket.
    pub fn remove(&self, socket: impl AsFd) {
        // It is no error if the socket was not watched.
        let _ = epoll::delete(&self.0, socket);
    }

    /// Returns the numbers of the descriptors of sockets that were shut down since the last call.
    /// The order is not always that of the calls: two processes may be simultaneous.
    pub fn take(&self) -> Vec<RawFd> {
        let mut taken = Vec::new();
        loop {
            let mut events: Vec<Event> = Vec::with_capacity(BATCH);
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let found = epoll::wait(&self.0, rustix::buffer::spare_capacity(&mut events), Some(&at_once));
            taken.extend(events.iter().filter_map(|event| RawFd::try_from(event.data.u64()).ok()));
            match found {
                Err(Errno::INTR) => {}
                Ok(BATCH) => {}
                Ok(_) | Err(_) => return taken,
            }
        }
    }
}

impl AsFd for ShutdownWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::net::{Shutdown, shutdown};

    fn is_readable(watch: &ShutdownWatch) -> bool {
        let mut polled = [PollFd::new(watch, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn only_a_shutdown_is_reported_and_only_once() {
        let watch = ShutdownWatch::new().unwrap();
        let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let copies: Vec<OwnedFd> = listeners.iter().map(|listener| listener.try_clone().unwrap().into()).collect();
        copies.iter().for_each(|copy| watch.add(copy).unwrap());
        let _waits = TcpStream::connect(listeners[0].local_addr().unwrap()).unwrap();
        // A shutdown of the sending side has no effect.
        shutdown(&listeners[1], Shutdown::Write).unwrap();
        assert!(!is_readable(&watch) && watch.take().is_empty());
        shutdown(&listeners[1], Shutdown::Read).unwrap();
        shutdown(&listeners[0], Shutdown::Both).unwrap();
        assert!(is_readable(&watch));
        assert_eq!(watch.take(), [copies[1].as_raw_fd(), copies[0].as_raw_fd()]);
        assert!(!is_readable(&watch) && watch.take().is_empty());
        watch.remove(&copies[2]);
        shutdown(&listeners[2], Shutdown::Both).unwrap();
        assert!(watch.take().is_empty());
    }

    #[test]
    fn shutdown_of_a_unix_socket_is_reported() {
        for (how, name) in [(Shutdown::Read, "read"), (Shutdown::Both, "both")] {
            let path = std::env::temp_dir().join(format!("ostler-shutdown-{name}-{}", std::process::id()));
            let listener = UnixListener::bind(&path).unwrap();
            let copy = OwnedFd::from(listener.try_clone().unwrap());
            let watch = ShutdownWatch::new().unwrap();
            watch.add(&copy).unwrap();
            let _waits = std::os::unix::net::UnixStream::connect(&path).unwrap();
            assert!(watch.take().is_empty());
            shutdown(&listener, how).unwrap();
            assert_eq!(watch.take(), [copy.as_raw_fd()], "{name}");
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn socket_that_was_shut_down_before_is_reported() {
        let watch = ShutdownWatch::new().unwrap();
        let listener = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        shutdown(&listener, Shutdown::Both).unwrap();
        watch.add(&listener).unwrap();
        assert_eq!(watch.take(), [listener.as_raw_fd()]);
    }
}
