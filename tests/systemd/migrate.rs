//! `migrate` with the boot unit that real PM2 wrote: ostler takes it over and gives it back. After
//! a reboot, one of the two has the apps.

use std::process::Command;

use ostler_testkit::{Machine, installed_pm2_of, needs_machine, skip};

use crate::setup::{machine, pids, wait_for_apps};

/// Installs npm's PM2 in a machine, with two apps, saved and started at boot.
fn with_pm2(machine: &Machine) -> Option<()> {
    let pm2 = installed_pm2_of("6.0.14")?;
    let modules = pm2.ancestors().find(|folder| folder.ends_with("node_modules"))?;
    std::fs::create_dir_all(machine.path("/opt")).unwrap();
    let copied = Command::new("cp").arg("-a").arg(modules).arg(machine.path("/opt/node_modules")).status().unwrap();
    assert!(copied.success());
    theirs(machine, "start /srv/app.js --name api");
    theirs(machine, "start /srv/app.js -f --name main");
    theirs(machine, "save");
    theirs(machine, "startup systemd");
    Some(())
}

/// Runs a command of npm's PM2.
#[track_caller]
fn theirs(machine: &Machine, words: &str) -> String {
    machine.ok(["sh", "-c", &format!("PM2_HOME=/root/.pm2 node /opt/node_modules/pm2/bin/pm2 {words}")]).stdout
}

/// Returns true if systemd starts this unit at boot.
fn is_enabled(machine: &Machine, unit: &str) -> bool {
    machine.run(["systemctl", "is-enabled", unit]).stdout.trim() == "enabled"
}

#[test]
fn migrate_takes_over_pm2_boot_unit_and_returns_it() {
    needs_machine!();
    let mut machine = machine();
    if with_pm2(&machine).is_none() {
        skip!("npm's pm2 6.0.14 is not installed");
    }
    let units = |machine: &Machine| (is_enabled(machine, "pm2-root.service"), is_enabled(machine, "ostler-root.service"));
    assert_eq!(units(&machine), (true, false));
    machine.ok("ostler migrate /root/.pm2").says("ostler now starts at boot instead of pm2-root.service");
    assert_eq!(units(&machine), (false, true));
    assert_eq!(pids(&machine).len(), 2);
    // After the way back, PM2 has the apps, now and after a boot.
    machine.ok("ostler migrate --back").says("pm2-root.service starts PM2 at boot again");
    assert!(units(&machine).0);
    let list = theirs(&machine, "jlist");
    assert_eq!(list.matches("\"status\":\"online\"").count(), 2, "{list}");
    // A second migration, which stays.
    machine.ok("ostler migrate /root/.pm2");
    machine.ok("ostler migrate --finish");
    machine.ok("ostler save");
    assert_eq!(units(&machine), (false, true));
    machine.reboot();
    machine.wait_unit("ostler-root.service", "active");
    wait_for_apps(&machine);
    assert_eq!(pids(&machine).len(), 2);
    machine.run(["pgrep", "-f", "God Daemon"]).fails();
}
