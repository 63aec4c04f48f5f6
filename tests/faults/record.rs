//! Record of the calls that each part makes.

use std::collections::BTreeSet;
use std::fs;

use ostler_testkit::{Part, call_name, fixture, kill};
use rustix::process::Signal;

use crate::stage::Stage;
use crate::table;

const HEAD: &str = "\
# System calls of each part of ostler, recorded by `cargo xtask faults --record` over this scenario: start a
# daemon, three programs and two workers of a cluster, list, logs, describe, restart, reload, crash,
# kill the daemon, the keeper, the standby and then keeper and daemon together, save, resurrect,
# enable the dashboard, kill.
";

/// Plays the scenario, and adds its calls to the file.
pub(crate) fn run() {
    let mut stage = Stage::with_apps(Part::Dashboard).unwrap();
    let program = fixture();
    let commands = [
        "list",
        "jlist",
        "describe victim",
        "logs ticker --nostream --lines 5",
        "restart victim",
        "reload web",
        "reload victim",
        "stop victim",
        "start victim",
        "save",
        "flush victim",
        "reset victim",
        "why victim",
        "env 0",
        "events --json",
        "health",
        "doctor",
        "ping",
        "pid victim",
    ];
    for words in commands {
        let output = stage.run(words);
        assert!(output.is_some(), "{words} hangs");
    }
    kill(stage.app("victim").unwrap().pid(), Signal::KILL);
    for part in [Part::Daemon, Part::Keeper, Part::Standby, Part::Dashboard] {
        stage.kill(part);
        stage.wait_a_moment();
        stage.run("list");
    }
    stage.kill_both();
    stage.run(&format!("start {program} --name extra --cron-restart '* * * * *' --watch -- hold"));
    stage.run("delete extra");
    for _ in 0..3 {
        stage.dashboard_answer();
    }
    stage.settle();
    stage.run("kill");
    stage.run("resurrect");
    stage.run("list");
    stage.run("kill");
    let mut calls: BTreeSet<(Part, String)> = stage.supervisor.seen().into_keys().map(|(part, call)| (part, call_name(call))).collect();
    for (part, name) in Part::ALL {
        calls.extend(table::calls(part).into_iter().map(|call| (part, call)));
        eprintln!("{name}: {} calls", calls.iter().filter(|(of, _)| *of == part).count());
    }
    let lines: Vec<String> = calls.into_iter().map(|(part, call)| format!("{part} {call}\n")).collect();
    fs::write(table::calls_file(), format!("{HEAD}{}", lines.concat())).unwrap();
}
