//! Metrics of the whole machine: processors, memory, network, disks, file systems. Each call
//! returns one sample; callers compute rates from two.

use std::fs;
use std::io;
use std::path::Path;

/// Size of a sector in `/proc/diskstats` in bytes, independent of the disk.
const SECTOR: u64 = 512;
/// Maximum number of mounts in a sample.
const MOST_MOUNTS: usize = 64;

/// One measurement of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSample {
    /// Time of all processors together, in ticks: total, and busy (not idle).
    pub cpu_ticks: (u64, u64),
    /// Memory in bytes: total, and still available to programs.
    pub memory_bytes: (u64, u64),
    /// Network interfaces in the kernel's order.
    pub interfaces: Vec<Interface>,
    /// Bytes read from and written to disks.
    pub disk_bytes: (u64, u64),
    /// File systems on disks, each listed once.
    pub mounts: Vec<Mount>,
}

/// Traffic of a network interface since its creation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Received and sent bytes.
    pub bytes: (u64, u64),
    /// Errors of both directions.
    pub errors: (u64, u64),
    /// Dropped packets of both directions.
    pub dropped: (u64, u64),
}

/// A file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Its path.
    pub path: String,
    /// Bytes: total and used.
    pub bytes: (u64, u64),
    /// Bytes that users other than root can still write.
    pub available_bytes: u64,
}

impl HostSample {
    /// Takes a sample. Values that the kernel does not provide stay empty.
    pub fn take() -> Self {
        Self::below(Path::new("/"))
    }

    /// Samples processors, memory and the root file system only; cheap enough for every second.
    pub fn brief() -> Self {
        let text = |name: &str| read(Path::new(name)).unwrap_or_default();
        Self {
            cpu_ticks: cpu(&text("/proc/stat")),
            memory_bytes: memory(&text("/proc/meminfo")),
            mounts: Mount::mount_at("/".to_owned()).into_iter().collect(),
            ..Self::default()
        }
    }

    /// [`HostSample::take`] with another root for `proc` and `sys`, for tests.
    pub fn below(root: &Path) -> Self {
        let text = |name: &str| read(&root.join(name)).unwrap_or_default();
        let is_disk = |name: &str| root.join("sys/block").join(name.replace('/', "!")).exists();
        Self {
            cpu_ticks: cpu(&text("proc/stat")),
            memory_bytes: memory(&text("proc/meminfo")),
            interfaces: interfaces(&text("proc/net/dev")),
            disk_bytes: disks(&text("proc/diskstats"), is_disk),
            mounts: mounts(&text("proc/self/mounts")).into_iter().filter_map(Mount::mount_at).collect(),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

fn cpu(stat: &str) -> (u64, u64) {
    let Some(line) = stat.lines().find_map(|line| line.strip_prefix("cpu ")) else { return (0, 0) };
    // user nice system idle iowait irq softirq steal. The time of guests is already part of user.
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(|word| word.parse().unwrap_or(0)).collect();
    let all: u64 = ticks.iter().sum();
    let idle = ticks.get(3).unwrap_or(&0) + ticks.get(4).unwrap_or(&0);
    (all, all - idle)
}

fn memory(meminfo: &str) -> (u64, u64) {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let free = || Some(field("MemFree:")? + field("Buffers:").unwrap_or(0) + field("Cached:").unwrap_or(0));
    (field("MemTotal:").unwrap_or(0), field("MemAvailable:").or_else(free).unwrap_or(0))
}

fn interfaces(dev: &str) -> Vec<Interface> {
    let parse = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
        let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
        let name = name.trim().to_owned();
        Some(Interface { name, bytes: (number(0), number(8)), errors: (number(2), number(10)), dropped: (number(3), number(11)) })
    };
    dev.lines().skip(2).filter_map(parse).collect()
}

/// Sums up whole disks only: data of a partition, or of a device on top of a disk, would count
/// twice.
fn disks(diskstats: &str, is_disk: impl Fn(&str) -> bool) -> (u64, u64) {
    let mut total = (0_u64, 0_u64);
    for line in diskstats.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(name) = words.get(2) else { continue };
        if ["loop", "ram", "dm-", "fd", "zram", "md"].iter().any(|layer| name.starts_with(layer)) || !is_disk(name) {
            continue;
        }
        let sectors = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0).saturating_mul(SECTOR);
        total = (total.0.saturating_add(sectors(5)), total.1.saturating_add(sectors(9)));
    }
    total
}

