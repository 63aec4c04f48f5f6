//! The two clocks, and the identity of the current boot.

use std::fs::Metadata;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::time::Clocks;

/// Reads both clocks.
pub fn now() -> Clocks {
    let read = || Clocks { boot_ms: read_ms(libc::CLOCK_BOOTTIME), wall_ms: read_ms(libc::CLOCK_REALTIME) };
    crate::simulated::ask(|kernel| kernel.clocks()).unwrap_or_else(read)
}

/// Returns `CLOCK_BOOTTIME` in milliseconds.
pub fn boot_ms() -> u64 {
    crate::simulated::ask(|kernel| kernel.clocks().boot_ms).unwrap_or_else(|| read_ms(libc::CLOCK_BOOTTIME))
}

/// Returns `CLOCK_BOOTTIME`, for durations below a millisecond.
pub fn boot() -> Duration {
    crate::simulated::ask(|kernel| Duration::from_millis(kernel.clocks().boot_ms)).unwrap_or_else(|| read(libc::CLOCK_BOOTTIME))
}

/// Returns the time when a file, or the link that leads to it, was last changed, in milliseconds
/// since the epoch. `None` means that there is no file.
pub fn file_changed_ms(path: &Path) -> Option<u64> {
    let changed = |meta: io::Result<Metadata>| meta.ok().and_then(|meta| since_epoch_ms(meta.ctime(), meta.ctime_nsec()));
    crate::simulated::ask(|kernel| kernel.changed_ms(path))
        .flatten()
        .or_else(|| changed(path.symlink_metadata()).max(changed(path.metadata())))
}

/// Returns the time when a folder last got or lost a name, in milliseconds since the epoch. `None`
/// means that there is no folder.
pub fn names_changed_ms(folder: &Path) -> Option<u64> {
    let changed = || folder.metadata().ok().and_then(|meta| since_epoch_ms(meta.mtime(), meta.mtime_nsec()));
    crate::simulated::ask(|kernel| kernel.changed_ms(folder)).flatten().or_else(changed)
}

fn since_epoch_ms(seconds: i64, nanos: i64) -> Option<u64> {
    u64::try_from(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)).ok()
}

/// Returns the maximum lag, in milliseconds, of the clock that the kernel uses for change times of
/// files.
pub fn file_tick_ms() -> u64 {
    /// Lag of a kernel with 250 ticks a second.
    const PLAYED_MS: u64 = 5;
    crate::simulated::ask(|_| PLAYED_MS).unwrap_or_else(kernel_tick_ms)
}

fn kernel_tick_ms() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: as in `read`.
    let time = unsafe {
        libc::clock_getres(libc::CLOCK_REALTIME_COARSE, time.as_mut_ptr());
        time.assume_init()
    };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    // Reading in milliseconds loses up to one more on each clock.
    seconds * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0).div_ceil(1_000_000) + 1
}

/// Reads a clock through libc, as the standard library does: tests and tools (faketime) then affect
/// both in the same way.
fn read_ms(clock: libc::clockid_t) -> u64 {
    let time = read(clock);
    time.as_secs() * 1000 + u64::from(time.subsec_millis())
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is to a timespec, for which zero is a valid value; it stays zero if the
    // clock is missing.
    let time = unsafe {
        libc::clock_gettime(clock, time.as_mut_ptr());
        time.assume_init()
    };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Returns the kernel's random id of this boot, as text. Pids and boot times are only comparable
/// within the same boot. `None` means that the file is hidden.
pub fn boot_id() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// Returns whether the kernel considers the clock of this machine synchronized, or `None` if the
/// kernel does not report it.
pub fn is_synchronized() -> Option<bool> {
    // SAFETY: a plain structure of numbers, for which zero is a value.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: without modes it only reads, into a structure that lives.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    (answer >= 0).then_some(state.status & libc::STA_UNSYNC == 0)
}

/// Returns the clock ticks per second, the unit of times in `/proc/<pid>/stat`.
pub fn ticks_per_second() -> u64 {
    // SAFETY: reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1)
}

/// Converts a start time in ticks to `CLOCK_BOOTTIME` milliseconds.
pub fn ticks_to_ms(ticks: u64) -> u64 {
    ticks.saturating_mul(1000) / ticks_per_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_start_time_is_in_the_past() {
        let started = ticks_to_ms(crate::ProcRef::me().start_ticks);
        let now = now();
        assert!(started > 0 && started <= now.boot_ms, "{started} {now:?}");
        assert!(now.wall_ms > now.boot_ms);
    }
}
