//! Secrets from credentials that systemd gives the service: `LoadCredential=`, `SetCredential=`.

use std::path::Path;

use ostler_testkit::{ListedApp, Machine, needs_machine};
use rustix::process::Signal;

use crate::lifecycle::{main_pid, settled, signal, supervisors};
use crate::setup::{UNIT, machine};
use crate::users::{add_user, as_user};

/// Apps with a secret from the credential `token`, and from `word`.
const APPS: &str = r#"{"apps": [{"name": "api", "script": "/srv/app.js", "max_restarts": 3,
    "secrets": {"TOKEN": {"credential": "token"}, "WORD": {"credential": "word"}}}]}"#;
const BOTH: &str = "LoadCredential=token:/etc/token\nSetCredential=word:in the unit\n";

/// Writes a drop-in file for the unit, and the content of the credential.
fn give(machine: &Machine, unit: &str, lines: &str) {
    machine.write(&format!("/etc/systemd/system/{unit}.d/test.conf"), &format!("[Service]\n{lines}"));
    machine.ok("systemctl daemon-reload");
}

fn api(machine: &Machine) -> ListedApp {
    machine.jlist("ostler jlist").into_iter().find(|app| app.name() == "api").unwrap()
}

/// Returns a variable of a process of the machine.
fn variable(machine: &Machine, pid: i32, name: &str) -> Option<String> {
    let environ = machine.read(&format!("/proc/{pid}/environ"));
    environ.split('\0').find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

#[track_caller]
fn token(machine: &Machine) -> String {
    let pid = api(machine).pid();
    assert_eq!(variable(machine, pid, "WORD").as_deref(), Some("in the unit"), "{}", machine.diagnostics());
    variable(machine, pid, "TOKEN").unwrap()
}

/// Kills the app, and waits for the next process.
#[track_caller]
fn crash(machine: &Machine) {
    let pid = api(machine).pid();
    signal(machine, pid, Signal::KILL);
    machine.wait_until("another process runs", || api(machine).status() == "online" && api(machine).pid() != pid);
}

fn with_credentials() -> Machine {
    let machine = machine();
    machine.write("/etc/token", "one\n");
    machine.write("/srv/apps.json", APPS);
    machine.ok("ostler startup");
    give(&machine, UNIT, BOTH);
    machine.ok(["systemctl", "start", UNIT]);
    machine.ok("ostler start /srv/apps.json");
    machine
}

#[test]
fn credentials_reach_the_app_at_each_start() {
    needs_machine!();
    let mut machine = with_credentials();
    assert_eq!(token(&machine), "one");
    machine.ok("ostler save");
    machine.reboot();
    assert_eq!(settled(&machine).len(), 1);
    assert_eq!(token(&machine), "one", "after the boot");
    machine.ok("ostler restart api");
    assert_eq!(token(&machine), "one", "after a restart of the app");
    let (_, daemon) = supervisors(&machine);
    signal(&machine, daemon, Signal::KILL);
    settled(&machine);
    machine.ok("ostler restart api");
    assert_eq!(token(&machine), "one", "after the daemon was killed");

    // systemd has copied the credential: new content arrives when the service is restarted. Apps
    // keep their old values.
    machine.write("/etc/token", "two\n");
    let before = settled(&machine);
    machine.ok(["systemctl", "restart", UNIT]);
    assert_eq!(settled(&machine), before);
    assert_eq!(token(&machine), "one", "of a process that goes on");
    crash(&machine);
    assert_eq!(token(&machine), "two", "of one that was started after that");
    let (keeper, _) = supervisors(&machine);
    signal(&machine, keeper, Signal::KILL);
    machine.wait_until("there is another keeper", || machine.read("/root/.ostler/pm2.pid").parse().is_ok_and(|pid: i32| pid != keeper));
    settled(&machine);
    machine.ok("ostler restart api");
    assert_eq!(token(&machine), "two", "after the keeper was killed");
}

/// systemd removes the credentials when the main process dies, and provides them again to the next.
#[test]
fn credentials_stay_available_while_the_service_is_down() {
    needs_machine!();
    let machine = with_credentials();
    // During this test, it never restarts.
    give(&machine, UNIT, &format!("{BOTH}RestartSec=1h\n"));
    signal(&machine, main_pid(&machine), Signal::KILL);
    machine.wait_until("the credentials are gone", || !machine.path(&format!("/run/credentials/{UNIT}/token")).exists());
    crash(&machine);
    assert_eq!((token(&machine).as_str(), api(&machine).env("restart_time")), ("one", &1.into()), "{}", machine.diagnostics());
    machine.write("/etc/token", "two\n");
    machine.ok(["systemctl", "restart", UNIT]);
    settled(&machine);
    crash(&machine);
    assert_eq!(token(&machine), "two");
}

/// The daemon is older than the service, or than the current content of its unit.
#[test]
fn older_daemon_receives_new_credentials() {
    needs_machine!();
    let machine = machine();
    machine.write("/etc/token", "one\n");
    machine.write("/srv/apps.json", APPS);
    machine.ok("systemd-run --quiet --scope --unit=login ostler start /srv/app.js --name other");
    machine.run("ostler start /srv/apps.json").fails().says("read secret TOKEN: no credentials");
    machine.ok("ostler startup");
    machine.ok(["systemctl", "start", UNIT]);
    machine.run("ostler start /srv/apps.json").fails().says("read secret TOKEN: no credentials");
    give(&machine, UNIT, BOTH);
    machine.ok(["systemctl", "restart", UNIT]);
    let before = settled(&machine);
    machine.ok("ostler start /srv/apps.json");
    assert_eq!(token(&machine), "one");
    for pid in [supervisors(&machine).1, supervisors(&machine).0] {
        signal(&machine, pid, Signal::KILL);
        machine.wait_until("they are there again", || machine.run("ostler ping").code == 0);
        machine.ok("ostler restart api");
        assert_eq!(token(&machine), "one", "after {pid} was killed");
    }
    assert!(settled(&machine).contains(&before[0]));
    // Nothing remains of an exited service.
    let link = "/root/.ostler/credentials";
    assert_eq!(std::fs::read_link(machine.path(link)).unwrap(), Path::new("/run/credentials").join(UNIT));
    machine.ok(["systemctl", "stop", UNIT]);
    assert!(std::fs::symlink_metadata(machine.path(link)).is_err());
    machine.ok("ostler start /srv/app.js --name other");
    machine.run("ostler start /srv/apps.json").fails().says("read secret TOKEN: no credentials");
}

/// The credentials belong to the service's user.
#[test]
fn unit_of_another_user_has_credentials() {
    needs_machine!();
    let machine = machine();
    add_user(&machine, "deploy", 1500, "/home/deploy");
    machine.write("/etc/token", "one\n");
    machine.ok("chmod 600 /etc/token");
    machine.write("/srv/apps.json", &APPS.replace("/srv/app.js", "/home/deploy/app.js"));
    machine.ok("ostler startup systemd -u deploy --hp /home/deploy");
    give(&machine, "ostler-deploy.service", BOTH);
    for word in ["start", "restart"] {
        machine.ok(["systemctl", word, "ostler-deploy.service"]);
        machine.wait_unit("ostler-deploy.service", "active");
        machine.ok(as_user(1500, &["ostler", "start", "/srv/apps.json"]));
        let list = machine.jlist(as_user(1500, &["ostler", "jlist"]));
        assert_eq!(variable(&machine, list[0].pid(), "TOKEN").as_deref(), Some("one"), "{}", machine.diagnostics());
    }
}

/// A user's own systemd stores them in a folder of that user.
#[test]
fn user_unit_has_credentials() {
    needs_machine!();
    let machine = machine();
    add_user(&machine, "alice", 1502, "/home/alice");
    machine.write("/srv/apps.json", &APPS.replace("/srv/app.js", "/home/alice/app.js"));
    machine.ok("loginctl enable-linger alice");
    machine.wait_unit("user@1502.service", "active");
    machine.ok(as_user(1502, &["ostler", "startup", "--user-unit"]));
    machine.write("/home/alice/token", "one\n");
    let lines = format!("[Service]\n{}", BOTH.replace("/etc/token", "/home/alice/token"));
    machine.write("/home/alice/.config/systemd/user/ostler-alice.service.d/test.conf", &lines);
    machine.ok(as_user(1502, &["systemctl", "--user", "daemon-reload"]));
    for word in ["start", "restart"] {
        machine.ok(as_user(1502, &["systemctl", "--user", word, "ostler-alice"]));
        machine.ok(as_user(1502, &["ostler", "start", "/srv/apps.json"]));
        let list = machine.jlist(as_user(1502, &["ostler", "jlist"]));
        assert_eq!(variable(&machine, list[0].pid(), "TOKEN").as_deref(), Some("one"), "{}", machine.diagnostics());
    }
}

/// A unit's file system settings apply to each start of its main process, but not to processes that
/// outlive it.
#[test]
fn service_with_private_files_reports_unchanged_settings() {
    needs_machine!();
    let machine = machine();
    machine.write("/etc/token", "one\n");
    machine.write("/srv/apps.json", APPS);
    machine.ok("ostler startup");
    give(&machine, UNIT, &format!("{BOTH}PrivateTmp=yes\n"));
    machine.ok(["systemctl", "start", UNIT]);
    machine.ok("ostler start /srv/apps.json");
    machine.ok("ostler save");
    machine.write("/etc/token", "two\n");
    let journal = || machine.ok(["journalctl", "-u", UNIT, "--no-pager"]).stdout;
    assert!(!journal().contains("file system view of its own"));
    machine.ok(["systemctl", "restart", UNIT]);
    settled(&machine);
    assert!(journal().contains("file system view of its own"), "{}", machine.diagnostics());
    machine.ok("ostler restart api");
    assert_eq!(token(&machine), "one");
    machine.ok(["systemctl", "stop", UNIT]);
    machine.ok(["systemctl", "start", UNIT]);
    settled(&machine);
    assert_eq!(token(&machine), "two");
}
