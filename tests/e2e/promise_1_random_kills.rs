//! Promise 1 at any instant: a fleet in motion, the daemon killed at random. `OSTLER_KILL_ROUNDS=5000` for the long run, `OSTLER_KILL_SEED`
//! to begin it as before.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, SystemTime};

use ostler_testkit::{Home, alive, fixture, kill};
use rustix::process::Signal;

use crate::setup::home;

/// xorshift64: the same rounds for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn settled(home: &Home, pid_of_steady: i32) {
    // Every entry of the list is in a state that needs nothing more, one process each, none twice.
    home.wait_until("the fleet is at rest", || {
        let list = home.jlist();
        let at_rest = list.iter().all(|item| match item.status() {
            "online" => alive(item.pid()),
            "stopped" | "errored" => item.pid() == 0,
            _ => false,
        });
        let online = list.iter().filter(|item| item.status() == "online").count();
        at_rest && home.app_processes().len() == online
    });
    assert_eq!(home.app("steady").pid(), pid_of_steady, "the app that nobody touched was restarted\n{}", home.report());
    assert_eq!(home.app("steady").restarts(), 0);
    let count = home.daemons().len();
    assert_eq!(count, 1, "{count} daemons");
}

#[test]
fn a_fleet_in_motion() {
    let rounds = setting("OSTLER_KILL_ROUNDS").unwrap_or(40);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = setting("OSTLER_KILL_SEED").unwrap_or(u64::from(now.subsec_nanos()) | 1);
    eprintln!("OSTLER_KILL_SEED={seed}");
    let mut dice = Dice(seed);
    let home = home();
    home.ok(format!("start {} --name steady -- hold", fixture()));
    let steady = home.app("steady").pid();
    for i in 0..4 {
        home.ok(format!("start {} -f --name m{i} --max-restarts 100000 -- hold", fixture()));
    }
    for round in 0..rounds {
        let name = format!("m{}", dice.below(4));
        let verb = match dice.below(6) {
            0 => format!("start {} -f --name {name} --max-restarts 100000 -- hold", fixture()),
            1 => format!("stop {name}"),
            2 | 3 => format!("restart {name}"),
            4 => format!("delete {name}"),
            _ => format!("scale {name} +1"),
        };
        let mut caller = home.cmd(&verb).command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Not a wait for anything: the random instant itself.
        thread::sleep(Duration::from_micros(dice.below(15_000)));
        if dice.below(3) == 0 {
            let moving = home.app_processes().into_iter().filter(|p| p.pid != steady).map(|p| p.pid).collect::<Vec<_>>();
            let count = moving.len() as u64;
            if count > 0 {
                kill(moving[usize::try_from(dice.below(count)).unwrap()], Signal::KILL);
            }
        }
        home.daemons().into_iter().for_each(|pid| kill(pid, Signal::KILL));
        // The caller may be told that the connection broke; it must not hang.
        let mut ended = false;
        home.wait_until(&format!("`{verb}` of round {round} ends"), || {
            ended = ended || caller.try_wait().unwrap().is_some();
            ended
        });
        settled(&home, steady);
        if home.jlist().len() > 12 {
            home.ok("delete /^m/");
            settled(&home, steady);
        }
    }
}
