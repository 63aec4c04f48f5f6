//! `describe` and `env`.

use crate::setup::{home, start_fixture};

#[test]
fn describe_shows_all_properties_of_an_app() {
    let home = home();
    start_fixture(&home, "app", "--namespace ns --kill-timeout 2345", "hold");
    let output = home.ok("describe app");
    for words in
        ["status", "online", "namespace", "ns", "script path", "exec cwd", "out log path", "error log path", "pid path", "created at"]
    {
        assert!(output.stdout.contains(words), "no {words}\n{output}");
    }
}

#[test]
fn env_shows_variables_by_instance_id() {
    let home = home();
    home.cmd("start sleep --name app -- 1000").env("MINE", "yes and no").run().ok();
    home.ok("env 0").says("MINE: yes and no");
    home.run("env 44").fails();
}
