//! Few descriptors: ostler reserves room for the next keeper, and refuses a process without room
//! before it starts.

use std::collections::BTreeMap;

use ostler_testkit::{Home, alive};
use serde_json::json;

use crate::setup::home;

fn pids(home: &Home) -> BTreeMap<String, i32> {
    home.jlist().iter().filter(|item| item.status() == "online").map(|item| (item.name().to_owned(), item.pid())).collect()
}

/// Kills the keeper several times: the processes stay the same and supervised.
#[track_caller]
fn survives_its_keeper(home: &Home) {
    let before = pids(home);
    for _ in 0..3 {
        let daemon = home.daemon_pid();
        home.kill_keeper();
        assert_eq!(pids(home), before, "{}", home.report());
        assert_eq!(home.daemon_pid(), daemon, "the daemon did not survive\n{}", home.report());
    }
    let (name, pid) = before.first_key_value().unwrap();
    ostler_testkit::kill(*pid, rustix::process::Signal::KILL);
    home.wait_app(name, "restarted", |item| item.pid() != *pid && item.status() == "online");
}

#[test]
fn hundred_apps_with_300_descriptors_survive_keeper_death() {
    let home = home();
    // Two apps log through pipes, which need more descriptors everywhere.
    let app = |n: usize| json!({ "name": format!("a{n}"), "script": "sleep", "args": "1000", "time": n < 2 });
    let file = home.write("many.json", json!({ "apps": (0..100).map(app).collect::<Vec<_>>() }).to_string());
    home.cmd(["start", &file]).after("ulimit -n 300").run().ok();
    assert_eq!(pids(&home).len(), 100, "{}", home.report());
    survives_its_keeper(&home);
    home.ok("kill");
    home.wait_no_processes();
}

#[test]
fn start_without_free_descriptors_is_rejected() {
    let home = home();
    let app = |n: usize| json!({ "name": format!("a{n}"), "script": "sleep", "args": "1000", "time": n == 0 });
    let file = home.write("many.json", json!({ "apps": (0..150).map(app).collect::<Vec<_>>() }).to_string());
    let output = home.cmd(["start", &file]).after("ulimit -n 140").run().code(1);
    assert!(output.all().contains("the limit of open files is 140"), "{output}");
    assert!(output.all().contains("ulimit -n") && output.all().contains("LimitNOFILE="), "{output}");
    let run = pids(&home);
    assert!(run.len() >= 30 && run.len() < 150, "{} run", run.len());
    assert!(run.values().all(|pid| alive(*pid)));
    survives_its_keeper(&home);
    // One more app is refused in one line. It starts once there is room again.
    let output = home.run("start sleep --name more -- 1000").code(1);
    assert!(output.all().contains("the limit of open files is 140"), "{output}");
    home.ok("delete /^a[0-9]$/");
    home.ok("start sleep --name more -- 1000");
    home.wait_status("more", "online");
    survives_its_keeper(&home);
    home.ok("kill");
    home.wait_no_processes();
}
