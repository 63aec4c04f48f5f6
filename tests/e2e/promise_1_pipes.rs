//! Promise 1 for apps with piped logs: they outlive daemon, keeper and standby together, and no
//! line is lost.

use ostler_testkit::{Home, fixture, needs_program, needs_root};
use serde_json::{Value, json};

use crate::setup::{home, start_app};
use crate::setup::{json_lines, numbers_are_whole};

/// User that runs an app of root.
const OTHER: u32 = 54321;

fn start(home: &Home, app: &Value) -> i32 {
    start_app(home, app);
    home.app(app["name"].as_str().unwrap()).pid()
}

#[track_caller]
fn same_process(home: &Home, name: &str, pid: i32) {
    let item = home.app(name);
    assert_eq!((item.pid(), item.restarts(), item.status()), (pid, 0, "online"), "{name}\n{}", home.report());
}

/// Kills daemon, keeper and standby while the app writes, until its last line is in the log.
fn kill_until_the_end(home: &Home, app: &Value, stream: &str) -> String {
    let name = app["name"].as_str().unwrap();
    let pid = start(home, app);
    let log = format!("{name}-{stream}.log");
    home.wait_log(&log, "00000001");
    for _ in 0..4 {
        home.kill_all_three();
        same_process(home, name, pid);
        let length = home.log(&log).len();
        home.wait_until("more lines are in the log", || home.log(&log).len() > length || home.log(&log).contains("end"));
    }
    home.wait_log(&log, "end");
    same_process(home, name, pid);
    home.log(&log)
}

#[test]
fn apps_with_piped_logs_lose_no_line() {
    let home = home();
    let app = |name: &str| json!({ "name": name, "script": fixture(), "args": "count 20000 8", "time": true });
    numbers_are_whole(&kill_until_the_end(&home, &app("dated"), "out"), 20_000);
    let app = json!({ "name": "json", "script": fixture(), "args": "count 20000 8", "log_type": "json" });
    let lines = json_lines(&kill_until_the_end(&home, &app, "out"));
    let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap().trim_end()).collect();
    numbers_are_whole(&messages.join("\n"), 20_000);
}

/// Writes numbered lines through shell redirection, so that standard error is the stream that
/// carries them.
#[test]
fn stderr_loses_no_line() {
    let home = home();
    let script = home.write("complain.sh", format!("exec {} count 20000 8 >&2\n", fixture()));
    let app = json!({ "name": "complains", "script": "/bin/sh", "args": [script], "interpreter": "none", "time": true });
    numbers_are_whole(&kill_until_the_end(&home, &app, "error"), 20_000);
}

const PYTHON: &str = "import time
for n in range(1, 20001):
    print(f'{n:08}')
    if n % 10 == 0: time.sleep(0.002)
print('end')
time.sleep(1000)
";

#[test]
fn python_loses_no_line() {
    needs_program!("python3");
    let home = home();
    let app = json!({ "name": "python", "script": "python3", "args": ["-u", home.write("lines.py", PYTHON)],
                      "interpreter": "none", "time": true });
    numbers_are_whole(&kill_until_the_end(&home, &app, "out"), 20_000);
}

const NODE: &str = "let n = 0;
const timer = setInterval(() => {
  for (let i = 0; i < 10; i++) console.log(String(++n).padStart(8, '0'));
  if (n < 20000) return;
  clearInterval(timer);
  console.log('end');
  setInterval(() => {}, 1000);
}, 2);
";

#[test]
fn node_loses_no_line() {
    needs_program!("node");
    let home = home();
    let app = json!({ "name": "node", "script": home.write("lines.js", NODE), "time": true });
    numbers_are_whole(&kill_until_the_end(&home, &app, "out"), 20_000);
}

#[test]
fn app_of_another_user_loses_no_line() {
    needs_root!();
    let home = home();
    let app = json!({ "name": "other", "script": fixture(), "args": "count 20000 8", "time": true, "uid": OTHER, "gid": OTHER });
    numbers_are_whole(&kill_until_the_end(&home, &app, "out"), 20_000);
}

/// The app fills its pipe and blocks as long as the pipe is not read.
#[test]
fn an_app_with_a_full_pipe_waits_and_continues() {
    let home = home();
    let app = json!({ "name": "fast", "script": fixture(), "args": "count 400000 100000", "time": true });
    let pid = start(&home, &app);
    home.wait_log("fast-out.log", "00000001");
    home.kill_all_three();
    let blocks = || std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("pipe"));
    home.wait_until("the app blocks or has written all", || blocks() || home.log("fast-out.log").contains("end"));
    same_process(&home, "fast", pid);
    home.wait_log("fast-out.log", "end");
    numbers_are_whole(&home.log("fast-out.log"), 400_000);
}

/// The pipe is no longer standard output of the main process: only a child has it.
#[test]
fn pipe_held_only_by_a_child_is_found() {
    let home = home();
    let script = home.write("child.sh", format!("{} count 20000 8 &\nexec >/dev/null 2>&1\nwait\n", fixture()));
    let app = json!({ "name": "parent", "script": "/bin/sh", "args": [script], "interpreter": "none", "time": true });
    numbers_are_whole(&kill_until_the_end(&home, &app, "out"), 20_000);
}

/// The log writer of the adopted app notices its exit, and the next process writes into the same
/// log.
#[test]
fn adopted_app_restarts_and_is_deleted_normally() {
    let home = home();
    let script = home.write("speak.sh", "echo begins\ntrap 'printf ends; exit 0' TERM INT\nwhile :; do sleep 0.1; done\n");
    let app = json!({ "name": "speaks", "script": "/bin/sh", "args": [script], "interpreter": "none", "time": true });
    let pid = start(&home, &app);
    home.wait_log("speaks-out.log", "begins");
    home.kill_all_three();
    same_process(&home, "speaks", pid);
    home.ok("restart speaks");
    home.wait_until("both lines are there", || home.log("speaks-out.log").matches("begins\n").count() == 2);
    assert!(home.log("speaks-out.log").contains(": ends\n"), "{}", home.log("speaks-out.log"));
    home.ok("delete speaks");
    home.wait_until("the last line is there", || home.log("speaks-out.log").matches(": ends\n").count() == 2);
    home.ok("kill");
    assert_eq!(home.processes(), []);
}
