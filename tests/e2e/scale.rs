//! `scale`.

use crate::setup::{home, home_as_pm2, start_fixture};

#[test]
fn scale_down_removes_newest_and_as_pm2_oldest() {
    for (home, left) in [(home(), [0, 1]), (home_as_pm2(), [2, 3])] {
        start_fixture(&home, "app", "-i 4", "hold");
        home.ok("scale app 2");
        let list = home.jlist();
        assert_eq!(list.iter().map(|item| item.id()).collect::<Vec<_>>(), left);
        let numbers: Vec<u64> = list.iter().map(|item| item.number("NODE_APP_INSTANCE")).collect();
        assert_eq!(numbers, left);
    }
    // Instance number 0 stays, even if it is the youngest instance.
    let home = home();
    start_fixture(&home, "app", "-i 2", "hold");
    home.ok("delete 0");
    home.ok("scale app 2");
    home.ok("scale app 1");
    assert_eq!(home.app("app").number("NODE_APP_INSTANCE"), 0);
}

#[test]
fn scale_accepts_absolute_and_relative_numbers() {
    let home = home();
    start_fixture(&home, "app", "-i 2", "hold");
    let counts = |home: &ostler_testkit::Home| home.jlist().iter().filter(|item| item.status() == "online").count();
    for (to, wanted) in [("4", 4), ("+2", 6), ("3", 3), ("-1", 2)] {
        home.ok(format!("scale app {to}"));
        assert_eq!(counts(&home), wanted, "after scale app {to}");
        assert_eq!(home.app_processes().len(), wanted);
    }
    home.ok("scale app 2").says("app already has 2 instances");
    home.run("scale app -3").code(1).says("error: app has 2 instances, so 3 cannot be removed; nothing was changed");
    assert_eq!(counts(&home), 2);
    home.run("scale nothing 2").code(4);
    for number in ["many", "2.5"] {
        home.run(format!("scale app {number}")).code(2).says("expected a whole number");
    }
    let cpus = usize::from(std::thread::available_parallelism().unwrap());
    home.ok("scale app +1");
    if cpus != 3 {
        home.ok("scale app max");
    }
    assert_eq!(counts(&home), cpus);
    home.ok("scale app 0");
    assert!(home.jlist().is_empty() && home.app_processes().is_empty());
}

#[test]
fn new_instances_get_free_numbers_and_own_logs() {
    let home = home();
    let script = home.write("n.sh", "#!/bin/sh\necho number $NODE_APP_INSTANCE\nexec sleep 1000\n");
    home.ok(format!("start {script} --name app -i 2"));
    home.ok("scale app 4");
    let list = home.jlist();
    let mut numbers: Vec<u64> = list.iter().map(|item| item.number("NODE_APP_INSTANCE")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3]);
    let mut files: Vec<&str> = list.iter().map(|item| item.text("pm_out_log_path")).collect();
    files.sort_unstable();
    files.dedup();
    assert_eq!(files.len(), 4, "instances share log files");
    let ids: Vec<&str> = list.iter().map(|item| item.text("unique_id")).collect();
    assert!(ids.iter().all(|id| ids.iter().filter(|other| *other == id).count() == 1), "unique ids are not: {ids:?}");
}
