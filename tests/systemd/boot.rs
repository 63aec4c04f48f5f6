//! Row "Restarts after reboot": what was saved is back.

use ostler_testkit::needs_machine;

use crate::setup::{machine, pids};

#[test]
fn restarts_after_reboot() {
    needs_machine!();
    let mut machine = machine();
    machine.ok("pm2 start /srv/app.js --name api -i 2");
    machine.ok("pm2 start /srv/app.js --name worker");
    machine.ok("pm2 stop worker");
    machine.ok("pm2 startup systemd").says("systemctl enable pm2-root").says("$ pm2 save");
    machine.ok("pm2 save");
    machine.reboot();
    machine.wait_unit("pm2-root.service", "active");
    let list = machine.jlist("pm2 jlist");
    let state: Vec<_> = list.iter().map(|app| format!("{} {}", app.name(), app.status())).collect();
    assert_eq!(state, ["api online", "api online", "worker stopped"], "{}", machine.said());
    let _ = pids;
}
