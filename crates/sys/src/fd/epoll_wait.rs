//! Waiting for the events of an epoll descriptor, also in sandboxes that refuse the usual call.

use std::os::fd::{AsFd, AsRawFd};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::process::{is_refusal, last_errno};

/// Waits for events, like `rustix::event::epoll::wait`, which uses `epoll_pwait`. If a sandbox
/// refuses that call, the call from before it (x86_64) or after it is used. Replaces the contents of
/// `events`, at most up to its capacity.
///
/// # Errors
/// Returns `EINTR`, or the refusal if all of these calls are refused.
pub fn wait(epoll: impl AsFd, events: &mut Vec<epoll::Event>, timeout: Option<&Timespec>) -> Result<(), Errno> {
    events.clear();
    match epoll::wait(&epoll, rustix::buffer::spare_capacity(events), timeout) {
        Err(errno) if is_refusal(errno) => {
            wait_by_other_call(epoll, events, timeout).map_err(|other| if is_refusal(other) { errno } else { other })
        }
        waited => waited.map(drop),
    }
}

fn wait_by_other_call(epoll: impl AsFd, events: &mut Vec<epoll::Event>, timeout: Option<&Timespec>) -> Result<(), Errno> {
    let mut found = vec![libc::epoll_event { events: 0, u64: 0 }; events.capacity().max(1)];
    let (number, most) = (epoll.as_fd().as_raw_fd(), libc::c_int::try_from(found.len()).unwrap_or(libc::c_int::MAX));
    #[cfg(target_arch = "x86_64")]
    let count = {
        // Rounded up, so that a wait for a deadline does not end before it.
        let to_ms = |time: &Timespec| time.tv_sec.saturating_mul(1000).saturating_add((time.tv_nsec + 999_999) / 1_000_000);
        let timeout = timeout.map_or(-1, |time| libc::c_int::try_from(to_ms(time)).unwrap_or(libc::c_int::MAX));
        // SAFETY: the buffer has room for that many events.
        unsafe { libc::syscall(libc::SYS_epoll_wait, number, found.as_mut_ptr(), most, timeout) }
    };
    #[cfg(not(target_arch = "x86_64"))]
    let count = {
        let timeout = timeout.map(|time| libc::timespec { tv_sec: time.tv_sec as _, tv_nsec: time.tv_nsec as _ });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let no_mask = std::ptr::null::<libc::sigset_t>();
        // SAFETY: the buffer has room for that many events, and the time is null or alive.
        unsafe { libc::syscall(libc::SYS_epoll_pwait2, number, found.as_mut_ptr(), most, timeout, no_mask, 8usize) }
    };
    if count < 0 {
        return Err(last_errno());
    }
    let event = |found: libc::epoll_event| epoll::Event {
        flags: epoll::EventFlags::from_bits_retain(found.events),
        data: epoll::EventData::new_u64(found.u64),
    };
    events.extend(found.into_iter().take(usize::try_from(count).unwrap_or(0)).map(event));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_call_reports_the_same_events() {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        epoll::add(&epoll, &reader, epoll::EventData::new_u64(7), epoll::EventFlags::IN).unwrap();
        let mut events = Vec::with_capacity(4);
        let nothing = Timespec { tv_sec: 0, tv_nsec: 1 };
        wait_by_other_call(&epoll, &mut events, Some(&nothing)).unwrap();
        assert!(events.is_empty());
        rustix::io::write(&writer, b"x").unwrap();
        wait_by_other_call(&epoll, &mut events, None).unwrap();
        let mut usual = Vec::with_capacity(4);
        wait(&epoll, &mut usual, None).unwrap();
        for events in [events, usual] {
            let [event] = events.as_slice() else { panic!("{}", events.len()) };
            assert!(event.flags.contains(epoll::EventFlags::IN) && event.data.u64() == 7);
        }
    }
}
