//! `instances: {min, max, cpu}`.

use crate::setup::{ecosystem, home};

#[test]
fn busy_app_is_scaled_up_within_bounds() {
    let home = home();
    let script = home.write("busy.js", "setInterval(() => { const end = Date.now() + 90; while (Date.now() < end); }, 100);");
    let file = ecosystem(
        &home,
        &format!(r#""name": "app", "script": "{script}", "exec_mode": "fork", "instances": {{"min": 1, "max": 2, "cpu": 5}}"#),
    );
    home.ok(format!("start {file}"));
    assert_eq!(home.jlist().len(), 1);
    home.wait_until("there are two", || home.jlist().iter().filter(|app| app.status() == "online").count() == 2);
    home.ok("events app").says("is scaled from 1 to 2 instances, by the policy `autoscale` (uses ").says("% of a core with 1 instance)");
    // Instances that a user stops stay stopped.
    home.ok("stop app");
    assert!(home.jlist().iter().all(|app| app.status() == "stopped"));
}
