//! The boot commands of the documents that this project started from, unchanged and in order.

use ostler_testkit::{Machine, needs_machine};

use crate::setup::machine;

#[track_caller]
fn run_typed_lines(machine: &Machine, lines: &str) {
    for line in lines.lines() {
        machine.ok(["sh", "-c", line]);
    }
}

#[track_caller]
fn assert_apps_are_back(machine: &Machine) {
    machine.wait_unit("pm2-root.service", "active");
    let list = machine.jlist("pm2 jlist");
    let state: Vec<_> = list.iter().map(|app| format!("{} {}", app.name(), app.status())).collect();
    assert_eq!(state, ["api online", "main online"], "{}", machine.diagnostics());
}

/// Document 002.
#[test]
fn pm2_save_then_pm2_startup_systemd() {
    needs_machine!();
    let mut machine = machine();
    machine.ok("pm2 start /srv/app.js --name api");
    machine.ok("pm2 start /srv/app.js -f --name main");
    run_typed_lines(&machine, "pm2 save\npm2 startup\npm2 startup systemd");
    machine.reboot();
    assert_apps_are_back(&machine);
}

/// Document 004, and `unstartup` of document 001.
#[test]
fn pm2_startup_then_pm2_save_and_pm2_unstartup() {
    needs_machine!();
    let mut machine = machine();
    machine.ok("pm2 start /srv/app.js --name api");
    machine.ok("pm2 start /srv/app.js -f --name main");
    run_typed_lines(&machine, "pm2 startup                         # 生成启动脚本\npm2 save                            # 保存当前进程列表");
    machine.reboot();
    assert_apps_are_back(&machine);
    run_typed_lines(&machine, "pm2 unstartup");
    machine.reboot();
    machine.run("ls /etc/systemd/system").never_says("pm2-root");
    machine.run("pgrep -x ostler-keeper").fails();
    run_typed_lines(&machine, "pm2 resurrect");
    machine.wait_until("they are back by hand", || machine.jlist("pm2 jlist").iter().all(|app| app.status() == "online"));
}
