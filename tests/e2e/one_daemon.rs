//! One daemon per home, however many callers race.

use std::process::Stdio;

use ostler_testkit::{alive, fixture};

use crate::setup::home;

#[test]
fn twenty_concurrent_callers_share_one_daemon() {
    let home = home();
    let start = |i: u32| {
        let mut command = home.cmd(format!("start {} --name a{i} -- hold", fixture())).command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let callers: Vec<_> = (0..20).map(start).collect();
    for caller in callers {
        let output = caller.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(home.daemons().len(), 1);
    let list = home.jlist();
    assert_eq!(list.len(), 20);
    assert!(list.iter().all(|item| alive(item.pid()) && item.restarts() == 0));
    assert_eq!(home.app_processes().len(), 20, "{}", home.report());
}

#[test]
fn concurrent_start_and_kill_leave_at_most_one_daemon() {
    let home = home();
    for _ in 0..8 {
        let quiet = |words: &str| home.cmd(words).command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut callers = vec![quiet("start sleep --name a -- 1000"), quiet("kill"), quiet("start sleep --name b -- 1000")];
        for caller in &mut callers {
            caller.wait().unwrap();
        }
        assert!(home.daemons().len() <= 1, "{:?}", home.processes());
        home.run("kill");
        home.wait_no_processes();
    }
}

#[test]
fn homes_are_independent() {
    let (one, two) = (home(), home());
    one.ok("start sleep --name only-one -- 1000");
    two.ok("start sleep --name only-two -- 1000");
    assert_eq!((one.jlist().len(), two.jlist().len()), (1, 1));
    one.ok("kill");
    assert_eq!(two.app("only-two").status(), "online");
}
