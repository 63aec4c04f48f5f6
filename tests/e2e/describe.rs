//! `describe` and `env`.

use crate::setup::{home, home_as_pm2, start_fixture};

#[test]
fn describe_shows_all_properties_of_an_app() {
    const OF_PM2: &[&str] =
        &["status", "online", "namespace", "ns", "script path", "exec cwd", "out log path", "error log path", "pid path", "created at"];
    const OWN: &[&str] =
        &["● online", "namespace", "ns", "script", "cwd", "out_file", "error_file", "pid_file", "created", "kill_timeout", "2345"];
    for (home, all) in [(home_as_pm2(), OF_PM2), (home(), OWN)] {
        start_fixture(&home, "app", "--namespace ns --kill-timeout 2345", "hold");
        let output = home.ok("describe app");
        for words in all {
            assert!(output.stdout.contains(words), "no {words}\n{output}");
        }
    }
}

#[test]
fn env_shows_variables_by_instance_id() {
    let home = home();
    home.cmd("start sleep --name app -- 1000").env("MINE", "yes and no").run().ok();
    home.ok("env 0").says("MINE: yes and no");
    home.run("env 44").fails();
}
