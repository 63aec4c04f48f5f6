//! A home that is moved or copied, or loses files, while apps run.

use std::fs;

use ostler_testkit::{Home, alive, kill};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

#[track_caller]
fn is_the_same(home: &Home, pid: i32, keeper: i32) {
    let item = home.app("app");
    assert_eq!((item.pid(), item.status(), item.restarts()), (pid, "online", 0), "{}", home.report());
    assert!(alive(keeper));
    assert_eq!((home.keeper_pid(), home.daemons().len()), (keeper, 1), "{}", home.report());
}

#[test]
fn removed_socket_is_recreated() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let (pid, keeper, socket) = (home.app("app").pid(), home.keeper_pid(), home.dir().join("ostler.sock"));
    for file in ["ostler.sock", "ostler.lock", "rpc.sock", "pub.sock", "pm2.pid", "rpc.sock", "ostler.sock"] {
        fs::remove_file(home.dir().join(file)).unwrap();
        // No command runs in the meantime.
        home.wait_until("it is back", || home.dir().join(file).exists());
        is_the_same(&home, pid, keeper);
    }
    std::os::unix::net::UnixStream::connect(home.dir().join("rpc.sock")).unwrap();
    // A client at that moment waits for the socket, even if a daemon has just died.
    for round in 0..5 {
        fs::remove_file(&socket).unwrap();
        if round > 2 {
            kill(home.daemon_pid(), Signal::KILL);
        }
        is_the_same(&home, pid, keeper);
    }
    // The next keeper has the new socket.
    home.kill_keeper();
    is_the_same(&home, pid, home.keeper_pid());
    home.ok("kill");
    home.wait_no_processes();
    assert!(!socket.exists());
}

#[test]
fn removed_home_is_recreated() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let (pid, keeper) = (home.app("app").pid(), home.keeper_pid());
    for _ in 0..3 {
        // The command may find the folder gone, without its socket, or recreated. A slow removal
        // may also find new files.
        home.wait_until("all of it was removed", || fs::remove_dir_all(home.dir()).is_ok());
        is_the_same(&home, pid, keeper);
    }
    home.wait_until("PM2's sockets are back", || ["rpc.sock", "pub.sock"].iter().all(|file| home.dir().join(file).exists()));
    // The files needed after the death of both exist again, too.
    home.kill_both();
    home.ok("start sleep --name other -- 1000");
    let item = home.wait_status("app", "online");
    assert_eq!(item.pid(), pid, "a second copy was started\n{}", home.report());
}

#[test]
fn a_moved_home_gets_no_second_keeper() {
    let mut home = home();
    start_fixture(&home, "app", "", "hold");
    let (pid, keeper, old, new) = (home.app("app").pid(), home.keeper_pid(), home.dir().to_owned(), home.work().join("moved here"));
    fs::rename(&old, &new).unwrap();
    for words in ["list", "start sleep --name other -- 1000"] {
        let output = home.run(words).code(3);
        assert!(output.all().contains(&format!("pid {keeper}")) && output.all().contains(&new.display().to_string()), "{output}");
        assert!(output.all().contains("move it back"), "{output}");
        assert!(!old.exists(), "something was left in the old place");
    }
    assert_eq!(home.daemons().len(), 1, "{}", home.report());
    // In its new place the daemon is reachable, and logs that its home was moved.
    home.set_dir(&new);
    is_the_same(&home, pid, keeper);
    home.wait_until("it says so", || fs::read_to_string(new.join("pm2.log")).unwrap().contains("was moved from"));
    fs::remove_file(new.join("ostler.sock")).unwrap();
    is_the_same(&home, pid, keeper);
    fs::rename(&new, &old).unwrap();
    home.set_dir(&old);
    is_the_same(&home, pid, keeper);
    home.ok("kill");
    home.wait_no_processes();
    // A home without running processes can be moved freely.
    fs::rename(&old, &new).unwrap();
    home.set_dir(&new);
    home.ok("start sleep --name other -- 1000");
}

#[test]
fn a_copied_home_gets_no_second_keeper() {
    let mut home = home();
    start_fixture(&home, "app", "", "hold");
    let (pid, keeper, old, copy) = (home.app("app").pid(), home.keeper_pid(), home.dir().to_owned(), home.work().join("copy"));
    home.wait_until("its state is on disk", || fs::metadata(old.join("ostler.state")).is_ok_and(|meta| meta.len() > 0));
    let copied = std::process::Command::new("cp").arg("-a").arg(&old).arg(&copy).status().unwrap();
    assert!(copied.success());
    home.set_dir(&copy);
    let output = home.run("list").code(3);
    assert!(output.all().contains(&format!("pid {keeper}")) && output.all().contains(&old.display().to_string()), "{output}");
    home.set_dir(&old);
    is_the_same(&home, pid, keeper);
    home.ok("kill");
    home.wait_no_processes();
    // No daemon uses the original any more, so the copy can be used.
    home.set_dir(&copy);
    home.ok("start sleep --name other -- 1000");
}
