//! What the program is called by, and which home that means.

use ostler_testkit::{Home, Subject, fixture};

use crate::setup::{binary, home};

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
