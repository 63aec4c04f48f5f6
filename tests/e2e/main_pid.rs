//! `MAINPID=` of sd_notify: an app hands over to another of its processes, which becomes its main
//! process.

use std::thread;

use ostler_testkit::{Home, ListedApp, alive, kill, needs_program};
use rustix::process::Signal;

use crate::setup::{ecosystem, home};

/// `daemon`: forks twice, reports the main process, and exits. `server`: on SIGUSR2 it starts a new
/// copy of itself, which reports itself as the main process. The old process exits with code 3 once
/// the file `go` exists. `says …`: sends each word. Each main process starts a child without an
/// environment, records it in `children`, and then writes its own pid into `main`.
const APP: &str = r#"
import os, signal, socket, subprocess, sys, time

def say(text):
    address = os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1)
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text.encode(), address)

def wait(name):
    while not os.path.exists(name):
        time.sleep(0.005)

def serve():
    child = subprocess.Popen(["sleep", "300"], env={})
    with open("children", "a") as file:
        file.write("%d\n" % child.pid)
    with open("main.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename("main.new", "main")

def hold():
    while True:
        time.sleep(0.02)

def end(number, frame):
    os.write(1, b"told to end %d\n" % os.getpid())
    os._exit(0)

def replace(number, frame):
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, sys.argv[0], "successor"])
    while open("main").read() == str(os.getpid()):
        time.sleep(0.005)
    wait("go")
    os._exit(3)

signal.signal(signal.SIGINT, end)
mode = sys.argv[1]
if mode == "daemon":
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            serve()
            os.write(write, b"%d" % os.getpid())
            hold()
        os._exit(0)
    main = os.read(read, 20).decode()
    os.wait()
    if len(sys.argv) > 2:
        wait(sys.argv[2])
    say("MAINPID=%s\nREADY=1" % main)
    print("handed over", flush=True)
    os._exit(0)
if mode in ("server", "successor"):
    signal.signal(signal.SIGUSR2, replace)
    say("READY=1\nMAINPID=%d" % os.getpid())
    serve()
    hold()
serve()
children = [subprocess.Popen(["sleep", "1000"]).pid for _ in range(2)]
dead = subprocess.Popen(["true"])
dead.wait()
say("READY=1")
wait("go")
for word in sys.argv[2:]:
    if word == "dead":
        say("MAINPID=%d" % dead.pid)
    elif word == "flip":
        for n in range(3000):
            say("MAINPID=%d" % (children + [os.getpid()])[n % 3])
        say("MAINPID=%d" % os.getpid())
    else:
        say("MAINPID=" + word)
say("STATUS=said all")
hold()
"#;

/// Starts the app `x` with these words, ready by sd_notify.
fn start(home: &Home, args: &str, more: &str) {
    let file = app(home, args, more);
    home.ok(format!("start {file}"));
    home.wait_until("it says who it is", || reported_pid(home) != 0);
}

