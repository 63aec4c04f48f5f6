//! The lines about log rotation and host figures in the documents that this project started from,
//! unchanged.

use crate::rotation::rotated;
use crate::setup::{home_as_pm2, start_fixture};

/// Document 002: the commands unchanged, with the effects that the document promises.
#[test]
fn pm2_logrotate_commands_work() {
    let home = home_as_pm2();
    start_fixture(&home, "c", "--no-autorestart", "count 100 1");
    for command in [
        "install pm2-logrotate",
        "set pm2-logrotate:max_size 10M",
        "set pm2-logrotate:retain 30",
        "set pm2-logrotate:compress true",
        "install pm2-server-monit",
        "install pm2-logrotate",
        "set pm2-logrotate:max_size 100M",
        "set pm2-logrotate:retain 30",
    ] {
        home.ok(command);
    }
    // The other settings, so that the test does not take a night.
    home.ok("set pm2-logrotate:dateFormat YYYY-MM-DD");
    home.ok("set pm2-logrotate:workerInterval 1");
    home.ok("set pm2-logrotate:rotateModule true");
    home.ok("set pm2-logrotate:TZ Asia/Tokyo");
    home.ok(["set", "pm2-logrotate:rotateInterval", "*/1 * * * * *"].as_slice());
    let is_one =
        |name: &String| name.starts_with("c-out__20") && name.ends_with(".log.gz") && name.len() == "c-out__2026-11-21.log.gz".len();
    home.wait_until("it was rotated and compressed", || rotated(&home, "c-out").iter().any(is_one));
}
