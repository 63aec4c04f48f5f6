//! Tests of program starts with the real kernel.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ostler_sys::process::child::{reap, reap_any};
use ostler_sys::process::spawn::{Placement, spawn_at};
use ostler_sys::{
    Credentials, ProcRef, ProcTable, Rlimit, SpawnError, SpawnSpec, SpawnStep, WaitStatus,
    fd::{memfd, pipe},
    process::{rlimit, signal},
    spawn,
};

fn shell(script: &str) -> SpawnSpec {
    SpawnSpec {
        program: c"/bin/sh".into(),
        argv: [c"sh", c"-c", &CString::new(script).unwrap()].into(),
        envp: [c"PATH=/usr/bin:/bin"].into(),
        cwd: c"/".into(),
        ..SpawnSpec::default()
    }
}

/// Returns the program's output, with these additional descriptors.
fn output_with(spec: &SpawnSpec, fds: &[(BorrowedFd<'_>, i32)]) -> String {
    let (read, write) = pipe::pipe().unwrap();
    let mut all = fds.to_vec();
    all.push((write.as_fd(), 1));
    let child = spawn(spec, &all).unwrap();
    drop(write);
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(reap(child.pid).unwrap().ending, WaitStatus::Code(0), "{text}");
    text
}

fn output(spec: &SpawnSpec) -> String {
    output_with(spec, &[])
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

#[test]
fn program_finds_its_own_pid_in_its_environment() {
    let mut spec = shell("echo $LISTEN_PID $WATCHDOG_PID $$ $OTHER");
    for name in ["LISTEN_PID", "WATCHDOG_PID"] {
        spec.envp.push(&[name.as_bytes(), b"=", ostler_sys::process::cstrings::OWN_PID.as_bytes()]).unwrap();
    }
    spec.envp.push(&[b"OTHER=x"]).unwrap();
    for _ in 0..2 {
        let text = output(&spec);
        let [listen, watchdog, own, other] = words(&text)[..] else { panic!("{text}") };
        assert_eq!((listen, watchdog, other), (own, own, "x"));
    }
}

#[test]
fn descriptors_arrive_even_if_their_numbers_overlap() {
    let files: Vec<OwnedFd> = (0..6).map(|n| memfd::with("test", format!("f{n} ").as_bytes()).unwrap()).collect();
    let numbers: Vec<i32> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let low = *numbers.iter().min().unwrap();
    let cases: [(&str, Vec<(usize, i32)>); 6] = [
        ("in place", (0..6).map(|n| (n, numbers[n])).collect()),
        ("rotated", (0..6).map(|n| (n, numbers[(n + 1) % 6])).collect()),
        ("reversed", (0..6).map(|n| (n, numbers[5 - n])).collect()),
        ("one to many", vec![(3, 0), (3, numbers[3]), (3, low), (3, 200)]),
        ("over others", vec![(0, numbers[1]), (2, 0), (5, numbers[0]), (1, 2)]),
        ("far", vec![(0, 900), (1, 3), (2, 901)]),
    ];
    for (name, case) in cases {
        // Number 1 is reserved for the pipe.
        let case: Vec<_> = case.into_iter().filter(|&(_, target)| target != 1).collect();
        let fds: Vec<_> = case.iter().map(|&(file, target)| (files[file].as_fd(), target)).collect();
        let script: String = case.iter().map(|(_, target)| format!("cat /proc/$$/fd/{target};")).collect();
        let expected: Vec<_> = case.iter().map(|(file, _)| format!("f{file}")).collect();
        assert_eq!(words(&output_with(&shell(&script), &fds)), expected, "{name}");
    }
    // Our descriptors are unchanged.
    for (file, number) in files.iter().zip(numbers) {
        assert_eq!(file.as_raw_fd(), number);
        assert!(rustix::io::fcntl_getfd(file).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn no_other_descriptor_is_inherited() {
    let leaky = memfd::with("leak", b"").unwrap();
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).unwrap();
    let extra = memfd::with("extra", b"").unwrap();
    let text = output_with(&shell("cd /proc/$$/fd; for f in 0 1 2 *; do readlink $f; done; true"), &[(extra.as_fd(), 17)]);
    let open: Vec<_> = text.lines().map(|line| line.split([':', ' ']).next().unwrap()).collect();
    // 0, 1, 2, and every descriptor again under higher numbers.
    assert_eq!(open, ["/dev/null", "pipe", "/dev/null", "/dev/null", "pipe", "/memfd", "/dev/null"], "{text}");
}

#[test]
fn failed_spawn_reports_the_step_and_leaves_nothing() {
    let dir = temporary("steps");
    let file = |name: &str, content: &str, mode: u32| {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        CString::new(path.into_os_string().into_encoded_bytes()).unwrap()
    };
    let program = |program: CString| SpawnSpec { program, ..shell("") };
    let null = std::fs::File::open("/dev/null").unwrap();
    let plain = file("plain", "echo no first line\n", 0o755);
    let lost = file("lost", "#!/no/such/interpreter -x\n", 0o755);
    let closed = file("closed", "#!/bin/sh\n", 0o644);
    let groups = vec![1; 70_000];
    let cases = [
        (program(c"/no/such".into()), SpawnStep::Exec, libc_errno::NOENT),
        (program(lost.clone()), SpawnStep::Exec, libc_errno::NOENT),
        (program(plain.clone()), SpawnStep::Exec, libc_errno::NOEXEC),
        (program(closed.clone()), SpawnStep::Exec, libc_errno::ACCES),
        (program(c"".into()), SpawnStep::Exec, libc_errno::NOENT),
        (SpawnSpec { cwd: c"/no/such".into(), ..shell("") }, SpawnStep::Chdir, libc_errno::NOENT),
        (SpawnSpec { cwd: plain.clone(), ..shell("") }, SpawnStep::Chdir, libc_errno::NOTDIR),
        (SpawnSpec { rlimits: vec![Rlimit { resource: 999, soft: 1, hard: 1 }], ..shell("") }, SpawnStep::Rlimit, libc_errno::INVAL),
        (SpawnSpec { rlimits: vec![Rlimit { resource: 7, soft: 2, hard: 1 }], ..shell("") }, SpawnStep::Rlimit, libc_errno::INVAL),
        (SpawnSpec { oom_score_adj: Some(5000), ..shell("") }, SpawnStep::OomScore, libc_errno::INVAL),
        (SpawnSpec { user: Some(Credentials { uid: 1, gid: 1, groups }), ..shell("") }, SpawnStep::Groups, libc_errno::INVAL),
        (
            SpawnSpec { envp: [CString::new(vec![b'x'; 200_000]).unwrap()].into_iter().collect(), ..shell("") },
            SpawnStep::Exec,
            libc_errno::TOOBIG,
        ),
    ];
    for (spec, step, errno) in cases {
        if step == SpawnStep::Groups && !is_root() {
            continue;
        }
        assert_eq!(spawn(&spec, &[]), Err(SpawnError { step, errno }), "{:?}", spec.program);
    }
    for target in [-1, i32::MIN, 1 << 30, i32::MAX] {
        let failed = spawn(&shell(""), &[(null.as_fd(), target)]).unwrap_err();
        assert_eq!(failed.step, SpawnStep::Descriptors, "{target}");
    }
    assert_eq!(reap_any(), None, "every half-made child is reaped");
    let explain = |path: &CString, errno| ostler_sys::process::exec::explain(&PathBuf::from(path.to_str().unwrap()), errno);
    assert_eq!(explain(&lost, libc_errno::NOENT).unwrap(), "its first line names /no/such/interpreter, which does not exist");
    assert!(explain(&plain, libc_errno::NOEXEC).unwrap().contains("#!"));
    assert!(explain(&closed, libc_errno::ACCES).unwrap().contains("not executable"));
    assert_eq!(explain(&c"/no/such".into(), libc_errno::NOENT), None);
    std::fs::remove_dir_all(dir).unwrap();
}

mod libc_errno {
    pub(crate) const NOENT: i32 = 2;
    pub(crate) const TOOBIG: i32 = 7;
    pub(crate) const NOEXEC: i32 = 8;
    pub(crate) const ACCES: i32 = 13;
    pub(crate) const NOTDIR: i32 = 20;
    pub(crate) const INVAL: i32 = 22;
}

fn temporary(name: &str) -> PathBuf {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("ostler-spawn-{name}-{}-{number}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    dir
}

#[test]
fn settings_reach_the_program() {
    let nofile = rlimit::by_name("nofile").unwrap();
    let spec = SpawnSpec {
        umask: Some(0o137),
        nice: Some(7),
        oom_score_adj: Some(321),
        rlimits: vec![Rlimit { resource: nofile, soft: 111, hard: 222 }],
        cwd: c"/usr/bin".into(),
        ..shell("umask; nice; cat /proc/self/oom_score_adj; ulimit -Sn; ulimit -Hn; pwd")
    };
    assert_eq!(words(&output(&spec)), ["0137", "7", "321", "111", "222", "/usr/bin"]);
}

#[test]
fn child_leads_its_session_with_default_signals() {
    signal::ignore(2);
    let _blocked = signal::SignalFd::new(&[15, 10, 17]).unwrap();
    let text = output(&shell("grep -E '^Sig(Blk|Ign)' /proc/self/status"));
    for line in text.lines() {
        assert!(line.ends_with("0000000000000000"), "{text}");
    }
    assert_eq!(text.lines().count(), 2);
    let child = spawn(&shell("exec sleep 1000"), &[]).unwrap();
    let entry = *ProcTable::scan().get(child.pid).unwrap();
    assert_eq!((entry.sid, entry.pgid, entry.process()), (child.pid, child.pid, child));
    child.signal(9).unwrap();
    assert_eq!(reap(child.pid).unwrap().ending, WaitStatus::Signal { signal: 9, core: false });
    assert!(!child.exists());
    assert_eq!(child.signal(9), Err(rustix::io::Errno::SRCH));
}

/// Installs a seccomp filter for this thread and its children: `clone3` does not exist, as in many
/// containers.
fn forbid_clone3() {
    let instruction = |code: u32, jf: u8, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap(), jt: 0, jf, k };
    let mut filter = [
        // The number of the system call is the first word.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, u32::try_from(libc::SYS_clone3).unwrap()),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: a program of four live instructions.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

#[test]
fn spawn_works_without_clone3() {
    std::thread::spawn(move || {
        forbid_clone3();
        child_leads_its_session_with_default_signals();
        failed_spawn_reports_the_step_and_leaves_nothing();
        let cgroup = std::fs::File::open("/").unwrap();
        let placement = Placement { cgroup: Some(cgroup.as_fd()), ..Placement::default() };
        let child = spawn_at(&shell("exit 4"), &[], placement).unwrap();
        assert_eq!(reap(child.pid).unwrap().ending, WaitStatus::Code(4));
    })
    .join()
    .unwrap();
}

#[test]
fn child_of_another_user_has_only_his_groups_and_rights() {
    if !is_root() {
        return;
    }
    let dir = temporary("user");
    let user = Credentials { uid: 54_321, gid: 54_322, groups: vec![54_322, 7, 9] };
    let spec = SpawnSpec { user: Some(user.clone()), ..shell("id -u; id -ru; id -g; id -G; grep CapEff /proc/self/status") };
    let text = output(&spec);
    assert_eq!(words(&text), ["54321", "54321", "54322", "54322", "7", "9", "CapEff:", "0000000000000000"]);
    // We shared our memory with a process of another user, and must stay readable for our own
    // processes.
    assert!(std::fs::read_link("/proc/self/exe").is_ok());
    assert_eq!(rustix::process::dumpable_behavior().unwrap(), rustix::process::DumpableBehavior::Dumpable);
    // That user cannot enter our folder, although we can.
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let cwd = CString::new(dir.to_str().unwrap()).unwrap();
    let failed = spawn(&SpawnSpec { user: Some(user), cwd, ..shell("") }, &[]).unwrap_err();
    assert_eq!(failed, SpawnError { step: SpawnStep::Chdir, errno: libc_errno::ACCES });
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn many_threads_spawn_concurrently() {
    let null = std::fs::File::open("/dev/null").unwrap();
    std::thread::scope(|scope| {
        for n in 0..6 {
            let null = &null;
            scope.spawn(move || {
                for round in 0..25 {
                    let code = (n * 25 + round) % 200;
                    let child = spawn(&shell(&format!("exit {code}")), &[(null.as_fd(), 5)]).unwrap();
                    assert_eq!(reap(child.pid).unwrap().ending, WaitStatus::Code(code));
                    assert!(spawn(&SpawnSpec { program: c"/none".into(), ..shell("") }, &[]).is_err());
                }
            });
        }
    });
}

#[test]
fn pidfd_identifies_one_process_and_reports_its_exit() {
    let child = spawn(&shell("exit 3"), &[]).unwrap();
    let pidfd = child.open().unwrap();
    assert_eq!(ostler_sys::process::pid_of_fd(pidfd.as_fd()), Some(child.pid));
    let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut poll, None).unwrap();
    // As a zombie by its status line; after that by the data that newer kernels keep for the
    // descriptor.
    assert_eq!(ostler_sys::process::ending_by_fd(pidfd.as_fd(), child), WaitStatus::Code(3));
    reap(child.pid).unwrap();
    let after = ostler_sys::process::ending_by_fd(pidfd.as_fd(), child);
    assert!(matches!(after, WaitStatus::Code(3) | WaitStatus::Unknown), "{after:?}");
    assert_eq!(ostler_sys::process::pid_of_fd(pidfd.as_fd()), None);
    let other = ProcRef { start_ticks: 1, ..ProcRef::me() };
    assert!(other.open().is_err() && !other.exists() && ProcRef::me().exists());
}

/// Measures a start against `posix_spawn`. Run it by hand:
/// `cargo nextest run … --run-ignored all --no-capture`.
#[test]
#[ignore = "a measurement"]
fn spawn_cost_compared_with_posix_spawn() {
    let time = |run: &mut dyn FnMut()| {
        let mut times: Vec<_> = (0..500)
            .map(|_| {
                let start = std::time::Instant::now();
                run();
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        (times[5], times[250])
    };
    let spec = SpawnSpec { program: c"/bin/true".into(), argv: [c"true"].into(), ..shell("") };
    let mut held = Vec::new();
    for open in [0, 0, 3000, 10_000] {
        rlimit::raise_nofile();
        held.resize_with(open, || std::fs::File::open("/dev/null").unwrap());
        let ours = time(&mut || assert!(reap(spawn(&spec, &[]).unwrap().pid).is_some()));
        let std = time(&mut || assert!(std::process::Command::new("/bin/true").env_clear().status().is_ok()));
        eprintln!("{open} descriptors open, 1 % and median: ours {ours:?}, posix_spawn {std:?}");
    }
}
