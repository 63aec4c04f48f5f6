//! `--hosts` with a real sshd on loopback. Each host has a home of its own behind the sshd. Other
//! hosts are down, hang, or have no ostler or another version.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use ostler_testkit::{Home, Load, fixture, fixture_app, free_port, free_ports};
use serde_json::{Map, Value, json};

use crate::deploy::{Host, host};
use crate::setup::home;

/// The hosts web1, web2, … in the group web, each with a home of its own, and additional entries of
/// the hosts file.
struct Fleet<'a> {
    home: &'a Home,
    sshd: Host<'a>,
}

macro_rules! fleet {
    ($home:expr, $count:expr, $more:expr) => {
        Fleet::new($home, host!($home), $count, &$more)
    };
}

impl<'a> Fleet<'a> {
    fn new(home: &'a Home, sshd: Host<'a>, count: usize, more: &Value) -> Self {
        let dir = home.root().join("ssh");
        let d = dir.display();
        let mut hosts = Map::new();
        let names: Vec<String> = (1..=count).map(|n| format!("web{n}")).collect();
        for name in &names {
            hosts.insert(name.clone(), json!({ "home": home.root().join(name) }));
            fs::create_dir_all(home.root().join(name)).unwrap();
        }
        for (name, host) in more.as_object().into_iter().flatten() {
            hosts.insert(name.clone(), host.clone());
        }
        for host in hosts.values_mut().filter_map(Value::as_object_mut) {
            host.entry("host").or_insert_with(|| "127.0.0.1".into());
        }
        let options = ["StrictHostKeyChecking=no", &format!("UserKnownHostsFile={d}/known"), "LogLevel=ERROR", "ConnectTimeout=2"];
        let file = json!({
            "defaults": {"port": sshd.port, "key": format!("{d}/id"), "ssh_options": options},
            "hosts": hosts, "groups": {"web": names},
        });
        fs::create_dir_all(home.dir()).unwrap();
        // bash reads this file over ssh: a login shell's output must not count as a response.
        fs::write(home.root().join("far/.bashrc"), "printf 'Welcome, without a line end'").unwrap();
        fs::write(home.dir().join("hosts.json"), serde_json::to_vec_pretty(&file).unwrap()).unwrap();
        Self { home, sshd }
    }

    fn dir(&self, host: &str) -> PathBuf {
        self.home.root().join(host)
    }

    /// Returns a process's pid from `jlist`, by host and name.
    fn pid(&self, host: &str, name: &str) -> i64 {
        let all = self.home.run("jlist -H web").ok().json();
        let is_it = |item: &&Value| item["host"] == host && item["name"] == name;
        all.as_array().unwrap().iter().find(is_it).unwrap_or_else(|| panic!("{name} of {host}: {all}"))["pid"].as_i64().unwrap()
    }

    /// Starts a command in the background, with its output in files.
    fn start_in_background(&self, words: &str) -> Child {
        let file = |name: &str| fs::File::create(self.home.root().join(name)).unwrap();
        self.home.cmd(words).command().stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).spawn().unwrap()
    }

    fn output_of(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.home.root().join(name)).unwrap_or_default()).into_owned()
    }
}

