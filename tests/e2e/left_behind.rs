//! A daemon that was killed: the next command never answers "nothing to list" if there was a list.

use ostler_testkit::{Home, alive, kill};
use rustix::process::Signal;

use crate::setup::{home, home_as_pm2, start_fixture};

/// Changes the boot id in the state file, as after a power cut.
fn simulate_reboot(home: &Home) {
    let path = home.dir().join("ostler.state");
    let mut bytes = std::fs::read(&path).unwrap();
    // The first record has the boot id: length, checksum (here FNV-1a, as in builds before the
    // first release) and a JSON body.
    let len = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let body = String::from_utf8(bytes[8..8 + len].to_vec()).unwrap();
    let own = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(body.contains(own.trim()), "{body}");
    let other = body.replace(own.trim(), "00000000-0000-0000-0000-000000000000").into_bytes();
    assert_eq!(other.len(), len);
    let sum = ostler_core::text::fnv::fnv_32(&other);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes[8..8 + len].copy_from_slice(&other);
    std::fs::write(&path, bytes).unwrap();
}

fn two_apps(home: &Home) -> i32 {
    start_fixture(home, "api", "", "hold");
    start_fixture(home, "worker", "-f", "hold");
    home.ok("scale worker 2");
    home.app("api").pid()
}

/// Waits until all changes are on disk.
fn written(home: &Home) {
    home.wait_until("the state is on disk", || {
        let text = String::from_utf8_lossy(&std::fs::read(home.dir().join("ostler.state")).unwrap_or_default()).into_owned();
        home.jlist().iter().all(|item| text.contains(&format!("\"pid\":{}", item.pid())))
    });
}

#[test]
fn next_command_adopts_running_apps() {
    for command in ["list", "jlist", "pid api", "describe api"] {
        let home = home();
        let api = two_apps(&home);
        written(&home);
        home.kill_all_three();
        home.run(command).ok().says("the daemon and its keeper were killed: 3 of 3 instances still run and are supervised again");
        assert_eq!(home.app("api").pid(), api, "after {command}");
        assert_eq!(home.jlist().len(), 3);
        // The message appears once.
        assert!(!home.ok("list").all().contains("killed"));
    }
}

/// A thread of a killed daemon may hold the socket for an instant. The kernel then accepts a
/// connection, but no response follows.
#[test]
fn socket_of_dying_daemon_does_not_count_as_daemon() {
    for command in ["list", "describe api", "kill"] {
        let home = home();
        let api = two_apps(&home);
        written(&home);
        home.kill_all_three();
        let socket = home.dir().join("ostler.sock");
        home.wait_until("nothing listens", || std::os::unix::net::UnixStream::connect(&socket).is_err());
        std::fs::remove_file(&socket).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let dead = std::thread::spawn(move || {
            let connection = listener.accept();
            // The listener closes first, so that the next connection is refused.
            drop(listener);
            drop(connection);
        });
        let run = home.run(command);
        dead.join().unwrap();
        match command {
            "kill" => assert!(!alive(api), "{}", run.all()),
            _ => {
                run.ok().says("3 of 3 instances still run and are supervised again");
                assert_eq!(home.app("api").pid(), api, "after {command}");
            }
        }
    }
}

#[test]
fn pm2_name_adopts_running_apps() {
    let home = home_as_pm2();
    let api = two_apps(&home);
    written(&home);
    home.kill_all_three();
    home.run("ls").ok().says("3 of 3 instances still run").says(&api.to_string());
}

#[test]
fn kill_stops_apps_of_a_dead_daemon() {
    let home = home();
    let api = two_apps(&home);
    written(&home);
    home.kill_all_three();
    home.ok("kill");
    assert!(!alive(api));
    assert_eq!(home.processes(), []);
    // A clean exit: there is nothing to report.
    home.run("list").code(3).says("nothing to list");
}

#[test]
fn list_suggests_resurrect_after_everything_was_killed() {
    let home = home();
    let api = two_apps(&home);
    written(&home);
    home.kill_everything();
    for command in ["list", "jlist", "pid api"] {
        home.run(command).code(3).says("it was killed together with its apps: api, worker (2). `ostler resurrect` starts them again");
    }
    assert!(home.processes().is_empty(), "a command that reads starts no apps");
    home.ok("resurrect");
    home.wait_until("all run", || home.jlist().len() == 3 && home.all_online());
    assert_ne!(home.app("api").pid(), api);
}

#[test]
fn list_names_former_apps_after_power_cut() {
    let home = home();
    two_apps(&home);
    written(&home);
    home.kill_everything();
    simulate_reboot(&home);
    let list = home.run("list").code(3);
    list.says(
        "this machine was restarted. Before that, these apps ran: api, worker (2); nothing was saved: start them again, then `ostler save`",
    );
    std::fs::write(home.dir().join("dump.pm2"), "[]").unwrap();
    home.run("list").code(3).says("`ostler resurrect` starts the saved apps, `ostler startup` does this at each boot");
}

#[test]
fn stopped_daemon_leaves_nothing_to_report() {
    let home = home();
    two_apps(&home);
    home.ok("kill").says("warning: not saved, so `ostler resurrect` does not start them: api, worker");
    home.run("list").code(3).says("nothing to list; `ostler start <app>` starts one").never_says("resurrect");
    two_apps(&home);
    home.ok("save");
    home.ok("kill").never_says("not saved");
    for words in ["list", "", "stop api"] {
        home.run(words).says("`ostler resurrect` starts the 2 saved apps");
    }
    home.ok("kill");
    // A signal to the keeper is also a clean exit.
    two_apps(&home);
    kill(home.keeper_pid(), Signal::TERM);
    home.wait_no_processes();
    home.run("list").code(3).says("nothing to list");
}
