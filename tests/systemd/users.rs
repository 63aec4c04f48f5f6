//! Services of users other than root: in the machine's systemd, and in their own.

use ostler_testkit::{Machine, needs_machine};

use crate::setup::{binary, machine};

pub fn add_user(machine: &Machine, name: &str, uid: u32, home: &str) {
    let shadow = format!("{name}:*:19000:0:99999:7:::\n");
    for (file, line) in [
        ("/etc/shadow", shadow),
        ("/etc/passwd", format!("{name}:x:{uid}:{uid}::{home}:/bin/sh\n")),
        ("/etc/group", format!("g{uid}:x:{uid}:\n")),
    ] {
        let text = machine.read(file) + &line;
        std::fs::write(machine.path(file), text).unwrap();
    }
    machine.ok(["mkdir", "-p", home]);
    machine.write(&format!("{home}/app.js"), "setInterval(() => {}, 1e6);\n");
    machine.ok(["chown", "-R", &format!("{uid}:{uid}"), home]);
}

pub fn as_user(uid: u32, words: &[&str]) -> Vec<std::ffi::OsString> {
    Machine::as_user(&uid.to_string(), words)
}

/// Returns the pids of a user's apps; none until all are online and a daemon answers.
fn online(machine: &Machine, uid: u32) -> Vec<i32> {
    let list = machine.run(as_user(uid, &["ostler", "jlist"]));
    if list.code != 0 {
        return Vec::new();
    }
    let list = ostler_testkit::ListedApp::parse_list(&list.stdout);
    if list.iter().any(|app| app.status() != "online") {
        return Vec::new();
    }
    list.iter().map(ostler_testkit::ListedApp::pid).collect()
}

#[test]
fn unit_of_another_user_starts_its_apps() {
    needs_machine!();
    let mut machine = machine();
    add_user(&machine, "deploy", 1500, "/home/deploy");
    // Runs the command that `startup` prints for a user without root rights.
    let told = machine.run(as_user(1500, &["ostler", "startup"])).code(1);
    let line = told.stdout.lines().last().unwrap();
    assert_eq!(line, "sudo env PATH=$PATH:/usr/bin /usr/bin/ostler startup systemd -u deploy --hp /home/deploy", "{told}");
    machine.ok(["sh", "-c", line.strip_prefix("sudo ").unwrap()]);
    machine.ok(as_user(1500, &["ostler", "start", "app.js", "-i", "2"]));
    machine.ok(as_user(1500, &["ostler", "save"]));
    machine.reboot();
    let unit = "ostler-deploy.service";
    machine.wait_unit(unit, "active");
    let pids = online(&machine, 1500);
    assert_eq!(pids.len(), 2, "{}", machine.diagnostics());
    let main = machine.property(unit, "MainPID");
    assert_eq!(machine.ok(["stat", "-c", "%u", &format!("/proc/{main}")]).stdout.trim(), "1500");
    machine.ok(["systemctl", "restart", unit]);
    machine.install(&binary());
    machine.ok(["systemctl", "reload", unit]);
    assert_eq!(online(&machine, 1500), pids, "{}", machine.diagnostics());
    // The way back: the unit is gone, and no process has stopped.
    machine.ok("ostler unstartup systemd -u deploy --hp /home/deploy");
    machine.run("ls /etc/systemd/system/ostler-deploy.service").fails();
    machine.wait_until("systemd has forgotten it", || machine.property(unit, "LoadState") == "not-found");
    // The daemon may just be replaced by the next daemon.
    machine.wait_until("the same processes keep running", || online(&machine, 1500) == pids);
    machine.ok("ostler unstartup systemd -u deploy --hp /home/deploy");
}

/// The unit that the packages install (`packaging/systemd`): one file for all users.
#[test]
fn packaged_unit_starts_the_apps() {
    needs_machine!();
    let mut machine = machine();
    let unit = "ostler@deploy.service";
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/systemd/ostler@.service"));
    machine.write("/usr/lib/systemd/system/ostler@.service", text);
    add_user(&machine, "deploy", 1500, "/home/deploy");
    machine.ok(as_user(1500, &["ostler", "start", "app.js", "-i", "2"]));
    machine.ok(as_user(1500, &["ostler", "save"]));
    let before = online(&machine, 1500);
    machine.ok("systemctl daemon-reload");
    machine.ok(["systemctl", "enable", "--now", unit]);
    machine.wait_unit(unit, "active");
    assert_eq!(online(&machine, 1500), before, "what runs is taken over: {}", machine.diagnostics());
    machine.reboot();
    machine.wait_unit(unit, "active");
    let pids = online(&machine, 1500);
    assert_eq!(pids.len(), 2, "{}", machine.diagnostics());
    let main = machine.property(unit, "MainPID");
    assert_eq!(machine.ok(["stat", "-c", "%u", &format!("/proc/{main}")]).stdout.trim(), "1500");
    // A package with a new version was installed.
    machine.install(&binary());
    machine.ok(["systemctl", "reload", unit]);
    machine.ok(["systemctl", "restart", unit]);
    machine.wait_until("the same processes keep running", || online(&machine, 1500) == pids);
    machine.ok(["systemctl", "disable", "--now", unit]);
    for pid in pids {
        machine.run(["test", "-e", &format!("/proc/{pid}")]).fails();
    }
}

