//! A timer on the wall clock.
//!
//! By libc, as [`crate::time::clock::now`]: tests and tools (faketime) then show both the same wall clock.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Timer that becomes readable when the wall clock shows a given time, and when somebody sets that clock.
#[derive(Debug)]
pub struct WallTimer {
    fd: OwnedFd,
}

impl WallTimer {
    /// A timer that is not set yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: two numbers.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else has.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Sets it, in place of any former time. A time that is past has come at once.
    ///
    /// # Errors
    /// The time is beyond what the system can count.
    pub fn set(&self, wall_ms: u64) -> io::Result<()> {
        let time = libc::timespec {
            tv_sec: (wall_ms / 1000).try_into().map_err(io::Error::other)?,
            // Zero as a whole would switch it off.
            tv_nsec: libc::c_long::try_from(wall_ms % 1000 * 1_000_000).map_err(io::Error::other)?.max(1),
        };
        let setting = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: time };
        let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        // SAFETY: the descriptor is a timer's, the pointer is to a valid setting, and the former one is not asked for.
        let set = unsafe { libc::timerfd_settime(self.fd.as_raw_fd(), flags, &raw const setting, std::ptr::null_mut()) };
        // The clock was set since the last look, which is no failure: the timer is set.
        match io::Error::last_os_error() {
            error if set < 0 && error.raw_os_error() != Some(libc::ECANCELED) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes what made it readable: either way, look at the clock.
    pub fn take(&self) {
        let mut count = [0_u8; 8];
        // What it says is of no interest.
        let _ = rustix::io::read(&self.fd, &mut count);
    }
}

impl AsFd for WallTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn readable(timer: &WallTimer, seconds: i64) -> bool {
        let mut fds = [PollFd::new(timer, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn it_comes_in_time() {
        let timer = WallTimer::new().unwrap();
        assert!(!readable(&timer, 0));
        let now_ms = crate::now().wall_ms;
        timer.set(now_ms + 3_600_000).unwrap();
        assert!(!readable(&timer, 0));
        for past in [0, 1, now_ms - 1, now_ms + 20] {
            timer.set(past).unwrap();
            assert!(readable(&timer, 60), "{past}");
            assert!(crate::now().wall_ms >= past);
            timer.take();
            assert!(!readable(&timer, 0));
        }
    }
}
