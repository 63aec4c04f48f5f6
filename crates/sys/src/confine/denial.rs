//! Filter that denies system calls of a program.

use rustix::io::Errno;

use super::Confinement;
use crate::process::last_errno;
use crate::seccomp::filter::{NATIVE_AUDIT, X32_BIT};

/// Offsets in `struct seccomp_data` of `linux/seccomp.h`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const ERRNO: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;

const SET_MODE_FILTER: libc::c_long = 1;
const GET_ACTION_AVAIL: libc::c_long = 2;
const SPEC_ALLOW: libc::c_long = 1 << 2;

/// Flags of `clone` that create namespaces.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// A filter that is ready to be installed.
#[derive(Clone, Debug)]
pub(crate) struct DenialFilter(Vec<libc::sock_filter>);

impl DenialFilter {
    /// Returns the filter of a confinement, or `None` if it denies no call.
    pub(crate) fn of(confinement: &Confinement) -> Option<Self> {
        let Confinement { denied_calls, denies_namespaces, families, .. } = confinement;
        if denied_calls.is_empty() && !denies_namespaces && families.is_none() {
            return None;
        }
        let plain = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let load = |offset: u32| plain(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
        let when = |test: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt, jf, k };
        let give = |result: u32| plain(libc::BPF_RET | libc::BPF_K, result);
        let fail = |errno: i32| give(ERRNO | errno.unsigned_abs());
        // Calls of other architectures have other numbers: programs for them do not run.
        let mut code = vec![load(ARCHITECTURE), when(libc::BPF_JEQ, NATIVE_AUDIT, 1, 0), fail(libc::ENOSYS), load(NUMBER)];
        if cfg!(target_arch = "x86_64") {
            code.extend([when(libc::BPF_JGE, X32_BIT, 0, 1), fail(libc::ENOSYS)]);
        }
        for number in denied_calls {
            code.extend([when(libc::BPF_JEQ, *number, 0, 1), fail(libc::EPERM)]);
        }
        if *denies_namespaces {
            // Its flags are in memory, which a filter cannot read. Libraries then use `clone`.
            code.extend([when(libc::BPF_JEQ, libc::SYS_clone3 as u32, 0, 1), fail(libc::ENOSYS)]);
            code.extend([
                when(libc::BPF_JEQ, libc::SYS_clone as u32, 0, 4),
                load(FIRST_ARGUMENT),
                when(libc::BPF_JSET, NEW_NAMESPACES, 0, 1),
                fail(libc::EPERM),
                load(NUMBER),
            ]);
        }
        if let Some(families) = families {
            let count = u8::try_from(families.len()).unwrap_or(u8::MAX).min(100);
            code.extend([when(libc::BPF_JEQ, libc::SYS_socket as u32, 0, count + 2), load(FIRST_ARGUMENT)]);
            let families = families.iter().take(count.into()).zip((1..=count).rev());
            code.extend(families.map(|(family, to_end)| when(libc::BPF_JEQ, *family, to_end, 0)));
            code.push(fail(libc::EAFNOSUPPORT));
        }
        code.push(give(ALLOW));
        Some(Self(code))
    }

    /// Installs the filter in this process. Returns false, with the errno set, if that failed. Never
    /// allocates.
    ///
    /// # Safety
    ///
    /// Only for the child of a start, between clone and exec.
    pub(super) unsafe fn install(&self) -> bool {
        let program = libc::sock_fprog { len: self.0.len() as libc::c_ushort, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: the description and the program outlive the call, which copies them.
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, SPEC_ALLOW, &raw const program) >= 0 }
    }
}

/// Checks whether filters that deny calls can be installed.
///
/// # Errors
/// Returns the errno of the kernel or of a container that refuses it.
pub fn is_available() -> Result<(), Errno> {
    let action = ERRNO;
    // SAFETY: a live number of the size that the kernel reads.
    let known = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) };
    if known < 0 { Err(last_errno()) } else { Ok(()) }
}