#[test]
fn unit_of_user_with_odd_name_starts_the_apps() {
    needs_machine!();
    let mut machine = machine();
    let (name, home) = (r#"o'dd u$er%n "q"\ü"#, r#"/home/o'dd $HOME%n "q"\ü"#);
    add_user(&machine, name, 1501, home);
    machine.ok(["ostler", "startup", "systemd", "-u", name]);
    let unit = r"ostler-o\x27dd\x20u\x24er\x25n\x20\x22q\x22\x5c\xc3\xbc.service";
    machine.ok(["systemd-analyze", "verify", &format!("/etc/systemd/system/{unit}")]);
    machine.ok(as_user(1501, &["ostler", "start", "app.js"]));
    machine.ok(as_user(1501, &["ostler", "save"]));
    machine.reboot();
    machine.wait_unit(unit, "active");
    assert_eq!(online(&machine, 1501).len(), 1, "{}", machine.diagnostics());
    assert!(machine.path(home).join(".ostler/pm2.pid").exists());
}

#[test]
fn unknown_user_changes_nothing() {
    needs_machine!();
    let machine = machine();
    let before = machine.ok("ls -R /etc/systemd").stdout;
    machine.run(["ostler", "startup", "-u", "nobody here"]).code(4).says("the user \"nobody here\" does not exist");
    machine.run("ostler startup -u root --hp /no/such/folder").code(2).says("/no/such/folder");
    machine.run("ostler startup --service-name ../../x").code(2).says("is not a valid service name");
    // The user's list is a FIFO that never returns data; the check must not wait for it.
    machine.ok("mkdir -p /root/.ostler");
    machine.ok("mkfifo /root/.ostler/dump.pm2");
    machine.run("ostler startup --check").code(1).says("it is not a file");
    machine.run("ostler startup windows").code(1).says("Unknown platform");
    assert_eq!(machine.ok("ls -R /etc/systemd").stdout, before);
}

#[test]
fn user_unit_starts_the_apps() {
    needs_machine!();
    let mut machine = machine();
    add_user(&machine, "alice", 1502, "/home/alice");
    machine.ok("loginctl enable-linger alice");
    machine.wait_unit("user@1502.service", "active");
    machine.ok(as_user(1502, &["ostler", "startup", "--user-unit"])).never_says("enable-linger");
    machine.ok(as_user(1502, &["ostler", "start", "app.js", "-i", "2"]));
    machine.ok(as_user(1502, &["ostler", "save"]));
    machine.reboot();
    machine.wait_until("her apps are back", || online(&machine, 1502).len() == 2);
    let pids = online(&machine, 1502);
    machine.ok(as_user(1502, &["systemctl", "--user", "restart", "ostler-alice"]));
    assert_eq!(online(&machine, 1502), pids);
    machine.ok(as_user(1502, &["systemctl", "--user", "reload", "ostler-alice"]));
    assert_eq!(online(&machine, 1502), pids);
    machine.ok(as_user(1502, &["systemctl", "--user", "stop", "ostler-alice"]));
    machine.run(["pgrep", "-u", "alice", "ostler"]).fails();
    machine.ok(as_user(1502, &["ostler", "unstartup", "--user-unit"]));
    machine.run("ls /home/alice/.config/systemd/user/ostler-alice.service").fails();
    // Without lingering, the command prints what is missing.
    machine.ok("loginctl disable-linger alice");
    machine.wait_unit("user@1502.service", "inactive");
    machine.ok("systemctl start user@1502.service");
    machine.ok(as_user(1502, &["ostler", "startup", "--user-unit"])).says("sudo loginctl enable-linger alice");
}

/// Apps that a user started from a login belong to that user's service once it starts: systemd lets
/// users move their own processes.
#[test]
fn user_service_adopts_apps_of_a_login() {
    needs_machine!();
    let machine = machine();
    add_user(&machine, "deploy", 1500, "/home/deploy");
    machine.ok("ostler startup systemd -u deploy --hp /home/deploy");
    let mut login: Vec<std::ffi::OsString> = ["systemd-run", "--quiet", "--scope", "--unit=login"].map(Into::into).to_vec();
    login.extend(as_user(1500, &["ostler", "start", "app.js"]));
    machine.ok(login);
    let before = online(&machine, 1500);
    machine.ok("systemctl start ostler-deploy.service");
    assert_eq!(online(&machine, 1500), before);
    let groups = machine.ok(["cat", &format!("/proc/{}/cgroup", before[0])]).stdout;
    assert!(groups.contains("/system.slice/ostler-deploy.service"), "{groups}\n{}", machine.diagnostics());
}
