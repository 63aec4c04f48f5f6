//! Promise 7, in part: no wake-ups when nothing happens. (The benchmarks measure the figures.)

use std::thread;
use std::time::Duration;

use ostler_testkit::fixture;

use crate::setup::{ecosystem, home, start_fixture};

/// Counts how often the threads of a process gave up or lost the CPU since their start.
fn switches(pid: i32) -> u64 {
    let of_thread = |status: &str| {
        let count = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap_or(0);
        count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:")
    };
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok()).map(|status| of_thread(&status)).sum()
}

#[test]
fn idle_processes_do_not_wake_up() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    start_fixture(&home, "dated", "-f --time", "hold");
    // Readiness conditions of a finished start, and messages that may arrive at any time, cause no
    // wake-ups, either.
    for (name, ready) in [("notify", r#""notify", "watchdog": "1h""#), ("log", r#"{"log": "up"}"#), ("uptime", r#"{"uptime": 10}"#)] {
        let script = home.write(&format!("{name}.sh"), format!("#!/bin/sh\necho up\nexec {} notify READY=1\n", fixture()));
        let script = if name == "notify" { script } else { home.write(&format!("{name}.sh"), "#!/bin/sh\necho up\nexec sleep 1000\n") };
        home.ok(format!(
            "start {}",
            ecosystem(&home, &format!(r#""name": "{name}", "script": "{script}", "listen": 0, "ready": {ready}"#))
        ));
    }
    // Neither does a watched app: the daemon's watching thread sleeps as well.
    let watched = home.write("watched/app.sh", "#!/bin/sh\nexec sleep 1000\n");
    let cwd = home.work().join("watched");
    home.ok(format!(
        "start {}",
        ecosystem(&home, &format!(r#""name": "watched", "script": "{watched}", "cwd": "{}", "watch": true"#, cwd.display()))
    ));
    let pids = [home.keeper_pid(), home.daemon_pid(), home.anchor_pid()];
    let threads = format!("/proc/{}/task", pids[1]);
    home.wait_until("somebody watches", || {
        let names =
            std::fs::read_dir(&threads).unwrap().flatten().filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok());
        names.map(|name| name.trim_end().to_owned()).any(|name| name == "watch")
    });
    // Some work follows a start: a write to disk, a client's exit, and the return of unused memory.
    // The memory is returned once, after a second and a half without an event. The test waits until
    // it is done.
    let mut last = pids.map(switches);
    home.wait_until("keeper, daemon and anchor are at rest for two seconds", || {
        thread::sleep(Duration::from_secs(2));
        let now = pids.map(switches);
        std::mem::replace(&mut last, now) == now
    });
    thread::sleep(Duration::from_secs(3));
    assert_eq!(pids.map(switches), last, "keeper, daemon or anchor woke up");
}
