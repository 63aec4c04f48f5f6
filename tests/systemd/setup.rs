//! What most tests begin with.

use std::path::PathBuf;

use ostler_testkit::{Item, Machine};

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("OSTLER_TEST_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ostler")), PathBuf::from)
}

/// A machine with an app in `/srv/app.js` that says what signals it gets.
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

/// A machine on which root has these apps saved and a unit that has been started.
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

/// Until every app has come so far that it handles signals.
#[track_caller]
pub fn wait_for_apps(machine: &Machine) {
    let pids = pids(machine);
    machine.wait_until("every app is up", || {
        let up = machine.read("/srv/up");
        pids.iter().all(|(_, pid)| up.lines().any(|line| line.parse() == Ok(*pid)))
    });
}

pub const UNIT: &str = "ostler-root.service";

/// Pids by name, of root's apps.
#[track_caller]
pub fn pids(machine: &Machine) -> Vec<(String, i32)> {
    let list = machine.jlist("ostler jlist");
    assert!(list.iter().all(|app| app.status() == "online"), "{list:?}\n{}", machine.said());
    list.iter().map(|app: &Item| (app.name().to_owned(), app.pid())).collect()
}