#[test]
fn hosts_share_one_table() {
    let home = home();
    let fleet = fleet!(&home, 3, json!({}));
    let output = fleet.home.run(format!("-H web start {} --name api -- hold", fixture())).ok();
    for host in ["web1", "web2", "web3"] {
        output.stdout.lines().find(|line| line.contains(host) && line.contains(" api ") && line.contains("online")).unwrap();
        assert!(fleet.dir(host).join("ostler.sock").exists(), "each has a daemon of its own");
    }
    assert!(!home.dir().join("ostler.sock").exists(), "and here there is none");
    assert_eq!(fleet.home.run("-H web list").ok().stdout.matches(" api ").count(), 3);
    // Returns the hosts of a call, each once, in the order of the command line.
    let hosts = |words: &str| -> Vec<String> {
        let all = fleet.home.run(words).ok().json();
        all.as_array().unwrap().iter().map(|row| row["host"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(hosts("list --json --hosts web2,web"), ["web2", "web1", "web3"]);
    assert_eq!(hosts("jlist -H web1 -H web3 --parallel 1"), ["web1", "web3"]);
    // Each line of text starts with its host.
    fleet.home.run("-H web pid api").ok().says("web1 | ").says("web3 | ");
    // A change on one host, with a name full of shell characters that must arrive unchanged.
    home.cmd(["start", &fixture(), "-H", "web2", "--name", "it's $HOME; `x` \"y\"", "--", "hold"].as_slice()).run().ok();
    fleet.home.run("-H web list").ok().says("it's $HOME; `x` \"y\"");
    let before = fleet.pid("web1", "api");
    fleet.home.run("-H web2,web3 restart api").ok();
    assert_eq!(fleet.pid("web1", "api"), before);
    // An error on one host is reported for that host; the other hosts complete.
    fleet.home.run("-H web stop \"nosuch\"").code(4).says("web1 |").says("web3 |");
    let output = fleet.home.run("-H web2,web3 stop 1").code(4).says("web3 | error:").says("stopped");
    output.never_says("web2 | error:");
    let all = fleet.home.run("describe nosuch --json -H web1,web2").code(4).json();
    assert!(all[1]["host"] == "web2" && all[1]["exit_code"] == 4 && all[1]["error"].is_string(), "{all}");
    // Commands that make no sense on several hosts, and invalid host names.
    fleet.home.run("-H web monit").code(2).says("name one host");
    fleet.home.run("-H web deploy production").code(2);
    fleet.home.run("-H nosuch,-oProxyCommand=x list").code(2).says("cannot be passed to ssh");
    fs::write(home.dir().join("hosts.yaml"), "hosts: []").unwrap();
    fleet.home.run("-H web list").code(1).says("two hosts files");
    fs::remove_file(home.dir().join("hosts.json")).unwrap();
    fs::write(home.dir().join("hosts.yaml"), "hosts:\n  a: {host: x, prt: 3, port: 70000}").unwrap();
    fleet.home.run("-H a list").code(1).says("hosts.a: port").says("hosts.yaml");
}

#[test]
fn every_failed_host_has_one_line() {
    let home = home();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = home.write("other/ostler", "#!/bin/sh\n[ \"$1\" = --version ] && { echo 0.0.1; exit; }\necho 'what is --json?'\n");
    let fleet = fleet!(
        &home,
        1,
        json!({
            "down": {"port": free_port()},
            "silent": {"port": silent.local_addr().unwrap().port()},
            "bare": {"ostler": "/nowhere/ostler"},
            "other": {"ostler": other},
            "unknown": {"user": "nobody-of-this-name"},
        })
    );
    fleet.home.run(format!("-H web start {} --name api -- hold", fixture())).ok();
    let output = fleet.home.run("-H all list --parallel 6").code(3);
    assert!(output.stdout.contains("web1") && output.stdout.contains(" api "), "{output:?}");
    for (host, words) in [
        ("down", "no connection (ssh: connect to host 127.0.0.1"),
        ("silent", "no connection ("),
        ("bare", "ostler was not found there"),
        ("other", "cannot read the answer of ostler 0.0.1"),
        ("unknown", "no connection ("),
    ] {
        let lines: Vec<&str> = output.stderr.lines().filter(|line| line.contains(&format!("error: {host}: "))).collect();
        assert!(lines.len() == 1 && lines[0].contains(words), "{host}: {}", output.stderr);
    }
    let output = output.says("other: ostler 0.0.1 there");
    assert_eq!(output.stderr.lines().count(), 6, "{}", output.stderr);
    let all = fleet.home.run("-H down,web1,bare list --json").code(3).json();
    let codes: Vec<_> = all.as_array().unwrap().iter().map(|row| (row["host"].as_str().unwrap(), row["exit_code"].as_u64())).collect();
    assert_eq!(codes, [("down", Some(3)), ("web1", None), ("bare", Some(3))]);
    // PM2's list contains only processes.
    let list = fleet.home.run("-H down,web1 jlist").code(3).json();
    assert!(list.as_array().unwrap().len() == 1 && list[0]["pm2_env"]["status"] == "online");
}

/// Starts a program in the folder of each host. It fails if a file `bad` exists there.
fn start_everywhere(fleet: &Fleet<'_>, script: &str, options: &str) {
    let program = fleet.home.write("app.sh", format!("#!/bin/sh\n[ ! -e bad ] || exit 3\n{script}\n"));
    for host in ["web1", "web2", "web3"].into_iter().filter(|host| fleet.dir(host).exists()) {
        fleet.home.run(format!("-H {host} start {program} --name api --cwd {} {options}", fleet.dir(host).display())).ok();
    }
}

#[test]
fn rolling_change_stops_at_first_unhealthy_host() {
    let home = home();
    let fleet = fleet!(&home, 3, json!({"down": {"port": free_port()}}));
    start_everywhere(&fleet, "exec sleep 1000", "--max-restarts 1 --min-uptime 60s --restart-delay 1");
    let pids = || ["web1", "web2", "web3"].map(|host| fleet.pid(host, "api"));
    let before = pids();
    fs::write(fleet.dir("web2").join("bad"), "").unwrap();
    for command in ["restart", "reload"] {
        let output = fleet.home.run(format!("-H web {command} api --batch 1"));
        output.fails().says("Done: web1; failed: web2; not started: web3");
    }
    let after = pids();
    assert!(after[0] != before[0] && after[2] == before[2], "{before:?} {after:?}");
    // An unreachable host counts as failed.
    fleet.home.run("-H web1,down,web3 restart api --batch 1").code(3).says("Done: web1; failed: down; not started: web3");
    assert_eq!(pids()[2], before[2]);
    fs::remove_file(fleet.dir("web2").join("bad")).unwrap();
    let output = fleet.home.run("-H web restart api --batch 2 --json").ok().says("now web1, web2 (2 of 3)").says("now web3 (3 of 3)");
    assert_eq!(serde_json::from_str::<Value>(&output.stdout).unwrap().as_array().unwrap().len(), 3);
    assert_ne!(pids()[2], before[2]);
    fleet.home.run("-H web list --batch 1").code(2).says("changes nothing");
}

#[test]
fn a_change_is_not_sent_twice() {
    let home = home();
    let mut fleet = fleet!(&home, 1, json!({}));
    start_everywhere(&fleet, "trap '' INT TERM\nwhile :; do sleep 0.1; done", "--kill-timeout 3000");
    let child = fleet.start_in_background("-H web1 stop api");
    home.wait_until("it is being stopped", || fleet.home.run("-H web1 list").stdout.contains("stopping"));
    fleet.sshd.cut_connections();
    let mut child = child;
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let said = fleet.output_of("err");
    assert!(said.contains("web1: the connection broke after the command had started") && said.contains("not sent again"), "{said}");
    fleet.sshd.restart_sshd();
    home.wait_until("the command continues on the host", || fleet.home.run("-H web1 list").stdout.contains("stopped"));
}

/// Returns the numbers of a host's complete lines.
fn numbers(said: &str, host: &str) -> Vec<u64> {
    let line = |line: &str| line.strip_suffix('\n')?.strip_prefix(host)?.strip_prefix(" | n")?.trim().parse().ok();
    said.split_inclusive('\n').filter_map(line).collect()
}

#[test]
fn followed_logs_resume_after_a_lost_connection() {
    let home = home();
    let mut fleet = fleet!(&home, 2, json!({"down": {"port": free_port()}}));
    start_everywhere(&fleet, "n=0; while :; do echo n$n; n=$((n+1)); sleep 0.01; done", "");
    let mut child = fleet.start_in_background("-H web,down logs --raw --lines 0");
    let have = |fleet: &Fleet<'_>, count: usize| ["web1", "web2"].iter().all(|host| numbers(&fleet.output_of("out"), host).len() > count);
    home.wait_until("lines of both have come", || have(&fleet, 50));
    assert!(fleet.output_of("err").contains("down: no connection"), "it is told while the others are followed: {}", fleet.output_of("err"));
    for _ in 0..2 {
        let so_far = numbers(&fleet.output_of("out"), "web1").len().max(numbers(&fleet.output_of("out"), "web2").len());
        fleet.sshd.cut_connections();
        fleet.sshd.restart_sshd();
        home.wait_until("they continue", || have(&fleet, so_far + 100));
    }
    assert!(fleet.output_of("err").contains("web1: connected again"), "{}", fleet.output_of("err"));
    child.kill().unwrap();
    child.wait().unwrap();
    let said = fleet.output_of("out");
    for host in ["web1", "web2"] {
        let numbers = numbers(&said, host);
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{host}: {numbers:?}");
    }
    // The hosts' lines are interleaved, and show their apps in the usual form.
    assert!(
        said.lines().filter_map(|line| line.split(' ').next()).collect::<Vec<_>>().windows(2).filter(|pair| pair[0] != pair[1]).count()
            > 20
    );
    let lines = fleet.home.run("-H web logs api --nostream --lines 3").ok();
    for host in ["web1 | ", "web2 | "] {
        // The lines carry no dates, so these are the times at which the host received them.
        let is_line =
            |line: &str| line.strip_prefix(host).is_some_and(|line| line.as_bytes()[0].is_ascii_digit() && line.contains(" api   n"));
        assert_eq!(lines.stdout.lines().filter(|line| is_line(line)).count(), 3, "{lines:?}");
    }
    // A reader that exits early also stops the command on the hosts.
    let shell = home.cmd("-H web logs --json").after("exec > >(head -n 2)").run();
    assert!(shell.stdout.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["host"].is_string()), "{shell:?}");
}

#[test]
fn followed_events_resume_after_a_lost_connection() {
    let home = home();
    let mut fleet = fleet!(&home, 2, json!({}));
    start_everywhere(&fleet, "exec sleep 1000", "");
    let mut child = fleet.start_in_background("-H web events --follow --json");
    let events = |fleet: &Fleet<'_>| -> Vec<(String, u64, u64)> {
        let said = fleet.output_of("out");
        let each = |line: &str| {
            let event: Value = serde_json::from_str(line).ok()?;
            Some((event["host"].as_str()?.to_owned(), event["epoch"].as_u64().unwrap_or(0), event["seq"].as_u64()?))
        };
        said.lines().filter_map(each).collect()
    };
    let last = |fleet: &Fleet<'_>| events(fleet).len();
    home.wait_until("what was before is there", || last(&fleet) > 3);
    fleet.sshd.cut_connections();
    fleet.sshd.restart_sshd();
    let before = last(&fleet);
    fleet.home.run("-H web restart api").ok();
    home.wait_until("it goes on", || {
        let new = &events(&fleet)[before..];
        ["web1", "web2"].iter().all(|host| new.iter().filter(|(of, ..)| of == host).count() >= 3)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    for host in ["web1", "web2"] {
        let seqs: Vec<u64> = events(&fleet).into_iter().filter(|(of, ..)| of == host).map(|(_, _, seq)| seq).collect();
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{host}: {seqs:?}");
    }
    fleet.home.run("-H web events api").ok().says("web1 | ").says("web2 | ").says("● api  is online (pid ");
}

#[test]
fn a_rolling_reload_of_three_hosts_loses_no_request() {
    let home = home();
    let fleet = fleet!(&home, 3, json!({}));
    let first = free_ports(3);
    let hosts = ["web1", "web2", "web3"];
    let ports = [first, first + 1, first + 2];
    for (host, port) in hosts.into_iter().zip(ports) {
        let app = fixture_app("cluster-naive.js");
        home.write(&format!("{host}.json"), json!({"apps": [{"name": "api", "script": app, "instances": 2, "exec_mode": "cluster", "env": {"PORT": port}, "args": port.to_string()}]}).to_string());
        fleet.home.run(format!("-H {host} start {}", home.work().join(format!("{host}.json")).display())).ok();
        home.wait_until("it answers", || ostler_testkit::get(port, "/").is_ok());
    }
    let loads: Vec<Load> = ports.into_iter().map(|port| Load::mixed(port, 4)).collect();
    home.wait_until("the load runs", || loads.iter().all(|load| load.good() > 50));
    let before = hosts.map(|host| fleet.pid(host, "api"));
    fleet.home.run("-H web reload api --batch 1").ok().says("now web3 (3 of 3)");
    let after = hosts.map(|host| fleet.pid(host, "api"));
    assert!(before.iter().zip(after).all(|(before, after)| *before != after));
    for load in loads {
        load.stop().assert_whole();
    }
}
