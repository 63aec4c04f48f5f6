//! Setup that most tests share.

use std::path::PathBuf;

use ostler_testkit::{ListedApp, Machine};

/// Returns the binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("OSTLER_TEST_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ostler")), PathBuf::from)
}

/// Boots a machine with an app in `/srv/app.js` that records the signals that it receives.
#[track_caller]
pub fn machine() -> Machine {
    let machine = Machine::boot(&binary());
    machine.write(
        "/srv/app.js",
        "const { appendFileSync } = require('fs');\n\
         process.on('SIGINT', () => { appendFileSync('/srv/order', `${process.env.name} `); process.exit(0); });\n\
         appendFileSync('/srv/up', `${process.pid}\\n`); setInterval(() => {}, 1e6);\n",
    );
    machine
}

/// Boots a machine on which root has saved these apps and a unit has been started.
#[track_caller]
pub fn with_unit(apps: &[&str]) -> Machine {
    let machine = machine();
    for app in apps {
        machine.ok(format!("ostler start /srv/app.js --name {app}"));
    }
    machine.ok("ostler save");
    machine.ok("ostler startup");
    machine.ok("ostler kill");
    drop(std::fs::remove_file(machine.path("/srv/order")));
    machine.ok(["systemctl", "start", UNIT]);
    wait_for_apps(&machine);
    machine
}

/// Waits until every app handles signals.
#[track_caller]
pub fn wait_for_apps(machine: &Machine) {
    let pids = pids(machine);
    machine.wait_until("every app is up", || {
        let up = machine.read("/srv/up");
        pids.iter().all(|(_, pid)| up.lines().any(|line| line.parse() == Ok(*pid)))
    });
}

pub const UNIT: &str = "ostler-root.service";

/// Returns the pids of root's apps by name.
#[track_caller]
pub fn pids(machine: &Machine) -> Vec<(String, i32)> {
    let list = machine.jlist("ostler jlist");
    assert!(list.iter().all(|app| app.status() == "online"), "{list:?}\n{}", machine.diagnostics());
    list.iter().map(|app: &ListedApp| (app.name().to_owned(), app.pid())).collect()
}
