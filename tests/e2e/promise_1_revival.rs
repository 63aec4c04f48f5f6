//! Promise 1: events during the replacement of a keeper are neither lost nor counted twice.

use std::collections::HashMap;

use ostler_testkit::{Home, alive, fixture};
use serde_json::json;

use crate::setup::home;

fn start_many(home: &Home) -> usize {
    let given = std::env::var("OSTLER_TEST_MANY").ok();
    let (resting, crashing) =
        given.and_then(|text| text.split_once(',').map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()))).unwrap_or((40, 40));
    let app = |name: String, args: &str| {
        json!({ "name": name, "script": fixture(), "args": args, "out_file": "/dev/null", "error_file": "/dev/null",
                "max_restarts": 1_000_000, "min_uptime": 1, "restart_delay": 1 })
    };
    let rest = (0..resting).map(|n| app(format!("rest-{n}"), "hold"));
    let crash = (0..crashing).map(|n| app(format!("crash-{n}"), &format!("exit 3 {}", 5 + n % 23)));
    let apps: Vec<_> = rest.chain(crash).collect();
    home.ok(["start", &home.write("many.json", json!({ "apps": apps }).to_string())]);
    resting
}

#[test]
fn exits_during_keeper_replacement_are_not_lost() {
    let home = home();
    let resting = start_many(&home);
    let before: HashMap<String, i32> = home.jlist().iter().map(|item| (item.name().to_owned(), item.pid())).collect();
    for round in 0..10 {
        home.kill_keeper();
        // Each app keeps crashing, so the daemon must not wait for the exit of a process that no
        // longer exists.
        let seen: HashMap<String, u64> = home.jlist().iter().map(|item| (item.name().to_owned(), item.restarts())).collect();
        home.wait_until(&format!("all crashing apps keep crashing after kill {round}"), || {
            home.jlist().iter().filter(|item| item.name().starts_with("crash")).all(|item| item.restarts() > seen[item.name()] + 1)
        });
    }
    let after = home.jlist();
    let rests = || after.iter().filter(|item| item.name().starts_with("rest"));
    assert_eq!(rests().count(), resting);
    for item in rests() {
        assert_eq!((item.status(), item.pid(), item.restarts()), ("online", before[item.name()], 0), "{}", item.name());
        assert!(alive(item.pid()), "{} is online with a pid that does not exist", item.name());
    }
    home.ok("kill");
    home.wait_no_processes();
}
