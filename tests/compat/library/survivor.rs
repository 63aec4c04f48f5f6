//! npm's client while the daemon is killed. The client's connection and subscription must recover
//! by themselves and show the current state.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use ostler_testkit::{DEADLINE, Home, fixture_path, installed_pm2, installed_pm2_of, kill};
use rustix::process::Signal;

use super::program;
use crate::compare::ostler;

/// Number of kills that one client survives.
const KILLS: u32 = 3;

/// A client program that receives commands from the test and prints the events that it sees. It
/// exits when the value is dropped.
struct Survivor {
    program: Child,
    lines: Receiver<String>,
}

impl Survivor {
    fn start(home: &Home, pm2: &std::path::Path) -> Self {
        let mut program =
            program(home, pm2, "survivor.cjs").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let (said, lines) = channel();
        let stdout = BufReader::new(program.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        Self { program, lines }
    }

    #[track_caller]
    fn query(&self, home: &Home) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("it says nothing: {error}\n{}", home.report()))
    }

    fn send_command(&mut self, line: &str) {
        writeln!(self.program.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Survivor {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[track_caller]
fn client_reconnects(pm2: Option<PathBuf>) {
    let Some(pm2) = pm2 else { ostler_testkit::skip!("npm's pm2 is not installed") };
    let home = Home::new(ostler());
    home.ok(format!("start {} --name app", fixture_path("library/app.js")));
    home.wait_log("app-out.log", "begun");
    let mut survivor = Survivor::start(&home, &pm2);
    assert_eq!(survivor.query(&home), "ready app");
    for round in 0..KILLS {
        let (daemon, pid) = (home.daemon_pid(), home.app("app").pid());
        kill(daemon, Signal::KILL);
        home.wait_until("there is another daemon", || home.daemons().iter().any(|pid| *pid != daemon));
        survivor.send_command("killed");
        assert_eq!(survivor.query(&home), format!("killed app online {round} {pid}"), "the same process, by the same client");
        assert_eq!(survivor.query(&home), "restarted 0 1 1", "each event once, what is printed among them");
        assert!(home.app("app").pid() != pid);
    }
    drop(survivor.program.stdin.take());
    assert!(survivor.program.wait().unwrap().success());
    assert_eq!(home.app("app").restarts(), u64::from(KILLS));
}

#[test]
fn version_5_reconnects_after_daemon_death() {
    client_reconnects(installed_pm2_of("5.4.3"));
}

#[test]
fn version_6_reconnects_after_daemon_death() {
    client_reconnects(installed_pm2_of("6.0.14"));
}

#[test]
fn version_7_reconnects_after_daemon_death() {
    client_reconnects(installed_pm2());
}
