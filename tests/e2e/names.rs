//! What the program is called by, and which home that means.

use ostler_testkit::{Home, Subject, fixture};

use crate::setup::{binary, home};

#[test]
fn programs_of_pm2_that_are_still_to_come_say_what_to_use() {
    let place = home();
    for name in ["pm2-dev"] {
        let link = place.root().join("bin").join(name);
        std::os::unix::fs::symlink(binary(), &link).unwrap();
        let home = Home::new(Subject::Ostler(link));
        for words in [format!("start {} -- hold", fixture()), format!("{} -- hold", fixture()), String::new(), "--version".into()] {
            let output = home.run(&words).code(1);
            assert_eq!(output.all().lines().count(), 1, "that is not one clear line\n{output}");
            assert!(
                output.stderr.contains(name) && output.stderr.contains("pm2 start") && output.stderr.contains("--no-daemon"),
                "{output}"
            );
            assert_eq!(home.processes(), []);
            assert!(!home.dir().exists(), "{} was made", home.dir().display());
        }
    }
}

#[test]
fn over_home_wins_over_pm2_home() {
    let home = Home::new(Subject::OstlerAsPm2(binary()));
    let other = home.root().join("over");
    home.cmd("ping").env("OVER_HOME", &other).run().ok();
    assert!(other.join("pm2.pid").exists() && !home.dir().exists());
    home.cmd("kill").env("OVER_HOME", &other).run().ok();
}

#[test]
fn concurrent_actions_by_variable() {
    let home = home();
    home.ok(format!("start {} --name app -i 4 -x -- hold", fixture()));
    let before: Vec<i32> = home.jlist().iter().map(ostler_testkit::Item::pid).collect();
    for value in ["3", "1", "0", "many"] {
        home.cmd("restart app").env("PM2_CONCURRENT_ACTIONS", value).run().ok();
    }
    let list = home.jlist();
    assert!(
        list.iter().all(|item| item.status() == "online" && item.restarts() == 4 && !before.contains(&item.pid())),
        "{}",
        home.report()
    );
}
