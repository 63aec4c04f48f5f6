//! Number of CPUs that this process may use: the CPUs that it may run on (affinity, cpuset),
//! limited by the quotas of its control groups.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cgroup::unescape;

/// Returns the number of CPUs, at least one. A quota of one and a half counts as one: two busy
/// processes on it would be throttled for a quarter of the time.
pub fn available() -> u32 {
    // If the machine has more CPUs than fit into the set, the standard library knows their number.
    let of_library = || std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
    let allowed = rustix::thread::sched_getaffinity(None).map_or_else(|_| of_library(), |set| set.count());
    allowed.min(quota(Path::new("/")).unwrap_or(u32::MAX)).max(1)
}

/// Returns the number of whole CPUs that the smallest quota of our group and its ancestors allows.
/// `root` is the folder with `/proc` and the mounts.
fn quota(root: &Path) -> Option<u32> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let quotas = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let of_group = match controllers {
            "" => of_version_2 as fn(&Path) -> Option<f64>,
            list if list.split(',').any(|one| one == "cpu") => of_version_1,
            _ => return None,
        };
        let mount = mount(&mounts, controllers, path)?;
        let top = below(root, &mount.point);
        let folder = below(root, &mount.group);
        folder.ancestors().take_while(|folder| folder.starts_with(&top)).filter_map(of_group).min_by(f64::total_cmp)
    });
    let smallest = quotas.min_by(f64::total_cmp)?;
    // At least one, and small enough not to overflow.
    Some((smallest.clamp(1.0, 1e6)) as u32)
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Mount point of a hierarchy, and the path of our group in it.
struct CgroupMount {
    point: PathBuf,
    group: PathBuf,
}

/// Returns the mount of a hierarchy; `controllers` is empty for version 2. A mount may show only a
/// part of the hierarchy, and the path may be outside that part. Then the mount itself is the
/// closest group.
fn mount(mountinfo: &str, controllers: &str, path: &str) -> Option<CgroupMount> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let is_it = match kind.next()? {
            "cgroup2" => controllers.is_empty(),
            "cgroup" => !controllers.is_empty() && kind.nth(1)?.split(',').any(|option| option == "cpu"),
            _ => false,
        };
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (unescape(fields.next()?), PathBuf::from(unescape(fields.next()?)));
        let inside = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        is_it.then(|| CgroupMount { group: point.join(inside), point })
    })
}

/// Reads `cpu.max`: `<quota or max> <period>`.
fn of_version_2(group: &Path) -> Option<f64> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    share(quota, period)
}

/// Reads the two files of version 1; -1 means no limit.
fn of_version_1(group: &Path) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    share(read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim())
}

fn share(quota: &str, period: &str) -> Option<f64> {
    let (quota, period) = (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?);
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine as `/proc` and the mounts show it.
    struct Machine(PathBuf);

    impl Machine {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("ostler-cpus-{}-{name}", std::process::id()));
            for (file, text) in files {
                let file = root.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    const V2: &str = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    const V1: &str = "29 20 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      31 29 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
                      32 29 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";

    #[test]
    fn cpu_quota_is_read_from_both_cgroup_versions() {
        let v1 = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n";
        let (amount, period) = ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us");
        type Files<'a> = &'a [(&'a str, &'a str)];
        let cases: [(&str, &str, &str, Files<'_>, Option<u32>); 11] = [
            ("half", V2, "0::/\n", &[("sys/fs/cgroup/cpu.max", "50000 100000\n")], Some(1)),
            ("three", V2, "0::/\n", &[("sys/fs/cgroup/cpu.max", "300000 100000\n")], Some(3)),
            ("two-and-a-half", V2, "0::/\n", &[("sys/fs/cgroup/cpu.max", "250000 100000\n")], Some(2)),
            ("none", V2, "0::/\n", &[("sys/fs/cgroup/cpu.max", "max 100000\n")], None),
            // The parent group has the smaller quota.
            (
                "above",
                V2,
                "0::/pod/app\n",
                &[("sys/fs/cgroup/pod/app/cpu.max", "max 100000\n"), ("sys/fs/cgroup/pod/cpu.max", "200000 100000\n")],
                Some(2),
            ),
            // The path is outside the mounted part.
            (
                "outside",
                "30 20 0:26 /pod /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
                "0::/elsewhere\n",
                &[("sys/fs/cgroup/cpu.max", "400000 100000\n")],
                Some(4),
            ),
            ("v1", V1, v1, &[(amount, "150000\n"), (period, "50000\n")], Some(3)),
            ("v1-none", V1, v1, &[(amount, "-1\n"), (period, "100000\n")], None),
            ("rubbish", V2, "0::/\n", &[("sys/fs/cgroup/cpu.max", "many\n")], None),
            ("zero", V2, "0::/\n", &[("sys/fs/cgroup/cpu.max", "0 0\n")], None),
            ("nothing", "", "", &[], None),
        ];
        for (name, mounts, groups, files, expected) in cases {
            let machine = Machine::new(name, &[&[("proc/self/cgroup", groups), ("proc/self/mountinfo", mounts)], files].concat());
            assert_eq!(quota(&machine.0), expected, "{name}");
        }
        assert_eq!(quota(Path::new("/nonexistent")), None);
    }

    #[test]
    fn at_least_one_cpu_is_available() {
        assert!((1..=4096).contains(&available()));
    }
}
