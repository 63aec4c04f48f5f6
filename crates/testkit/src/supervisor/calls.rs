//! Names of system calls.

macro_rules! names {
    ($($(#[$on:meta])? $name:ident $number:ident),* $(,)?) => {
        &[$($(#[$on])? (stringify!($name), libc::$number)),*]
    };
}

/// Names and numbers. Calls that are missing here appear by number.
#[rustfmt::skip]
const NAMES: &[(&str, libc::c_long)] = names![
    accept SYS_accept, accept4 SYS_accept4, bind SYS_bind, bpf SYS_bpf, brk SYS_brk, capget SYS_capget, chdir SYS_chdir,
    clock_adjtime SYS_clock_adjtime, clock_gettime SYS_clock_gettime, clock_nanosleep SYS_clock_nanosleep, clone SYS_clone,
    clone3 SYS_clone3, close SYS_close, close_range SYS_close_range, connect SYS_connect, copy_file_range SYS_copy_file_range,
    dup SYS_dup, dup3 SYS_dup3, epoll_create1 SYS_epoll_create1, epoll_ctl SYS_epoll_ctl, epoll_pwait SYS_epoll_pwait,
    epoll_pwait2 SYS_epoll_pwait2, eventfd2 SYS_eventfd2, execve SYS_execve, execveat SYS_execveat, exit SYS_exit,
    exit_group SYS_exit_group, faccessat SYS_faccessat, faccessat2 SYS_faccessat2, fadvise64 SYS_fadvise64, fallocate SYS_fallocate,
    fchdir SYS_fchdir, fchmod SYS_fchmod, fchmodat SYS_fchmodat, fchown SYS_fchown, fchownat SYS_fchownat, fcntl SYS_fcntl,
    fdatasync SYS_fdatasync, fgetxattr SYS_fgetxattr, flock SYS_flock, fstat SYS_fstat, fstatfs SYS_fstatfs, fsync SYS_fsync,
    ftruncate SYS_ftruncate, getcwd SYS_getcwd, getdents64 SYS_getdents64, getegid SYS_getegid, geteuid SYS_geteuid,
    getgid SYS_getgid, getgroups SYS_getgroups, getpeername SYS_getpeername, getpgid SYS_getpgid, getpid SYS_getpid,
    getppid SYS_getppid, getpriority SYS_getpriority, getrandom SYS_getrandom, getresgid SYS_getresgid, getresuid SYS_getresuid,
    getrusage SYS_getrusage, getsid SYS_getsid, getsockname SYS_getsockname, getsockopt SYS_getsockopt, gettid SYS_gettid,
    getuid SYS_getuid, getxattr SYS_getxattr, inotify_add_watch SYS_inotify_add_watch, inotify_init1 SYS_inotify_init1,
    inotify_rm_watch SYS_inotify_rm_watch, ioctl SYS_ioctl, ioprio_set SYS_ioprio_set, kcmp SYS_kcmp, kill SYS_kill,
    linkat SYS_linkat, listen SYS_listen, lseek SYS_lseek, madvise SYS_madvise, membarrier SYS_membarrier,
    memfd_create SYS_memfd_create, mkdirat SYS_mkdirat, mlock SYS_mlock, mlock2 SYS_mlock2, mlockall SYS_mlockall, mmap SYS_mmap,
    mprotect SYS_mprotect, mremap SYS_mremap, msync SYS_msync, munlock SYS_munlock, munmap SYS_munmap, name_to_handle_at SYS_name_to_handle_at,
    nanosleep SYS_nanosleep, newfstatat SYS_newfstatat, openat SYS_openat, openat2 SYS_openat2, pidfd_getfd SYS_pidfd_getfd,
    pidfd_open SYS_pidfd_open, pidfd_send_signal SYS_pidfd_send_signal, pipe2 SYS_pipe2, ppoll SYS_ppoll, prctl SYS_prctl,
    pread64 SYS_pread64, preadv SYS_preadv, prlimit64 SYS_prlimit64, process_madvise SYS_process_madvise,
    process_vm_readv SYS_process_vm_readv, pselect6 SYS_pselect6, ptrace SYS_ptrace, pwrite64 SYS_pwrite64, pwritev SYS_pwritev,
    read SYS_read, readahead SYS_readahead, readlinkat SYS_readlinkat, readv SYS_readv, recvfrom SYS_recvfrom, recvmsg SYS_recvmsg,
    renameat SYS_renameat, renameat2 SYS_renameat2, rseq SYS_rseq, rt_sigaction SYS_rt_sigaction, rt_sigpending SYS_rt_sigpending,
    rt_sigprocmask SYS_rt_sigprocmask, rt_sigqueueinfo SYS_rt_sigqueueinfo, rt_sigreturn SYS_rt_sigreturn, rt_sigtimedwait SYS_rt_sigtimedwait,
    rt_tgsigqueueinfo SYS_rt_tgsigqueueinfo, sched_getaffinity SYS_sched_getaffinity, sched_getparam SYS_sched_getparam,
    sched_getscheduler SYS_sched_getscheduler, sched_setaffinity SYS_sched_setaffinity, sched_setattr SYS_sched_setattr,
    sched_getattr SYS_sched_getattr, sched_setscheduler SYS_sched_setscheduler, sched_yield SYS_sched_yield, seccomp SYS_seccomp,
    sendfile SYS_sendfile, sendmmsg SYS_sendmmsg, sendmsg SYS_sendmsg, sendto SYS_sendto, set_robust_list SYS_set_robust_list,
    set_tid_address SYS_set_tid_address, setgid SYS_setgid, setgroups SYS_setgroups, setpgid SYS_setpgid, setpriority SYS_setpriority,
    setresgid SYS_setresgid, setresuid SYS_setresuid, setsid SYS_setsid, setsockopt SYS_setsockopt, setuid SYS_setuid,
    shutdown SYS_shutdown, sigaltstack SYS_sigaltstack, signalfd4 SYS_signalfd4, socket SYS_socket, socketpair SYS_socketpair,
    splice SYS_splice, statfs SYS_statfs, statx SYS_statx, symlinkat SYS_symlinkat, sync SYS_sync, sysinfo SYS_sysinfo,
    tee SYS_tee, tgkill SYS_tgkill, timerfd_create SYS_timerfd_create, timerfd_settime SYS_timerfd_settime, tkill SYS_tkill,
    truncate SYS_truncate, umask SYS_umask, uname SYS_uname, unlinkat SYS_unlinkat, unshare SYS_unshare, utimensat SYS_utimensat,
    wait4 SYS_wait4, waitid SYS_waitid, write SYS_write, writev SYS_writev, futex SYS_futex, getitimer SYS_getitimer,
    #[cfg(target_arch = "x86_64")] access SYS_access,
    #[cfg(target_arch = "x86_64")] arch_prctl SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")] chmod SYS_chmod,
    #[cfg(target_arch = "x86_64")] chown SYS_chown,
    #[cfg(target_arch = "x86_64")] dup2 SYS_dup2,
    #[cfg(target_arch = "x86_64")] epoll_wait SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")] fork SYS_fork,
    #[cfg(target_arch = "x86_64")] getpgrp SYS_getpgrp,
    #[cfg(target_arch = "x86_64")] lstat SYS_lstat,
    #[cfg(target_arch = "x86_64")] mkdir SYS_mkdir,
    #[cfg(target_arch = "x86_64")] open SYS_open,
    #[cfg(target_arch = "x86_64")] pipe SYS_pipe,
    #[cfg(target_arch = "x86_64")] poll SYS_poll,
    #[cfg(target_arch = "x86_64")] readlink SYS_readlink,
    #[cfg(target_arch = "x86_64")] rename SYS_rename,
    #[cfg(target_arch = "x86_64")] rmdir SYS_rmdir,
    #[cfg(target_arch = "x86_64")] select SYS_select,
    #[cfg(target_arch = "x86_64")] stat SYS_stat,
    #[cfg(target_arch = "x86_64")] symlink SYS_symlink,
    #[cfg(target_arch = "x86_64")] link SYS_link,
    #[cfg(target_arch = "x86_64")] time SYS_time,
    #[cfg(target_arch = "x86_64")] unlink SYS_unlink,
    #[cfg(target_arch = "x86_64")] vfork SYS_vfork,
];

/// Returns the number of a call on this architecture.
pub fn call_number(name: &str) -> Option<i64> {
    let by_number = || name.strip_prefix('#')?.parse().ok();
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number).or_else(by_number)
}

/// Returns the name of a call, or `#` with its number.
pub fn call_name(number: i64) -> String {
    NAMES.iter().find(|(_, known)| *known == number).map_or_else(|| format!("#{number}"), |(name, _)| (*name).to_owned())
}
