//! Bun in cluster mode: its servers share a port by themselves, and send no messages about it.

use ostler_testkit::{free_port, kill, needs_program};
use rustix::process::Signal;

use crate::setup::{home, wait_all_answer};

const SERVERS: [(&str, &str); 2] = [
    ("node:http", "require('http').createServer((q, r) => r.end(`${process.pid}`)).listen(+process.argv[2], '127.0.0.1');"),
    (
        "Bun.serve",
        "Bun.serve({port: +process.argv[2], hostname: '127.0.0.1', reusePort: true, fetch: () => new Response(`${process.pid}`)});",
    ),
];

#[test]
fn bun_workers_share_port_and_reload() {
    needs_program!("bun");
    for (what, text) in SERVERS {
        let home = home();
        let port = free_port();
        let script = home.write("server.js", text);
        home.ok(format!("start {script} --name b --interpreter bun -i 2 -- {port}"));
        let before = home.pid_set();
        assert!(home.jlist().iter().all(|item| item.text("exec_mode") == "cluster_mode"));
        wait_all_answer(&home, what, port, &before);
        home.ok("reload b");
        let after = home.pid_set();
        assert!(after.is_disjoint(&before), "{what}: {before:?} {after:?}");
        wait_all_answer(&home, what, port, &after);
        // After a crash and after scaling down, the remaining instances serve.
        kill(*after.first().unwrap(), Signal::KILL);
        home.wait_until("another one is there", || home.pid_set().len() == 2 && home.pid_set() != after && !home.pid_set().contains(&0));
        wait_all_answer(&home, what, port, &home.pid_set());
        home.ok("scale b 1");
        wait_all_answer(&home, what, port, &home.pid_set());
    }
}

#[test]
fn failed_bun_release_keeps_old_processes() {
    needs_program!("bun");
    let home = home();
    let port = free_port();
    let script = home.write("server.js", SERVERS[0].1);
    home.ok(format!("start {script} --name b --interpreter bun -i 2 -- {port}"));
    let before = home.pid_set();
    wait_all_answer(&home, "good", port, &before);
    home.write("server.js", "throw new Error('no good');");
    home.run("reload b").fails().says("no good");
    assert_eq!(home.pid_set(), before);
    wait_all_answer(&home, "still good", port, &before);
}
