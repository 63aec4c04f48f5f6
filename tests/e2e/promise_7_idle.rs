//! Promise 7, in part: no wake-ups when nothing happens. (Figures are the benchmarks' business.)

use std::thread;
use std::time::Duration;

use ostler_testkit::fixture;

use crate::setup::{ecosystem, home, start_fixture};

/// Times the threads of a process gave up or lost the CPU since they began.
fn switches(pid: i32) -> u64 {
    let of_thread = |status: &str| {
        let count = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap_or(0);
        count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:")
    };
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok()).map(|status| of_thread(&status)).sum()
}

#[test]
fn at_rest_nobody_wakes_up() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    start_fixture(&home, "dated", "-f --time", "hold");
    // What was looked for at a start, and what may be said at any time, wakes nobody either.
    for (name, ready) in [("notify", r#""notify", "watchdog": "1h""#), ("log", r#"{"log": "up"}"#), ("uptime", r#"{"uptime": 10}"#)] {
        let script = home.write(&format!("{name}.sh"), format!("#!/bin/sh\necho up\nexec {} notify READY=1\n", fixture()));
        let script = if name == "notify" { script } else { home.write(&format!("{name}.sh"), "#!/bin/sh\necho up\nexec sleep 1000\n") };
        home.ok(format!(
            "start {}",
            ecosystem(&home, &format!(r#""name": "{name}", "script": "{script}", "listen": 0, "ready": {ready}"#))
        ));
    }
    // Nor does what is watched for changes: a thread of the daemon sleeps as it does.
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
    // What follows a start may take a moment: a write to disk, the end of a client, and once, after a second and a half without any
    // event, giving memory back. Wait until it is over.
    let mut last = pids.map(switches);
    home.wait_until("keeper, daemon and anchor are at rest for two seconds", || {
        thread::sleep(Duration::from_secs(2));
        let now = pids.map(switches);
        std::mem::replace(&mut last, now) == now
    });
    thread::sleep(Duration::from_secs(3));
    assert_eq!(pids.map(switches), last, "keeper, daemon or anchor woke up");
}
