//! Row "Restarts after reboot": saved apps run again after a boot.

use ostler_testkit::needs_machine;

use crate::setup::{machine, pids};

#[test]
fn apps_restart_after_reboot() {
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
    assert_eq!(state, ["api online", "api online", "worker stopped"], "{}", machine.diagnostics());
}

/// `HOME` moves the home. The unit uses the home in which the list was saved.
#[test]
fn unit_uses_the_home_set_by_the_shell() {
    needs_machine!();
    let mut machine = machine();
    machine.ok("mkdir -p /srv/moved");
    for words in ["ostler start /srv/app.js --name api", "ostler save", "ostler startup"] {
        machine.ok(["env", "HOME=/srv/moved"].into_iter().chain(words.split(' ')).collect::<Vec<_>>());
    }
    machine.reboot();
    machine.wait_unit("ostler-root.service", "active");
    let list = machine.jlist("env HOME=/srv/moved ostler jlist");
    assert_eq!(list.iter().map(|app| app.name()).collect::<Vec<_>>(), ["api"], "{}", machine.diagnostics());
}

/// A version manager has removed the Node version with which the apps were saved, and has installed
/// another.
#[test]
fn apps_start_after_node_was_replaced() {
    needs_machine!();
    let mut machine = machine();
    let node = |version: &str| format!("/root/.nvm/versions/node/v{version}/bin");
    let install = |machine: &ostler_testkit::Machine, version: &str| {
        machine.ok(["mkdir", "-p", &node(version)]);
        machine.ok(["mv", "/usr/bin/node", &format!("{}/node", node(version))]);
    };
    install(&machine, "20.1.0");
    machine.write("/root/.nvm/alias/default", "lts/iron\n");
    machine.write("/root/.nvm/alias/lts/iron", "v20.1.0\n");
    let path = format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", node("20.1.0"));
    for words in ["ostler start /srv/app.js --name api", "ostler save", "ostler startup"] {
        machine.ok(["env", &path].into_iter().chain(words.split(' ')).collect::<Vec<_>>());
    }
    let unit = machine.read("/etc/systemd/system/ostler-root.service");
    assert!(!unit.contains("20.1.0") && unit.contains("\"NVM_DIR=/root/.nvm\""), "{unit}");
    machine.ok(["mv", &format!("{}/node", node("20.1.0")), "/usr/bin/node"]);
    machine.ok("rm -r /root/.nvm/versions");
    install(&machine, "22.3.0");
    machine.write("/root/.nvm/alias/lts/iron", "v22\n");
    machine.reboot();
    machine.wait_unit("ostler-root.service", "active");
    let pids = pids(&machine);
    let exe = machine.ok(["readlink", &format!("/proc/{}/exe", pids[0].1)]).stdout;
    assert_eq!(exe.trim(), format!("{}/node", node("22.3.0")));
}

/// Prints the figure of the design, and checks only that all apps run.
#[test]
fn twenty_apps_restart_after_reboot() {
    needs_machine!();
    let mut machine = machine();
    machine.ok("ostler start /srv/app.js --name app -i 20 -x");
    machine.ok("ostler save");
    machine.ok("ostler startup");
    machine.reboot();
    let unit = "ostler-root.service";
    machine.wait_unit(unit, "active");
    assert_eq!(pids(&machine).len(), 20);
    let usec = |name: &str| machine.property(unit, name).parse::<u64>().unwrap();
    let took = usec("ActiveEnterTimestampMonotonic") - usec("InactiveExitTimestampMonotonic");
    eprintln!("20 apps of Node online {} ms after the start of the unit", took / 1000);
    assert!(took < 30_000_000, "{took} us");
}

/// The check finds and names each obstacle to a boot, and prints the command that fixes it.
#[test]
fn startup_check_names_every_obstacle() {
    needs_machine!();
    let machine = machine();
    let check = |wrong: &[&str]| {
        let output = machine.run("ostler startup --check").code(i32::from(!wrong.is_empty()));
        let found: Vec<&str> = output.stdout.lines().filter_map(|line| Some(line.strip_prefix("✗ ")?.split_once(':')?.0)).collect();
        assert_eq!(found, wrong, "{output}");
        output.stdout
    };
    check(&["service", "home", "saved list"]);
    machine.ok("ostler start /srv/app.js --name api");
    let text = check(&["service", "saved list"]);
    for remedy in ["sudo ostler startup systemd -u root --hp /root", "ostler save"] {
        assert!(text.contains(&format!("    → {remedy}\n")), "{text}");
        machine.ok(["sh", "-c", remedy.trim_start_matches("sudo ")]);
    }
    assert!(check(&[]).ends_with("all saved apps start at boot\n"));
    machine.ok("ostler start /srv/app.js --name other");
    assert!(check(&["saved list matches"]).contains("not saved: other"));
    machine.ok("ostler save");
    machine.ok("systemctl disable ostler-root");
    assert!(check(&["unit state"]).contains("→ systemctl enable ostler-root.service"));
    machine.ok("systemctl enable ostler-root.service");
    machine.ok("mv /srv/app.js /srv/gone.js");
    let text = check(&["app", "app"]);
    assert!(text.contains("api: the script /srv/app.js does not exist"), "{text}");
    machine.ok("mv /srv/gone.js /srv/app.js");
    machine.ok("mv /usr/bin/node /usr/bin/node-away");
    assert!(check(&["app", "app"]).contains("node is neither in the PATH of the app nor in that of the service"));
    machine.ok("mv /usr/bin/node-away /usr/bin/node");
    machine.write("/root/.ostler/dump.pm2", "[{\"name\": \"half");
    check(&["saved list"]);
    let json = machine.run("ostler startup --check --json").code(1).stdout;
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&value["ok"], &value["service"], &value["checks"][0]["ok"]),
        (&false.into(), &"ostler-root".into(), &true.into()),
        "{json}"
    );
}

