//! Promise 4 in its hardest case: a process that left its session and its parents and cleared its
//! environment. Only the cgroup identifies it.

use ostler_testkit::{Home, alive, cgroup_of_home, fixture, kill, needs_cgroup, needs_root};
use rustix::process::Signal;

use crate::setup::{binary, home};

/// Writes an app that lets a process escape. The process's pid is in `escaped.pid`, and its command
/// line has this folder, by which the test finds it. The app then continues with the given shell
/// text.
fn escape(home: &Home, then: &str) -> String {
    let work = home.work();
    let work = work.display();
    let escaped = format!("echo $$ > {work}/pid.new; mv {work}/pid.new {work}/escaped.pid; exec tail -f {work}/app.sh");
    home.write(
        "app.sh",
        format!(
            "#!/bin/sh\nrm -f {work}/escaped.pid\n(setsid env -i PATH=\"$PATH\" sh -c '{escaped}' </dev/null >/dev/null 2>&1 &)\n\
             while ! [ -f {work}/escaped.pid ]; do sleep 0.01; done\n{then}\n"
        ),
    )
}

/// Starts such an app, and waits until both processes run.
#[track_caller]
fn start_escaping(home: &Home) -> i32 {
    let script = escape(home, "exec sleep 1000");
    home.ok(format!("start {script} --name app --kill-timeout 400"));
    escaped(home)
}

/// Returns the pid of the escaped process.
#[track_caller]
fn escaped(home: &Home) -> i32 {
    let mut pid = 0;
    // The file may still be from the former run.
    home.wait_until("the escaped one runs", || {
        pid = home.read("escaped.pid").trim().parse().unwrap_or(0);
        home.app_processes().iter().any(|p| p.pid == pid && p.cmdline.starts_with("tail"))
    });
    pid
}

#[test]
fn escaped_process_and_cgroup_are_gone_after_stop() {
    needs_cgroup!();
    let home = home();
    let first = start_escaping(&home);
    let groups = cgroup_of_home(home.dir()).unwrap();
    assert_eq!(std::fs::read_dir(&groups).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 1);
    home.ok("restart app");
    assert!(!alive(first), "{}", home.report());
    escaped(&home);
    home.ok("stop app");
    home.assert_no_app_processes();
    home.wait_until("a stopped app has no group", || !std::fs::read_dir(&groups).unwrap().any(|entry| entry.unwrap().path().is_dir()));
    home.ok("start app");
    escaped(&home);
    home.ok("delete app");
    home.assert_no_app_processes();
    home.ok("kill");
    assert!(!groups.exists());
}

#[test]
fn kill_stops_escaped_process() {
    needs_cgroup!();
    let home = home();
    start_escaping(&home);
    let groups = cgroup_of_home(home.dir()).unwrap();
    home.ok("kill");
    home.wait_no_processes();
    assert!(!groups.exists());
}

#[test]
fn escaped_process_exits_before_the_next_start() {
    needs_cgroup!();
    let home = home();
    let work = home.work();
    let work = work.display();
    let script = escape(&home, "exit 1");
    // Runs before the app: all processes of the former run must have exited.
    let looks = format!(
        "#!/bin/sh\nold=$(cat {work}/escaped.pid 2>/dev/null)\nstate=$(sed -n 's/^State:[[:space:]]*\\(.\\).*/\\1/p' /proc/${{old:-none}}/status 2>/dev/null)\n\
         case \"$state\" in ''|Z|X) echo alone;; *) echo overlap;; esac >> {work}/starts\nexec {script}\n"
    );
    let looks = home.write("looks.sh", looks);
    home.ok(format!("start {looks} --name app --max-restarts 12"));
    home.wait_status("app", "errored");
    let starts = home.read("starts");
    assert!(starts.lines().count() > 10 && !starts.contains("overlap"), "{starts}");
    home.assert_no_app_processes();
}

