//! The two clocks, and which boot this is.

use std::fs::Metadata;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::time::Clocks;

/// Both clocks now.
pub fn now() -> Clocks {
    let read = || Clocks { boot_ms: read_ms(libc::CLOCK_BOOTTIME), wall_ms: read_ms(libc::CLOCK_REALTIME) };
    crate::played::ask(|kernel| kernel.clocks()).unwrap_or_else(read)
}

/// `CLOCK_BOOTTIME` in milliseconds.
pub fn boot_ms() -> u64 {
    crate::played::ask(|kernel| kernel.clocks().boot_ms).unwrap_or_else(|| read_ms(libc::CLOCK_BOOTTIME))
}

/// `CLOCK_BOOTTIME`, for what takes less than milliseconds.
pub fn boot() -> Duration {
    crate::played::ask(|kernel| Duration::from_millis(kernel.clocks().boot_ms)).unwrap_or_else(|| read(libc::CLOCK_BOOTTIME))
}

/// Time when a file was last changed, or the link by which it is known, in milliseconds since the epoch. None: there is no file.
pub fn file_changed_ms(path: &Path) -> Option<u64> {
    let changed = |meta: io::Result<Metadata>| meta.ok().and_then(|meta| since_epoch_ms(meta.ctime(), meta.ctime_nsec()));
    crate::played::ask(|kernel| kernel.changed_ms(path))
        .flatten()
        .or_else(|| changed(path.symlink_metadata()).max(changed(path.metadata())))
}

/// Time when a folder last got or lost a name, in milliseconds since the epoch. None: there is no folder.
pub fn names_changed_ms(folder: &Path) -> Option<u64> {
    let changed = || folder.metadata().ok().and_then(|meta| since_epoch_ms(meta.mtime(), meta.mtime_nsec()));
    crate::played::ask(|kernel| kernel.changed_ms(folder)).flatten().or_else(changed)
}

fn since_epoch_ms(seconds: i64, nanos: i64) -> Option<u64> {
    u64::try_from(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)).ok()
}

/// Lag of the clock by which the kernel dates changes of files, in milliseconds, at most.
pub fn file_tick_ms() -> u64 {
    /// Of a kernel with 250 ticks a second.
    const PLAYED_MS: u64 = 5;
    crate::played::ask(|_| PLAYED_MS).unwrap_or_else(kernel_tick_ms)
}

fn kernel_tick_ms() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: as in `read`.
    let time = unsafe {
        libc::clock_getres(libc::CLOCK_REALTIME_COARSE, time.as_mut_ptr());
        time.assume_init()
    };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    // Read in milliseconds, both clocks lose up to one more.
    seconds * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0).div_ceil(1_000_000) + 1
}

/// By libc, as the standard library does: tests and tools (faketime) then show both the same wall clock.
fn read_ms(clock: libc::clockid_t) -> u64 {
    let time = read(clock);
    time.as_secs() * 1000 + u64::from(time.subsec_millis())
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is to a timespec, for which zero is a valid value; should the clock be missing it stays that.
    let time = unsafe {
        libc::clock_gettime(clock, time.as_mut_ptr());
        time.assume_init()
    };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The kernel's random id of this boot, as text: pids and boot times are only comparable while it is the same. `None` where the
/// file is hidden.
pub fn boot_id() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// Whether somebody keeps the clock of this machine right, as far as the kernel knows; none where it does not say.
pub fn is_synchronized() -> Option<bool> {
    // SAFETY: a plain structure of numbers, for which zero is a value.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: without modes it only reads, into a structure that lives.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    (answer >= 0).then_some(state.status & libc::STA_UNSYNC == 0)
}

/// Clock ticks per second, the unit of times in `/proc/<pid>/stat`.
pub fn ticks_per_second() -> u64 {
    // SAFETY: reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1)
}

/// A start time in ticks as `CLOCK_BOOTTIME` milliseconds.
pub fn ticks_to_ms(ticks: u64) -> u64 {
    ticks.saturating_mul(1000) / ticks_per_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_start_is_in_the_past() {
        let started = ticks_to_ms(crate::ProcRef::me().start_ticks);
        let now = now();
        assert!(started > 0 && started <= now.boot_ms, "{started} {now:?}");
        assert!(now.wall_ms > now.boot_ms);
    }
}
