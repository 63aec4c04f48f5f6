//! Alerts while keeper, daemon and dashboard are killed at random instants: each alert is sent
//! once, or again with the same id. `OSTLER_KILL_ROUNDS` and `OSTLER_KILL_SEED` work as in
//! `promise_1_random_kills`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ostler_testkit::{Behaviour, Received, Receiver, fixture, kill, setting};
use rustix::process::Signal;
use serde_json::Value;

use crate::alerts::{has, on, received_alerts, webhook};
use crate::setup::{SeededRandom, events, home};

/// Time limit for delayed messages: the third message within a minute waits until the minute is
/// over.
const SENT_WITHIN: Duration = Duration::from_secs(150);

fn ids(all: &[Received]) -> BTreeSet<String> {
    all.iter().map(|received| received.json()["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn alerts_survive_kills_and_resends_keep_their_id() {
    // A message names at most 20 alerts.
    let rounds = setting("OSTLER_KILL_ROUNDS").unwrap_or(16).min(18);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = setting("OSTLER_KILL_SEED").unwrap_or(u64::from(now.subsec_nanos())).max(1);
    eprintln!("{rounds} rounds, seed {seed}");
    let mut dice = SeededRandom(seed);
    let home = home();
    let receiver = Receiver::new(Behaviour::BreaksOff);
    on(&home);
    webhook(&home, "ops", &receiver, "");
    let mut web = home.app("ostler-web").pid();
    for round in 0..rounds {
        if round > 0 {
            receiver.set_behaviour(match dice.below(3) {
                0 => Behaviour::Answers(500, String::new(), String::new()),
                1 => Behaviour::BreaksOff,
                _ => Behaviour::Accepts,
            });
        }
        let words = format!("start {} --name app{round} --no-autorestart -- exit 3", fixture());
        let mut caller = home.cmd(words).command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if round == 0 {
            // The receiver took the message and broke off, so the sender cannot know that it was
            // delivered.
            home.wait_until("a message came", || !receiver.received().is_empty());
        } else {
            // No condition to wait for: this sleep is the random instant itself.
            thread::sleep(Duration::from_micros(dice.below(60_000)));
        }
        let roles: &[&str] = match dice.below(6) {
            0 | 1 => &["web"],
            2 => &["daemon"],
            3 => &["keeper"],
            4 => &["keeper", "daemon"],
            _ => &["web", "daemon", "keeper"],
        };
        let victims: Vec<i32> =
            roles.iter().flat_map(|role| if *role == "web" { vec![web] } else { home.pids_with(&format!("{role} (")) }).collect();
        victims.into_iter().for_each(|pid| kill(pid, Signal::KILL));
        let mut ended = false;
        home.wait_until(&format!("the start of round {round} ends"), || {
            ended = ended || caller.try_wait().unwrap().is_some();
            ended && home.run("ping").code == 0
        });
        home.wait_until("the dashboard is there", || {
            let list = home.jlist();
            web = list.iter().find(|item| item.name() == "ostler-web" && item.status() == "online").map_or(0, |item| item.pid());
            web > 0
        });
    }
    receiver.set_behaviour(Behaviour::Accepts);
    let crashed = |event: &Value| {
        let ending = event["what"].get("exit")?.get("ending")?;
        (event["cause"] == "app" && ending["Code"] != 0).then(|| event["app"].as_str().map(str::to_owned))?
    };
    let expected: BTreeSet<String> = events(&home, "").iter().filter_map(crashed).filter(|app| app.starts_with("app")).collect();
    assert!(expected.len() >= 2, "nothing happened: {expected:?}\n{}", home.report());
    let until = Instant::now() + SENT_WITHIN;
    for app in &expected {
        let what = format!("{app} crash firing");
        while !has(&receiver, &what) {
            assert!(
                Instant::now() < until,
                "seed {seed}: {what} never came: {:?}\n{}",
                received_alerts(&receiver),
                home.run("alerts history")
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
    home.wait_until("each that was sent was taken in the end", || ids(&receiver.received()) == ids(&receiver.received_requests()));
    let mut by_id: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, alerts) in received_alerts(&receiver) {
        let before = by_id.insert(id.clone(), alerts.clone());
        assert!(before.is_none_or(|before| before == alerts), "seed {seed}: {id} came twice and differs");
    }
    let mut seen = BTreeSet::new();
    for alert in by_id.values().flatten().filter(|alert| alert.ends_with("crash firing")) {
        assert!(seen.insert(alert.clone()), "seed {seed}: {alert} came under two ids: {by_id:?}");
    }
}
