//! `inspect`: the debugger of a running Node app.

use ostler_testkit::{fixture, needs_program};

use crate::setup::home;

#[test]
fn the_debugger_of_node_listens() {
    needs_program!("node");
    let home = home();
    let app = home.write("app.js", "setInterval(() => {}, 1000)");
    // A port of its own: others may debug here, too.
    home.ok(format!("start {app} --name api --node-args=--inspect-port=0"));
    home.ok(format!("start {} --name other -- hold", fixture()));
    home.wait_until("Node has said its version", || home.app("api").env("node_version").is_string());
    let pid = home.app("api").pid();
    let told = home.ok("inspect api").stdout;
    assert!(told.contains("[api](0) Debugger listening on ws://127.0.0.1:"), "{told}");
    let refused = home.run("inspect other");
    assert!(refused.code == 1 && refused.stderr.contains("other is no Node app that runs"), "{refused}");
    assert_eq!((home.app("api").pid(), home.app("other").restarts()), (pid, 0));
}

#[test]
fn what_is_not_needed_here_says_what_is_there_instead() {
    let home = home();
    for (words, what) in
        [("link a b", "sends nothing"), ("plus", "web enable"), ("deepUpdate", "ostler update"), ("autoinstall", "install")]
    {
        let output = home.run(words);
        assert!(output.code == 1 && output.stderr.contains(what) && output.stdout.is_empty(), "{output}");
    }
    assert!(!home.dir().join("pm2.pid").exists(), "a daemon was started");
}