/// System calls that can be denied, by their names in the kernel.
static NUMBERS: &[(&str, libc::c_long)] = &[
    ("chroot", libc::SYS_chroot),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fsopen", libc::SYS_fsopen),
    ("fspick", libc::SYS_fspick),
    ("mount", libc::SYS_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount),
    ("open_tree", libc::SYS_open_tree),
    ("pivot_root", libc::SYS_pivot_root),
    ("umount2", libc::SYS_umount2),
    ("delete_module", libc::SYS_delete_module),
    ("finit_module", libc::SYS_finit_module),
    ("init_module", libc::SYS_init_module),
    ("kcmp", libc::SYS_kcmp),
    ("lookup_dcookie", libc::SYS_lookup_dcookie),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("ptrace", libc::SYS_ptrace),
    ("add_key", libc::SYS_add_key),
    ("keyctl", libc::SYS_keyctl),
    ("request_key", libc::SYS_request_key),
    ("kexec_file_load", libc::SYS_kexec_file_load),
    ("kexec_load", libc::SYS_kexec_load),
    ("reboot", libc::SYS_reboot),
    ("swapoff", libc::SYS_swapoff),
    ("swapon", libc::SYS_swapon),
    ("adjtimex", libc::SYS_adjtimex),
    ("clock_adjtime", libc::SYS_clock_adjtime),
    ("clock_settime", libc::SYS_clock_settime),
    ("settimeofday", libc::SYS_settimeofday),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("setns", libc::SYS_setns),
    ("unshare", libc::SYS_unshare),
    ("acct", libc::SYS_acct),
    ("bpf", libc::SYS_bpf),
    ("fanotify_init", libc::SYS_fanotify_init),
    ("name_to_handle_at", libc::SYS_name_to_handle_at),
    ("nfsservctl", libc::SYS_nfsservctl),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("quotactl", libc::SYS_quotactl),
    ("quotactl_fd", libc::SYS_quotactl_fd),
    ("setdomainname", libc::SYS_setdomainname),
    ("sethostname", libc::SYS_sethostname),
    ("syslog", libc::SYS_syslog),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("vhangup", libc::SYS_vhangup),
    #[cfg(target_arch = "x86_64")]
    ("ioperm", libc::SYS_ioperm),
    #[cfg(target_arch = "x86_64")]
    ("iopl", libc::SYS_iopl),
    #[cfg(target_arch = "x86_64")]
    ("_sysctl", libc::SYS__sysctl),
    #[cfg(target_arch = "x86_64")]
    ("sysfs", libc::SYS_sysfs),
    #[cfg(target_arch = "x86_64")]
    ("uselib", libc::SYS_uselib),
    #[cfg(target_arch = "x86_64")]
    ("ustat", libc::SYS_ustat),
];

/// Returns the number of a system call, or `None` if this architecture lacks it.
pub fn number(name: &str) -> Option<u32> {
    NUMBERS.iter().find(|(known, _)| *known == name).and_then(|(_, number)| u32::try_from(*number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets a filter as the kernel does.
    fn run(filter: &DenialFilter, audit: u32, number: u32, first_argument: u32) -> u32 {
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let step = filter.0[at];
            at += 1;
            let jump = |is_true: bool| usize::from(if is_true { step.jt } else { step.jf });
            match u32::from(step.code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    accumulator = match step.k {
                        NUMBER => number,
                        ARCHITECTURE => audit,
                        FIRST_ARGUMENT => first_argument,
                        other => panic!("offset {other}"),
                    }
                }
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => at += jump(accumulator == step.k),
                code if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K => at += jump(accumulator >= step.k),
                code if code == libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K => at += jump(accumulator & step.k != 0),
                code if code == libc::BPF_RET | libc::BPF_K => return step.k,
                code => panic!("code {code}"),
            }
        }
    }

    #[test]
    fn filter_denies_what_it_lists_only() {
        let call = |name: &str| number(name).unwrap();
        let confinement = Confinement {
            denied_calls: vec![call("ptrace"), call("bpf")],
            denies_namespaces: true,
            families: Some(vec![2, 10]),
            ..Confinement::default()
        };
        let filter = DenialFilter::of(&confinement).unwrap();
        let errno = |errno: i32| ERRNO | errno.unsigned_abs();
        for (number, first, expected) in [
            (call("ptrace"), 0, errno(libc::EPERM)),
            (call("bpf"), 0, errno(libc::EPERM)),
            (libc::SYS_read as u32, 0, ALLOW),
            (libc::SYS_clone3 as u32, 0, errno(libc::ENOSYS)),
            (libc::SYS_clone as u32, libc::CLONE_NEWUSER.unsigned_abs(), errno(libc::EPERM)),
            (libc::SYS_clone as u32, libc::CLONE_VM.unsigned_abs(), ALLOW),
            (libc::SYS_socket as u32, 1, errno(libc::EAFNOSUPPORT)),
            (libc::SYS_socket as u32, 2, ALLOW),
            (libc::SYS_socket as u32, 10, ALLOW),
            (libc::SYS_socketpair as u32, 1, ALLOW),
        ] {
            assert_eq!(run(&filter, NATIVE_AUDIT, number, first), expected, "{number} {first}");
        }
        assert_eq!(run(&filter, NATIVE_AUDIT ^ 1, libc::SYS_read as u32, 0), errno(libc::ENOSYS));
        if cfg!(target_arch = "x86_64") {
            assert_eq!(run(&filter, NATIVE_AUDIT, call("ptrace") | X32_BIT, 0), errno(libc::ENOSYS));
        }
    }

    #[test]
    fn parts_of_a_filter_work_alone() {
        let namespaces = Confinement { denies_namespaces: true, ..Confinement::default() };
        let families = Confinement { families: Some(vec![]), ..Confinement::default() };
        assert!(DenialFilter::of(&Confinement::default()).is_none());
        let filter = DenialFilter::of(&namespaces).unwrap();
        assert_eq!(run(&filter, NATIVE_AUDIT, libc::SYS_socket as u32, 1), ALLOW);
        let filter = DenialFilter::of(&families).unwrap();
        assert_eq!(run(&filter, NATIVE_AUDIT, libc::SYS_socket as u32, 2), ERRNO | libc::EAFNOSUPPORT.unsigned_abs());
        assert_eq!(run(&filter, NATIVE_AUDIT, libc::SYS_read as u32, 2), ALLOW);
    }
}
