//! Promise 1 at any instant: commands change a fleet while the test kills processes at random. It
//! kills the daemon, the daemon with the keeper, or the anchor first. `OSTLER_KILL_ROUNDS=5000` is
//! the long run (`cargo xtask soak`). `OSTLER_KILL_SEED` repeats the commands and instants of an
//! earlier run; the machine's own timing still varies. `OSTLER_KILL_FLEETS` runs several fleets at
//! the same time, each with its own seed.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ostler_testkit::{Home, alive, fixture, kill, setting};
use rustix::process::Signal;

use crate::setup::{SeededRandom, home};

/// Reports progress, and prints how to repeat the run if it fails.
struct Log {
    seed: u64,
    rounds: u64,
    done: u64,
    begun: Instant,
}

impl Log {
    fn round(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(100) || self.done == self.rounds {
            eprintln!("seed {}: {} of {} rounds, {} s", self.seed, self.done, self.rounds, self.begun.elapsed().as_secs());
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { seed, rounds, done, .. } = self;
            eprintln!("failed in round {}; again: cargo xtask soak --rounds {rounds} --seed {seed} --fleets 1", *done + 1);
        }
    }
}

fn settled(home: &Home, pid_of_steady: i32) {
    // Every entry of the list is in a stable state, with one process each and no duplicates.
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
fn fleet_survives_random_kills_during_commands() {
    let rounds = setting("OSTLER_KILL_ROUNDS").unwrap_or(40);
    let fleets = setting("OSTLER_KILL_FLEETS").unwrap_or(1).max(1);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    // The generator would return only zeros for seed zero.
    let seed = setting("OSTLER_KILL_SEED").unwrap_or(u64::from(now.subsec_nanos())).max(1);
    thread::scope(|scope| {
        (0..fleets).for_each(|number| drop(scope.spawn(move || move_a_fleet(seed + number, rounds.div_ceil(fleets)))));
    });
}

fn move_a_fleet(seed: u64, rounds: u64) {
    let mut dice = SeededRandom(seed);
    let mut log = Log { seed, rounds, done: 0, begun: Instant::now() };
    eprintln!("{rounds} rounds, seed {seed}");
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
        // No condition to wait for: this sleep is the random instant itself.
        thread::sleep(Duration::from_micros(dice.below(15_000)));
        if dice.below(3) == 0 {
            let moving = home.app_processes().into_iter().filter(|p| p.pid != steady).map(|p| p.pid).collect::<Vec<_>>();
            let count = moving.len() as u64;
            if count > 0 {
                kill(moving[usize::try_from(dice.below(count)).unwrap()], Signal::KILL);
            }
        }
        // Processes of this role at this instant; a process that is being replaced may be missing.
        let of_role = |role: &str| home.pids_with(&format!("{role} ("));
        let roles: &[&str] = match dice.below(6) {
            0 => &["keeper", "daemon"],
            1 => &["daemon", "keeper"],
            2 => &["keeper"],
            3 => &["anchor"],
            _ => &["daemon"],
        };
        let victims: Vec<i32> = roles.iter().flat_map(|role| of_role(role)).collect();
        victims.into_iter().for_each(|pid| kill(pid, Signal::KILL));
        // The command may report a broken connection, but must not hang.
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
        log.round();
    }
}
