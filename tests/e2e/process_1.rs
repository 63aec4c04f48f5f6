//! Commands as process 1 of a container: they react to signals, although the kernel has no default
//! action for process 1.

use std::process::{Child, Command, Stdio};

use ostler_testkit::{Home, can_unshare, kill, needs_root, process_table, skip, text_of};
use rustix::process::Signal;

use crate::setup::{home, home_as_pm2};

/// Options by which `unshare` makes its child process 1 of a pid namespace.
const NAMESPACE: [&str; 4] = ["--pid", "--fork", "--kill-child", "--mount-proc"];

/// A command that runs as process 1.
struct Init {
    unshare: Child,
    /// Pid of process 1, seen from outside.
    first: i32,
}

impl Init {
    #[track_caller]
    fn start(home: &Home, words: &str) -> Self {
        let inner = home.cmd(words).command();
        let mut command = Command::new("unshare");
        command.args(NAMESPACE).arg(inner.get_program()).args(inner.get_args()).env_clear().stdin(Stdio::null());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdout(std::fs::File::create(home.root().join("shown")).unwrap()).stderr(Stdio::null()).current_dir(home.work());
        let unshare = command.spawn().unwrap();
        let parent = i32::try_from(unshare.id()).unwrap();
        let mut first = 0;
        home.wait_until("there is a process 1", || {
            let table = process_table();
            first = table.iter().find(|p| p.ppid == parent && !p.cmdline.starts_with("unshare")).map_or(0, |p| p.pid);
            first > 0
        });
        // The kernel drops signals before that: process 1 has no default actions.
        home.wait_until("process 1 receives signals", || {
            let links = std::fs::read_dir(format!("/proc/{first}/fd")).into_iter().flatten().flatten();
            links.filter_map(|link| std::fs::read_link(link.path()).ok()).any(|target| target.to_string_lossy().contains("[signalfd]"))
        });
        Self { unshare, first }
    }

    /// Sends a signal, and returns the exit code.
    #[track_caller]
    fn exit_code_after(mut self, home: &Home, signal: Signal, what: &str) -> Option<i32> {
        kill(self.first, signal);
        home.wait_until(&format!("{what} obeys {signal:?}"), || self.unshare.try_wait().unwrap().is_some());
        self.unshare.wait().unwrap().code()
    }
}

#[test]
fn long_running_commands_obey_signals() {
    needs_root!();
    if !can_unshare(&NAMESPACE) {
        skip!("namespaces are not permitted here");
    }
    for (command, sign, signal, code) in [
        ("logs", "ostler", Signal::TERM, 143),
        ("logs", "ostler", Signal::INT, 130),
        ("logs", "ostler", Signal::HUP, 129),
        ("logs --json", "", Signal::TERM, 143),
        ("events --follow", "", Signal::TERM, 143),
        ("list --watch", "app", Signal::TERM, 143),
        ("start SCRIPT --name second --attach", "says", Signal::TERM, 143),
        ("restart app --attach", "says", Signal::INT, 130),
    ] {
        let home = home();
        let script = home.write("say.sh", "echo says; exec sleep 1000");
        home.ok(format!("start {script} --name app"));
        let init = Init::start(&home, &command.replace("SCRIPT", &script));
        home.wait_until(&format!("{command} shows something"), || text_of(home.root().join("shown")).contains(sign));
        assert_eq!(init.exit_code_after(&home, signal, command), Some(code), "{command}: {}", text_of(home.root().join("shown")));
        // The command must leave a daemon outside its container alone.
        assert_eq!(home.app("app").status(), "online", "{command}");
    }
}

#[test]
fn apps_that_process_1_has_started_are_stopped_in_order() {
    needs_root!();
    if !can_unshare(&NAMESPACE) {
        skip!("namespaces are not permitted here");
    }
    for home in [home(), home_as_pm2()] {
        let script = home.write("app.sh", "trap 'echo asked > asked; exit' INT TERM; echo says; while :; do sleep 0.1; done");
        let init = Init::start(&home, &format!("start {script} --name app --attach"));
        home.wait_until("its lines are shown", || text_of(home.root().join("shown")).contains("says"));
        assert_eq!(init.exit_code_after(&home, Signal::TERM, "start --attach"), Some(143));
        assert_eq!(home.read("asked"), "asked\n");
        assert!(home.processes().is_empty(), "{}", home.report());
    }
}