/// Returns the mount points of devices; each device counts once, with its first mount.
fn mounts(mounts: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut paths = Vec::new();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(path), Some(kind)) = (words.next(), words.next(), words.next()) else { continue };
        let counts = device.starts_with("/dev/") || matches!(kind, "overlay" | "zfs" | "btrfs") && path == "/";
        // A file system served by a program may never answer.
        let counts = counts && !kind.starts_with("fuse") && kind != "squashfs";
        if !counts || seen.contains(&device) || paths.len() == MOST_MOUNTS {
            continue;
        }
        seen.push(device);
        paths.push(unescape(path));
    }
    paths
}

/// Decodes blanks and other characters that the kernel writes as `\040` and so on.
fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 4).filter(|digits| bytes[at] == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match digits {
            Some(digits) => {
                out.push(digits.iter().fold(0_u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Mount {
    fn mount_at(path: String) -> Option<Self> {
        let stat = rustix::fs::statvfs(path.as_str()).ok().filter(|stat| stat.f_blocks > 0)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        Some(Self { path, bytes: (bytes(stat.f_blocks), bytes(used)), available_bytes: bytes(stat.f_bavail) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_figures_are_parsed_from_proc() {
        assert_eq!(cpu("cpu  100 1 50 800 49 0 0 0 7 7\ncpu0 1 1 1 1\n"), (1000, 151));
        assert_eq!(memory("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  400 kB\n"), (1_024_000, 409_600));
        assert_eq!(memory("MemTotal:  1000 kB\nMemFree: 100 kB\nCached: 200 kB\n"), (1_024_000, 307_200));
        let dev = "Inter-| Receive\n face |bytes\n    lo: 10 1 2 3 0 0 0 0 20 1 4 5 0 0 0 0\neth0:7 0 0 0 0 0 0 0 8 0 0 0 0 0 0 0\n";
        let found = interfaces(dev);
        assert_eq!((found.len(), found[0].bytes, found[0].errors, found[0].dropped), (2, (10, 20), (2, 4), (3, 5)));
        assert_eq!((found[1].name.as_str(), found[1].bytes), ("eth0", (7, 8)));
        let stats = " 8 0 sda 1 0 10 0 2 0 20 0\n 8 1 sda1 1 0 10 0 2 0 20 0\n 7 0 loop0 1 0 99 0 2 0 99 0\n bad\n";
        assert_eq!(disks(stats, |name| name != "sda1"), (5120, 10_240));
        let table =
            "/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\n/dev/sda1 /again ext4 rw 0 0\n/dev/sdb /my\\040disk xfs rw 0 0\nbad\n";
        assert_eq!(mounts(table), ["/", "/my disk"]);
    }

    #[test]
    fn malformed_proc_text_never_panics() {
        for text in ["", "cpu", "cpu \n", ":\n:\n:", "\u{0}\\04", "MemTotal: x kB"] {
            let _ = (cpu(text), memory(text), interfaces(text), disks(text, |_| true), mounts(text), unescape(text));
        }
        assert_eq!(HostSample::below(Path::new("/no/such/root")), HostSample::default());
    }

    #[test]
    fn sample_of_this_machine_is_plausible() {
        let sample = HostSample::take();
        assert!(sample.memory_bytes.0 > sample.memory_bytes.1 && sample.memory_bytes.1 > 0);
        assert!(sample.cpu_ticks.0 >= sample.cpu_ticks.1 && sample.cpu_ticks.1 > 0);
    }
}
