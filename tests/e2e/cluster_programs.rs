//! Cluster mode with programs that are Node under another name, that start Node, or that are not
//! Node.

use std::os::unix::fs::symlink;
use std::path::Path;

use ostler_testkit::{Home, Load, fixture_app, free_port, get, needs_program, program};

use crate::setup::{ecosystem, home, wait_all_answer};

/// Starts two workers, reloads them under load, and checks that all of them serve.
#[track_caller]
fn is_a_cluster(what: &str, make: impl Fn(&Home, &Path) -> String) {
    let (home, port) = (home(), free_port());
    let node = program("node").unwrap();
    let members = make(&home, &node);
    let file = ecosystem(&home, &format!(r#""name": "c", "instances": 2, "exec_mode": "cluster", "env": {{"PORT": "{port}"}}, {members}"#));
    let started = home.ok(format!("start {file}"));
    assert!(!started.all().contains("cluster worker"), "{what}: {}", started.all());
    let before = home.pid_set();
    wait_all_answer(&home, what, port, &before);
    let load = Load::mixed(port, 2);
    home.ok("reload c");
    let after = home.pid_set();
    assert!(after.is_disjoint(&before), "{what}: {before:?} {after:?}");
    wait_all_answer(&home, what, port, &after);
    load.stop().assert_whole();
    assert!(!home.ok("describe c").all().contains("cluster worker"), "{what}");
}

#[test]
fn node_under_another_name_is_a_worker() {
    needs_program!("node");
    for name in ["nodejs", "node22", "engine"] {
        is_a_cluster(name, |home, node| {
            let link = home.work().join(name);
            symlink(node, &link).unwrap();
            format!(r#""script": "{}", "interpreter": "{}""#, fixture_app("cluster-naive.js"), link.display())
        });
    }
    is_a_cluster("a copy", |home, node| {
        let copy = home.work().join("engine");
        std::fs::copy(node, &copy).unwrap();
        format!(r#""script": "{}", "interpreter": "{}""#, fixture_app("cluster-naive.js"), copy.display())
    });
}

#[test]
fn a_program_that_starts_node_is_a_worker() {
    needs_program!("node");
    let app = || fixture_app("cluster-naive.js");
    is_a_cluster("a script of Node", |home, _| {
        let file = home.write("my-ts", "#!/usr/bin/env node\nrequire(process.argv[2]);\n");
        format!(r#""script": "{}", "interpreter": "{file}""#, app())
    });
    is_a_cluster("a wrapper", |home, _| {
        let file = home.write("run in it", "#!/bin/sh\nexec node \"$@\"\n");
        format!(r#""script": "{}", "interpreter": "{file}""#, app())
    });
    is_a_cluster("a script of a shell", |home, _| {
        let file = home.write("start.sh", format!("cd / && exec node {}\n", app()));
        format!(r#""script": "{file}""#)
    });
    is_a_cluster("a program of its own", |home, _| {
        let file = home.write("start", format!("#!/bin/sh\nexec node {}\n", app()));
        format!(r#""script": "{file}", "interpreter": "none""#)
    });
    is_a_cluster("a command line", |_, _| format!(r#""script": "exec node {}""#, app()));
}

#[test]
fn children_of_a_worker_inherit_no_preload() {
    needs_program!("node");
    let home = home();
    let wrapper = home.write("wrapper", "#!/bin/sh\nexport NODE_OPTIONS=\"$NODE_OPTIONS --no-warnings\"\nexec node \"$@\"\n");
    let app = home.write("app.js", "console.log('options', process.env.NODE_OPTIONS); setInterval(() => {}, 1000);");
    home.ok(format!(
        "start {}",
        ecosystem(&home, &format!(r#""name": "c", "exec_mode": "cluster", "script": "{app}", "interpreter": "{wrapper}""#))
    ));
    home.wait_log("c-out-0.log", "options");
    assert_eq!(home.log("c-out-0.log").trim(), "options --no-warnings");
}

#[test]
fn program_without_workers_is_described() {
    let home = home();
    let app = home.write("app.sh", "exec sleep 1000\n");
    let file = ecosystem(&home, &format!(r#""name": "c", "exec_mode": "cluster", "script": "{app}""#));
    let started = home.ok(format!("start {file}"));
    assert!(!started.all().contains("warning"), "{}", started.all());
    assert!(home.ok("describe c").all().contains("shares the ports that it opens; so far it has opened none"));
}

#[test]
fn worker_whose_child_holds_port_is_restarted_in_place() {
    needs_program!("node");
    let (home, port) = (home(), free_port());
    let server = home.write("server.js", "require('http').createServer((q, r) => r.end(`${process.pid}`)).listen(process.env.PORT);");
    let launcher = home.write(
        "starter",
        format!("#!/usr/bin/env node\nrequire('child_process').spawn(process.execPath, ['{server}'], {{stdio: 'inherit'}});\n"),
    );
    let members = format!(r#""name": "c", "exec_mode": "cluster", "script": "{launcher}", "env": {{"PORT": "{port}"}}"#);
    home.ok(format!("start {}", ecosystem(&home, &members)));
    let served = || get(port, "/").ok().filter(|body| !body.is_empty());
    home.wait_until("the child answers", || served().is_some());
    let (before, child) = (home.pid_set(), served().unwrap());
    let reloaded = home.ok("reload c");
    assert!(reloaded.all().contains("opens its own port"), "{}", reloaded.all());
    assert!(home.pid_set().is_disjoint(&before));
    home.wait_until("another child answers", || served().is_some_and(|now| now != child));
}