/// Without a saved list, the unit still runs. With an unreadable list it fails, and leaves the list
/// unchanged.
#[test]
fn unit_runs_without_a_list_and_fails_with_a_broken_one() {
    needs_machine!();
    let machine = machine();
    let unit = "ostler-root.service";
    machine.ok("ostler startup");
    machine.ok(["systemctl", "start", unit]);
    assert_eq!(machine.property(unit, "StatusText"), "no apps: nothing was saved");
    machine.ok(["systemctl", "stop", unit]);
    machine.write("/root/.ostler/dump.pm2", "[{\"name\": \"half");
    machine.run(["systemctl", "start", unit]).fails();
    assert!(
        machine.ok(["journalctl", "-u", unit, "--no-pager"]).stdout.contains("cannot read \"/root/.ostler/dump.pm2\""),
        "{}",
        machine.diagnostics()
    );
    machine.wait_unit(unit, "failed");
    machine.run("pgrep -x ostler-keeper").fails();
    assert_eq!(machine.read("/root/.ostler/dump.pm2"), "[{\"name\": \"half");
}

/// A failed step leaves nothing behind.
#[test]
fn failed_startup_is_rolled_back() {
    needs_machine!();
    let machine = machine();
    let before = machine.ok("find /etc /root").stdout;
    machine.write("/fake/systemctl", "#!/bin/sh\necho 'no, said systemd' >&2\nexit 1\n");
    machine.run("env PATH=/fake:/usr/bin:/bin ostler startup").code(1).says("systemctl enable ostler-root failed: no, said systemd");
    assert_eq!(machine.ok("find /etc /root").stdout, before);
}

/// The SysV scripts, on a Debian that still has the tools: their actions, and the links that are
/// made and removed.
#[test]
fn sysv_script_starts_and_stops_the_apps() {
    needs_machine!();
    let machine = machine();
    machine.ok("ostler start /srv/app.js --name api");
    machine.ok("ostler save");
    machine.ok("ostler startup upstart").says("update-rc.d ostler-root defaults");
    machine.run("ls /etc/rc2.d").says("ostler-root");
    machine.ok("ostler kill");
    let script = |word: &str| machine.run(["/etc/init.d/ostler-root", word]);
    script("status").code(3);
    script("start").ok();
    let before = pids(&machine);
    assert_eq!(before.len(), 1);
    for word in ["status", "start", "reload", "restart"] {
        script(word).ok();
        assert_eq!(pids(&machine), before, "after {word}");
    }
    script("stop").ok();
    script("status").code(3);
    machine.run("pgrep ostler").fails();
    machine.ok("ostler unstartup upstart");
    machine.run("ls /etc/rc2.d /etc/init.d").never_says("ostler-root");
}

/// Modules are not in the saved list, but run again after a boot.
#[test]
fn modules_restart_after_reboot() {
    needs_machine!();
    let mut machine = machine();
    machine.ok("mkdir -p /srv/mod");
    machine.write("/srv/mod/package.json", r#"{"name": "mod", "version": "1.2.3", "apps": [{"name": "mod", "script": "index.js"}]}"#);
    machine.write("/srv/mod/index.js", "setInterval(() => {}, 1000);");
    machine.ok("pm2 start /srv/app.js --name api");
    machine.ok(["sh", "-c", "cd /srv && pm2 package mod && pm2 install mod-v1-2-3.tar.gz"]);
    machine.ok("pm2 startup systemd");
    machine.ok("pm2 save");
    machine.reboot();
    machine.wait_unit("pm2-root.service", "active");
    machine.wait_until("app and module are back", || {
        let list = machine.jlist("pm2 jlist");
        let mut state: Vec<_> = list.iter().map(|app| format!("{} {} {}", app.name(), app.status(), app.env("pmx_module"))).collect();
        state.sort();
        state == ["api online null", "mod online true"]
    });
}
