//! Too few descriptors or processes: one clear line, nothing half-started, and running apps
//! continue.

use ostler_testkit::{Subject, fixture, needs_root};

use crate::setup::{home, start_fixture, stranger_home};

#[test]
fn first_start_with_few_descriptors_is_rejected() {
    for hard in [8, 12, 16, 20, 32, 64, 100, 120] {
        let home = home();
        let output = home.cmd("start sleep --name x -- 1000").after(&format!("ulimit -n {hard}")).run().code(3);
        assert!(output.all().contains(&format!("the limit of open files is {hard}, at least 128 are needed")), "{output}");
        assert!(output.all().lines().count() <= 2, "that is not one clear line\n{output}");
        assert_eq!(home.processes(), [], "with {hard}");
        home.ok("start sleep --name x -- 1000");
    }
}

#[test]
fn low_soft_limit_is_raised_but_not_for_apps() {
    for soft in [8, 20, 60, 120] {
        let home = home();
        let report = home.work().join("report.json");
        let line = format!("start {} --name r --no-autorestart -- report {}", fixture(), report.display());
        home.cmd(line).after(&format!("ulimit -S -n {soft}")).run().ok();
        assert_eq!(crate::setup::read_report(&home, "report.json")["limits"]["Max open files"][0], soft.to_string());
        for pid in [home.keeper_pid(), home.daemon_pid()] {
            let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
            let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
            let words: Vec<&str> = files.split_whitespace().collect();
            assert_eq!(words[3], words[4], "soft and hard limit of {pid}: {files}");
        }
    }
}

#[test]
fn first_start_with_few_processes_is_rejected() {
    needs_root!();
    const UID: u32 = 54_323;
    let owner = home();
    let home = stranger_home(&owner, UID, Subject::Ostler);
    let run = |limit: u32| home.cmd("start sleep --name x -- 1000").uid(UID).after(&format!("ulimit -u {limit}")).run();
    // The command itself counts as one process, so there is no room for keeper, daemon or app.
    for (limit, who) in [(1, "keeper"), (2, "daemon")] {
        let output = run(limit).code(3);
        assert!(output.all().contains(who) && output.all().contains("fork failed: Resource temporarily unavailable"), "{output}");
        assert_eq!(home.processes(), [], "with {limit}");
        for file in ["pm2.pid", "ostler.sock"] {
            assert!(!home.dir().join(file).exists(), "{file} is left with {limit}");
        }
    }
    let output = run(3).fails();
    assert!(output.all().contains("✗ x  cannot be started: fork: Resource temporarily unavailable"), "{output}");
    assert_eq!(home.app_processes(), []);
    home.cmd("ping").uid(UID).run().ok();
}

#[test]
fn exhausted_descriptors_leave_running_apps_alone() {
    let home = home();
    home.cmd(format!("start {} --name first -- hold", fixture())).after("ulimit -n 128").run().ok();
    let pid = home.app("first").pid();
    for i in 0..30 {
        let output = home.cmd(format!("start {} -f --name more{i} --time -- hold", fixture())).after("ulimit -n 128").run();
        if output.code != 0 {
            assert!(output.all().to_lowercase().contains("open files") || output.all().contains("descriptor"), "{output}");
            break;
        }
    }
    assert_eq!((home.app("first").pid(), home.app("first").restarts()), (pid, 0));
    home.ok("delete all");
    start_fixture(&home, "again", "", "hold");
    assert_eq!(home.app("again").status(), "online");
}

#[test]
fn exhausted_processes_leave_running_apps_alone() {
    needs_root!();
    const UID: u32 = 54_322;
    let owner = home();
    let home = stranger_home(&owner, UID, Subject::Ostler);
    let run = |words: &str| home.cmd(words).uid(UID).after("ulimit -u 8").run();
    run("start sleep --name a0 -- 1000").ok();
    let failed = (1..12).map(|i| run(&format!("start sleep -f --name a{i} -- 1000"))).find(|output| output.code != 0);
    let failed = failed.expect("eight processes were the limit");
    assert!(
        failed.all().contains("temporarily unavailable") || failed.all().contains("fork") || failed.all().contains("EAGAIN"),
        "{failed}"
    );
    let list = home.cmd("jlist").uid(UID).run().ok();
    assert!(list.stdout.contains("\"a0\""), "{list}");
    home.cmd("delete all").uid(UID).run().ok();
    home.cmd("start sleep --name again -- 1000").uid(UID).run().ok();
}
