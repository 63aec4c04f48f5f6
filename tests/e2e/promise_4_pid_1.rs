//! Promise 4 as process 1 of a container: no process and no zombie remains.

use std::process::{Command, Stdio};

use ostler_testkit::{Home, KilledOnDrop, can_unshare, kill, process_table, skip};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

/// A keeper that is process 1 of its own pid namespace.
struct Init {
    /// Its end is the end of all processes in the namespace.
    unshare: KilledOnDrop,
    /// Pid of the keeper, seen from outside.
    keeper: i32,
}

impl Init {
    /// Starts the keeper; `None` if namespaces are not permitted.
    fn start(home: &Home) -> Option<Self> {
        const OPTIONS: [&str; 4] = ["--pid", "--fork", "--kill-child", "--mount-proc"];
        if !can_unshare(&OPTIONS) {
            return None;
        }
        std::fs::create_dir_all(home.dir()).unwrap();
        let keeper = home.cmd("").env("OSTLER_ROLE", "keeper").command();
        let mut command = Command::new("unshare");
        command.args(OPTIONS).arg(keeper.get_program()).env_clear().stdin(Stdio::null());
        command.envs(keeper.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let unshare = KilledOnDrop(command.spawn().unwrap());
        let mut keeper = 0;
        home.wait_until("process 1 listens", || {
            keeper = process_table().iter().find(|p| p.ppid == unshare.pid()).map_or(0, |p| p.pid);
            keeper > 0 && home.dir().join("ostler.sock").exists()
        });
        Some(Self { unshare, keeper })
    }

    /// Counts the keeper's children in a state, including the daemon.
    fn children(&self, wanted: impl Fn(char) -> bool) -> usize {
        process_table().iter().filter(|p| p.ppid == self.keeper && wanted(p.state)).count()
    }
}

#[test]
fn process_1_leaves_no_zombie_or_orphan() {
    let home = home();
    let Some(mut init) = Init::start(&home) else { skip!("pid namespaces are not permitted here") };
    start_fixture(&home, "double", "", "double-fork");
    home.wait_log("double-out.log", "forked");
    let script = home.write("orphans.sh", "#!/bin/sh\nfor n in 1 2 3 4 5 6 7 8; do (sleep 0.01 &); done\necho all\nexec sleep 1000\n");
    home.ok(format!("start {script} --name orphans"));
    home.wait_log("orphans-out.log", "all");
    // The daemon, two main processes, and the orphan in a session of its own.
    home.wait_until("every dead orphan is reaped", || init.children(|state| state == 'Z') == 0 && init.children(|_| true) == 4);
    assert_eq!(std::fs::read_to_string(home.dir().join("pm2.pid")).unwrap(), "1");
    home.ok("stop double");
    home.ok("delete orphans");
    home.wait_until("only the daemon is left", || init.children(|_| true) == 1);
    home.ok("start double");
    home.ok("kill");
    let status = init.unshare.wait().unwrap();
    assert!(status.success(), "process 1 ends by itself: {status}");
    assert!(home.processes().is_empty(), "{:?}", home.processes());
}

#[test]
fn stopped_process_1_is_continued() {
    let home = home();
    let Some(init) = Init::start(&home) else { skip!("pid namespaces are not permitted here") };
    start_fixture(&home, "app", "", "hold");
    let (inside, restarts) = (home.app("app").pid(), home.app("app").restarts());
    let app = home.app_processes().first().map_or(0, |process| process.pid);
    kill(init.keeper, Signal::STOP);
    home.wait_until("process 1 is stopped", || process_table().iter().any(|p| p.pid == init.keeper && p.state == 'T'));
    kill(app, Signal::KILL);
    let restarted = home.wait_app("app", "restarted", |item| item.pid() != inside && item.status() == "online");
    assert_eq!(restarted.restarts(), restarts + 1, "{}", home.report());
    assert!(home.daemon_log().contains("SIGCONT"), "{}", home.report());
}
