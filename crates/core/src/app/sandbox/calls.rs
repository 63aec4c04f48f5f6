//! System calls that a sandbox denies, by the names and groups of systemd's `SystemCallFilter`.

use crate::text::suggest::closest;

/// A named group of system calls.
#[derive(Clone, Copy, Debug)]
pub struct CallGroup {
    /// Name with `@`, as in systemd where systemd has the group.
    pub name: &'static str,
    /// Its calls, by their names in the kernel.
    pub calls: &'static [&'static str],
}

/// Groups that can be denied. `strict` denies all of them. A call that an architecture lacks is
/// ignored there.
pub const GROUPS: &[CallGroup] = &[
    CallGroup {
        name: "@mount",
        calls: &[
            "chroot",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "pivot_root",
            "umount2",
        ],
    },
    CallGroup { name: "@module", calls: &["delete_module", "finit_module", "init_module"] },
    CallGroup {
        name: "@debug",
        calls: &["kcmp", "lookup_dcookie", "perf_event_open", "pidfd_getfd", "process_vm_readv", "process_vm_writev", "ptrace"],
    },
    CallGroup { name: "@keyring", calls: &["add_key", "keyctl", "request_key"] },
    CallGroup { name: "@reboot", calls: &["kexec_file_load", "kexec_load", "reboot"] },
    CallGroup { name: "@swap", calls: &["swapoff", "swapon"] },
    CallGroup { name: "@clock", calls: &["adjtimex", "clock_adjtime", "clock_settime", "settimeofday"] },
    CallGroup { name: "@raw-io", calls: &["ioperm", "iopl"] },
    CallGroup { name: "@io-uring", calls: &["io_uring_enter", "io_uring_register", "io_uring_setup"] },
    // Also the flags of `clone` that create namespaces; `clone3` becomes a missing call, because its
    // flags cannot be read.
    CallGroup { name: NAMESPACES, calls: &["setns", "unshare"] },
    CallGroup {
        name: "@privileged",
        calls: &[
            "acct",
            "bpf",
            "fanotify_init",
            "name_to_handle_at",
            "nfsservctl",
            "open_by_handle_at",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "syslog",
            "userfaultfd",
            "vhangup",
        ],
    },
    CallGroup { name: "@obsolete", calls: &["_sysctl", "sysfs", "uselib", "ustat"] },
];

/// Group that also denies new namespaces by `clone`.
pub const NAMESPACES: &str = "@namespaces";

/// Returns the calls of these names and groups, each once, and whether new namespaces are denied.
/// Unknown names are ignored: [`check`] has reported them.
pub fn expand<'a>(names: impl IntoIterator<Item = &'a str>) -> (Vec<&'static str>, bool) {
    let (mut calls, mut no_namespaces) = (Vec::new(), false);
    for name in names {
        no_namespaces |= name == NAMESPACES;
        for group in GROUPS {
            calls.extend(group.calls.iter().filter(|call| group.name == name || **call == name));
        }
    }
    calls.sort_unstable();
    calls.dedup();
    (calls, no_namespaces)
}

/// Returns true if a name is a group or a call of a group.
pub fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

/// Returns the known name that is closest to a misspelt one.
pub fn near(name: &str) -> Option<&'static str> {
    closest(name, names())
}

fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| std::iter::once(group.name).chain(group.calls.iter().copied()))
}

/// Families of addresses by their names in a configuration file (systemd's `AF_INET` is `inet`), with
/// their numbers in Linux.
pub const FAMILIES: &[(&str, u32)] = &[
    ("unix", 1),
    ("inet", 2),
    ("ax25", 3),
    ("inet6", 10),
    ("key", 15),
    ("netlink", 16),
    ("packet", 17),
    ("can", 29),
    ("tipc", 30),
    ("bluetooth", 31),
    ("alg", 38),
    ("vsock", 40),
    ("xdp", 44),
];

/// Names of capabilities without `cap_`; the position is the number in the kernel.
pub const CAPABILITIES: &[&str] = &[
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Returns the bits of these capabilities.
pub fn capability_bits<'a>(names: impl IntoIterator<Item = &'a str>) -> u64 {
    let bit = |name: &str| CAPABILITIES.iter().position(|known| *known == name).map_or(0, |number| 1_u64 << number);
    names.into_iter().map(bit).fold(0, |all, one| all | one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_groups_expand_to_calls_once() {
        assert_eq!(expand(["@swap", "swapon", "ptrace"]), (vec!["ptrace", "swapoff", "swapon"], false));
        assert_eq!(expand([NAMESPACES]), (vec!["setns", "unshare"], true));
        assert_eq!(expand(["nothing"]), (vec![], false));
    }

    #[test]
    fn misspelt_names_have_suggestions() {
        assert!(is_known("@mount") && is_known("bpf") && !is_known("execve"));
        assert_eq!((near("@mounts"), near("ptrac")), (Some("@mount"), Some("ptrace")));
    }

    #[test]
    fn capabilities_have_the_numbers_of_the_kernel() {
        for (name, number) in [("chown", 0), ("net_bind_service", 10), ("sys_admin", 21), ("setfcap", 31), ("checkpoint_restore", 40)] {
            assert_eq!(capability_bits([name]), 1 << number, "{name}");
        }
        assert_eq!(capability_bits(["chown", "fowner", "none such"]), 0b1001);
    }
}