fn app(home: &Home, args: &str, more: &str) -> String {
    let script = home.write("app.py", APP);
    let members = r#""interpreter": "python3", "ready": "notify", "listen_timeout": "100s", "kill_timeout": "100s", "kill_mode": "tree""#;
    ecosystem(home, &format!(r#""name": "x", "script": "{script}", "args": "{args}", {members}{more}"#))
}

/// Returns the main process's pid, as it reported it itself.
fn reported_pid(home: &Home) -> i32 {
    std::fs::read_to_string(home.work().join("main")).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Makes the server replace itself by another process. Returns both pids.
#[track_caller]
fn replace(home: &Home) -> (i32, i32) {
    let before = followed(home).pid();
    kill(before, Signal::USR2);
    home.wait_until("another process took over", || reported_pid(home) != before);
    (before, reported_pid(home))
}

/// Waits until the list shows the pid that the app reported.
#[track_caller]
fn followed(home: &Home) -> ListedApp {
    home.wait_app("x", "followed", |item| item.pid() == reported_pid(home) && item.status() == "online")
}

/// Waits until the list shows the pid that the app reported, and checks the number of restarts.
#[track_caller]
fn is_followed(home: &Home, restarts: u64) -> ListedApp {
    let item = followed(home);
    assert_eq!(item.restarts(), restarts);
    item
}

/// Checks that a stop leaves no process, and that the main process received the signal.
#[track_caller]
fn stops(home: &Home) {
    let main = followed(home).pid();
    home.ok("stop x");
    assert_eq!(home.app("x").status(), "stopped");
    nothing_is_left(home);
    home.wait_log("x-out.log", &format!("told to end {main}"));
}

/// Checks that no process of the app remains, including its children.
#[track_caller]
fn nothing_is_left(home: &Home) {
    home.assert_no_app_processes();
    let text = home.read("children");
    let children: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).filter(|pid| alive(*pid)).collect();
    assert!(children.is_empty(), "{children:?} of {text:?}");
}

/// Kills the main process. The exit is noticed, and one new process replaces it and all its
/// children.
#[track_caller]
fn crash_restarts_the_app(home: &Home, restarts: u64) {
    // At least the main process exists, even if it is in an exec and its environment cannot be
    // read.
    let (main, before) = (followed(home).pid(), home.app_processes().len().max(1));
    kill(main, Signal::KILL);
    home.wait_app("x", "restarted", |item| item.restarts() == restarts && item.pid() != main && item.status() == "online");
    assert!(home.app_processes().len() <= before, "{:?}", home.app_processes());
}

#[test]
fn double_forking_parent_hands_over_main_pid() {
    needs_program!("python3");
    let home = home();
    start(&home, "daemon", "");
    let pid = is_followed(&home, 0).pid();
    assert_eq!(std::fs::read_to_string(home.dir().join("pids/x-0.pid")).unwrap(), pid.to_string());
    crash_restarts_the_app(&home, 1);
    is_followed(&home, 1);
    stops(&home);
    home.ok("start x");
    is_followed(&home, 1);
    home.ok("delete x");
    nothing_is_left(&home);
}

#[test]
fn reexecuting_server_hands_over_main_pid() {
    needs_program!("python3");
    let home = home();
    start(&home, "server", "");
    let (old, new) = replace(&home);
    is_followed(&home, 0);
    // The old process may exit in any way: that is not a crash.
    assert!(alive(old));
    home.write("go", "");
    home.wait_exit(old);
    for _ in 0..3 {
        let (old, _) = replace(&home);
        home.wait_exit(old);
        is_followed(&home, 0);
    }
    home.wait_exit(new);
    home.ok("ping");
    assert!(!home.ok("why x").stdout.contains("code 3"));
    crash_restarts_the_app(&home, 1);
    stops(&home);
}

#[test]
fn old_and_new_process_are_stopped_together() {
    needs_program!("python3");
    let home = home();
    start(&home, "server", "");
    for command in ["restart x", "reload x"] {
        let (old, new) = replace(&home);
        followed(&home);
        home.ok(command);
        assert!(!alive(old) && !alive(new), "{command}");
        let after = home.app("x");
        assert!(after.status() == "online" && after.pid() != new, "{command}");
        home.wait_until("it serves", || reported_pid(&home) == after.pid());
    }
    let (old, new) = replace(&home);
    followed(&home);
    stops(&home);
    assert!(!alive(old) && !alive(new));
}

#[test]
fn crash_of_new_process_also_stops_the_old_one() {
    needs_program!("python3");
    let home = home();
    start(&home, "server", "");
    let (old, _) = replace(&home);
    is_followed(&home, 0);
    crash_restarts_the_app(&home, 1);
    assert!(!alive(old));
    stops(&home);
}

#[test]
fn handover_survives_killed_daemon() {
    needs_program!("python3");
    let home = home();
    start(&home, "server", "");
    home.write("go", "");
    for round in 0..10 {
        let (old, _) = thread::scope(|scope| {
            let replaced = scope.spawn(|| replace(&home));
            if round % 2 == 0 {
                home.kill_daemon();
            }
            let replaced = replaced.join().unwrap();
            if round % 2 == 1 {
                home.kill_daemon();
            }
            replaced
        });
        home.wait_exit(old);
        is_followed(&home, 0);
    }
    home.kill_daemon();
    is_followed(&home, 0);
    crash_restarts_the_app(&home, 1);
    home.kill_daemon();
    stops(&home);
}

#[test]
fn handover_without_a_daemon_is_noticed_by_the_next() {
    needs_program!("python3");
    let home = home();
    let file = app(&home, "daemon go", "");
    thread::scope(|scope| {
        // The waiting client loses its daemon, so its output does not matter.
        scope.spawn(|| home.run(format!("start {file}")));
        home.daemon_pid();
        let former = home.wait_app("x", "launching", |item| item.status() == "launching" && item.pid() != 0).pid();
        let daemon = home.daemon_pid();
        // The keeper is stopped, so it cannot start another daemon yet.
        let keeper = home.keeper_pid();
        kill(keeper, Signal::STOP);
        kill(daemon, Signal::KILL);
        home.write("go", "");
        home.wait_log("x-out.log", "handed over");
        home.wait_until("the former one has ended", || ostler_testkit::process_table().iter().all(|p| p.pid != former || p.state == 'Z'));
        kill(keeper, Signal::CONT);
        is_followed(&home, 0);
    });
    stops(&home);
}

#[test]
fn handover_survives_keeper_death_and_update() {
    needs_program!("python3");
    let home = home();
    start(&home, "server", "");
    home.write("go", "");
    let steps: [(&str, &dyn Fn()); 3] = [
        ("keeper", &|| {
            let keeper = home.keeper_pid();
            kill(keeper, Signal::KILL);
            home.wait_until("another keeper", || home.keeper_pid() != keeper);
        }),
        ("update", &|| drop(home.ok("update"))),
        ("both", &|| {
            home.kill_all_three();
            home.ok("start sleep --name other -- 1000");
            home.ok("delete other");
        }),
    ];
    for (what, step) in steps {
        let (old, new) = replace(&home);
        home.wait_exit(old);
        is_followed(&home, 0);
        step();
        assert_eq!(home.app("x").pid(), new, "{what}");
        is_followed(&home, 0);
    }
    crash_restarts_the_app(&home, 1);
    stops(&home);
}

#[test]
fn foreign_main_pid_is_ignored() {
    needs_program!("python3");
    let home = home();
    crate::setup::start_fixture(&home, "other", "", "hold");
    let (other, daemon, keeper) = (home.app("other").pid(), home.daemon_pid(), home.keeper_pid());
    let me = std::process::id();
    let words = format!("1 0 -1 2 99999999 2147483647 4294967296 99999999999999999999 x {other} {daemon} {keeper} {me} dead");
    start(&home, &format!("says {words}"), "");
    let before = home.app("x").pid();
    home.write("go", "");
    home.wait_until("all is printed", || home.ok("describe x").stdout.contains("said all"));
    assert_eq!((home.app("x").pid(), home.app("x").restarts(), home.app("x").status()), (before, 0, "online"));
    assert_eq!((home.app("other").pid(), home.app("other").status()), (other, "online"));
    assert_eq!((home.daemon_pid(), home.keeper_pid()), (daemon, keeper));
    home.wait_until("it is reported", || home.daemon_log().contains("which is not in its process tree"));
    home.ok("delete other");
    stops(&home);
}

#[test]
fn thousands_of_main_pid_changes_are_bounded() {
    needs_program!("python3");
    let home = home();
    start(&home, "says flip", "");
    let before = home.app("x").pid();
    home.write("go", "");
    home.wait_until("all is printed", || home.ok("describe x").stdout.contains("said all"));
    assert_eq!((home.app("x").pid(), home.app("x").restarts(), home.app("x").status()), (before, 0, "online"));
    let told = home.daemon_log().matches("main process is").count();
    assert!(told < 100, "{told} lines");
    crash_restarts_the_app(&home, 1);
    stops(&home);
}
