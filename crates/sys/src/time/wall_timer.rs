//! A timer on the wall clock.
//!
//! It uses libc, like [`crate::time::clock::now`]: tests and tools (faketime) then affect both in
//! the same way.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Timer that becomes readable when the wall clock reaches a given time, and when that clock is
/// set.
#[derive(Debug)]
pub struct WallTimer {
    fd: OwnedFd,
}

impl WallTimer {
    /// Creates a timer that is not set yet.
    ///
    /// # Errors
    /// Returns an error if no descriptor is free.
    pub fn new() -> io::Result<Self> {
        // SAFETY: two numbers.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that has no other owner.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Sets the timer, replacing any former time. A time in the past expires immediately.
    ///
    /// # Errors
    /// Returns an error if the time exceeds the system's range.
    pub fn set(&self, wall_ms: u64) -> io::Result<()> {
        let time = libc::timespec {
            tv_sec: (wall_ms / 1000).try_into().map_err(io::Error::other)?,
            // Zero for both fields would switch the timer off.
            tv_nsec: libc::c_long::try_from(wall_ms % 1000 * 1_000_000).map_err(io::Error::other)?.max(1),
        };
        let setting = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: time };
        let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        // SAFETY: the descriptor is a timer's, the pointer is to a valid setting, and the former
        // setting is not requested.
        let set = unsafe { libc::timerfd_settime(self.fd.as_raw_fd(), flags, &raw const setting, std::ptr::null_mut()) };
        // ECANCELED means that the clock was set since the last read. This is not a failure: the
        // timer is set.
        match io::Error::last_os_error() {
            error if set < 0 && error.raw_os_error() != Some(libc::ECANCELED) => Err(error),
            _ => Ok(()),
        }
    }

    /// Clears the readable state. In both cases, the caller then has to check the clock.
    pub fn take(&self) {
        let mut count = [0_u8; 8];
        // The count is irrelevant.
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
    fn wall_timer_expires_at_its_time() {
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
