//! Promise 7, in part: no wake-ups when nothing happens. (Figures are the benchmarks' business.)

use std::thread;
use std::time::Duration;

use ostler_testkit::fixture;

use crate::setup::{ecosystem, home, start_fixture};

/// Times a process gave up or lost the CPU since it began.
fn switches(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let count = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap();
    count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:")
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
    let pids = [home.keeper_pid(), home.daemon_pid()];
    // What follows a start may take a moment: a write to disk, the end of a client, and once, after a second and a half without any
    // event, giving memory back. Wait until it is over.
    let mut last = pids.map(switches);
    home.wait_until("keeper and daemon are at rest for two seconds", || {
        thread::sleep(Duration::from_secs(2));
        let now = pids.map(switches);
        std::mem::replace(&mut last, now) == now
    });
    thread::sleep(Duration::from_secs(3));
    assert_eq!(pids.map(switches), last, "keeper or daemon woke up");
}
