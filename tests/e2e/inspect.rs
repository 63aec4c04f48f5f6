//! `inspect`: the debugger of a running Node app.

use std::collections::BTreeSet;

use ostler_testkit::{Home, fixture, free_ports, get, kill, needs_program, nodes};
use rustix::process::Signal;

use crate::setup::{ecosystem, home};

#[test]
fn inspect_opens_node_debugger() {
    needs_program!("node");
    let home = home();
    let app = home.write("app.js", "setInterval(() => {}, 1000)");
    // A port of its own, because other debuggers may run on this machine.
    home.ok(format!("start {app} --name api --node-args=--inspect-port=0"));
    home.ok(format!("start {} --name other -- hold", fixture()));
    home.wait_until("Node has said its version", || home.app("api").env("node_version").is_string());
    let pid = home.app("api").pid();
    let told = home.ok("inspect api").stdout;
    assert!(told.contains("[api](0) Debugger listening on ws://127.0.0.1:"), "{told}");
    let refused = home.run("inspect other");
    assert!(refused.code == 1 && refused.stderr.contains("other is not a running Node app"), "{refused}");
    assert_eq!((home.app("api").pid(), home.app("other").restarts()), (pid, 0));
}

#[test]
fn unsupported_commands_name_an_alternative() {
    let home = home();
    for (words, what) in
        [("link a b", "no monitoring service"), ("plus", "web enable"), ("deepUpdate", "ostler update"), ("autoinstall", "install")]
    {
        let output = home.run(words);
        assert!(output.code == 1 && output.stderr.contains(what) && output.stdout.is_empty(), "{output}");
    }
    assert!(!home.dir().join("pm2.pid").exists(), "a daemon was started");
}

/// Returns the ports of all workers' inspectors, and checks that each responds.
#[track_caller]
fn inspectors(home: &Home, workers: usize) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    home.wait_until("each worker has an inspector of its own", || {
        let pids = home.pids();
        let port = |pid: &i32| home.read(format!("{pid}.url")).strip_prefix("ws://127.0.0.1:")?.split('/').next()?.parse().ok();
        ports = pids.iter().filter_map(port).collect();
        pids.len() == workers && ports.len() == workers
    });
    for port in &ports {
        let version = get(*port, "/json/version").unwrap();
        assert!(version.contains("Protocol-Version"), "{version}");
    }
    ports
}

#[test]
fn every_worker_has_its_own_inspector() {
    for node in nodes() {
        for by_environment in [false, true] {
            let (home, base) = (home(), free_ports(6));
            let app = home.write(
                "app.js",
                "require('fs').writeFileSync(process.pid + '.url', String(require('inspector').url()));
                require('http').createServer((request, response) => response.end()).listen(0);",
            );
            let option = format!("--inspect=127.0.0.1:{base}");
            let option =
                if by_environment { format!(r#""env": {{"NODE_OPTIONS": "{option}"}}"#) } else { format!(r#""node_args": "{option}""#) };
            let interpreter = node.path.display();
            let file =
                ecosystem(&home, &format!(r#""name": "api", "script": "{app}", "instances": 3, "interpreter": "{interpreter}", {option}"#));
            home.ok(format!("start {file}"));
            assert_eq!(inspectors(&home, 3), (base..base + 3).collect(), "{node}");

            let first = home.jlist()[0].pid();
            kill(first, Signal::KILL);
            home.wait_until("it is replaced", || home.jlist()[0].pid() != first && home.jlist()[0].status() == "online");
            assert_eq!(inspectors(&home, 3), (base..base + 3).collect(), "{node}");

            // The old worker keeps its port until the new worker is ready.
            home.ok("reload api");
            let ports = inspectors(&home, 3);
            assert!(ports.iter().all(|port| (base..base + 6).contains(port)), "{node}: {ports:?}");
            if !by_environment {
                assert_eq!(home.jlist()[1].env("node_args"), &serde_json::json!([format!("--inspect=127.0.0.1:{base}")]));
            }
        }
    }
}

#[test]
fn signal_opens_one_inspector_per_worker() {
    needs_program!("node");
    let (home, base) = (home(), free_ports(2));
    let app = home.write(
        "app.js",
        "require('fs').writeFileSync(process.env.NODE_APP_INSTANCE + '.port', process.debugPort + ' ' + process.execArgv.join(' '));
        require('http').createServer((request, response) => response.end()).listen(0);",
    );
    let ports = || ["0.port", "1.port"].map(|name| std::fs::read_to_string(home.work().join(name)).unwrap_or_default());
    home.ok(format!("start {app} --name api -i 2"));
    let expected = ["9229 --enable-source-maps", "9230 --enable-source-maps"];
    home.wait_until("each worker has a port of its own", || ports() == expected);

    home.ok("delete api");
    home.ok(format!("start {app} --name api -i 2 --node-args=--inspect-port={base}"));
    home.wait_until("Node has said its version", || home.jlist().iter().all(|item| item.env("node_version").is_string()));
    let told = home.ok("inspect api").stdout;
    for port in [base, base + 1] {
        assert!(told.contains(&format!("Debugger listening on ws://127.0.0.1:{port}/")), "{told}");
    }
}