#[test]
fn killed_daemon_does_not_lose_escaped_process() {
    needs_cgroup!();
    let home = home();
    start_escaping(&home);
    home.kill_daemon();
    home.ok("stop app");
    home.assert_no_app_processes();
    home.ok("start app");
    let pid = escaped(&home);
    // During the stop: the main process has exited, the escaped process has not.
    let leader = home.app("app").pid();
    let mut stop = home.cmd("stop app").command().spawn().unwrap();
    home.wait_until("the main process is gone", || !alive(leader));
    home.kill_daemon();
    drop(stop.wait());
    home.wait_status("app", "stopped");
    assert!(!alive(pid));
    home.assert_no_app_processes();
}

#[test]
fn killed_keeper_does_not_lose_escaped_process() {
    needs_cgroup!();
    let home = home();
    start_escaping(&home);
    let keeper = home.keeper_pid();
    kill(keeper, Signal::KILL);
    home.wait_until("another keeper runs", || home.keeper_pid() != keeper);
    home.ok("restart app");
    escaped(&home);
    let groups = cgroup_of_home(home.dir()).unwrap();
    home.ok("delete app");
    home.assert_no_app_processes();
    home.ok("kill");
    assert!(!groups.exists());
}

#[test]
fn escaped_process_is_known_after_both_are_killed() {
    needs_cgroup!();
    let home = home();
    let pid = start_escaping(&home);
    home.kill_all_three();
    assert!(alive(pid));
    home.ok("delete app");
    home.assert_no_app_processes();
}

#[test]
fn list_includes_memory_of_escaped_process() {
    needs_cgroup!();
    let home = home();
    let work = home.work();
    let work = work.display();
    let hog = format!("x=$(head -c 30000000 /dev/zero | tr \"\\\\0\" x); echo ready > {work}/ready; read line < {work}/fifo");
    let script = format!("#!/bin/sh\nmkfifo {work}/fifo\n(setsid env -i PATH=\"$PATH\" sh -c '{hog}' {work} &)\nexec sleep 1000\n");
    let script = home.write("hog.sh", script);
    home.ok(format!("start {script} --name app"));
    home.wait_file("ready", "ready");
    let memory = home.app("app").0["monit"]["memory"].as_u64().unwrap();
    assert!(memory > 30_000_000, "{memory}");
    home.ok("delete app");
    home.assert_no_app_processes();
}

#[test]
fn app_of_another_user_has_its_cgroup() {
    needs_root!();
    needs_cgroup!();
    let home = home();
    std::fs::set_permissions(home.work(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let script = escape(&home, "exec sleep 1000");
    home.ok(format!("start {script} --name app --uid 65534 --gid 65534"));
    escaped(&home);
    home.ok("delete app");
    home.assert_no_app_processes();
}

#[test]
fn daemon_started_by_an_app_is_not_part_of_the_app() {
    let home = home();
    let inner = home.root().join("inner");
    let start = format!("OSTLER_HOME={} {} start {} --name inner -- hold", inner.display(), binary().display(), fixture());
    let script = home.write("outer.sh", format!("#!/bin/sh\n{start}\nexec sleep 1000\n"));
    home.ok(format!("start {script} --name outer"));
    home.wait_log("outer-error.log", "✓ inner");
    home.ok("delete outer");
    let list = home.cmd("jlist").env("OSTLER_HOME", &inner).run().ok();
    assert!(list.stdout.contains("\"online\""), "{}", list.stdout);
    home.ok("kill");
    home.cmd("kill").env("OSTLER_HOME", &inner).run().ok();
    home.wait_no_processes();
}

#[test]
fn cgroup_off_creates_no_cgroups_and_works() {
    let home = home();
    let script = home.write("app.sh", "#!/bin/sh\nexec sleep 1000\n");
    home.cmd(format!("start {script} --name app")).env("OSTLER_CGROUP", "off").run().ok();
    assert!(!cgroup_of_home(home.dir()).is_some_and(|groups| groups.exists()));
    home.ok("delete app");
    home.assert_no_app_processes();
}
