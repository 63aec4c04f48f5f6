//! Log lines on PM2's bus: each line once, in order, and only while a client is connected.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ostler_proto::pm2::amp::Decoder;
use ostler_testkit::{DEADLINE, Home, kill, needs_root};
use rustix::process::Signal;
use serde_json::Value;

use crate::setup::{SeededRandom, assert_counts_to, ecosystem, home, last_numbers, start_fixture};

/// A subscriber of `pub.sock`.
struct Bus {
    stream: UnixStream,
    decoder: Decoder,
    /// Lines by topic and app.
    lines: BTreeMap<(String, String), Vec<String>>,
    /// Payload of the last line.
    last: Value,
    /// Number of connections so far.
    connections: u32,
}

/// Pause between two connection attempts of npm's client.
const RETRY: Duration = Duration::from_millis(100);

impl Bus {
    #[track_caller]
    fn connect(home: &Home) -> Self {
        let stream = Self::stream(home).unwrap();
        Self { stream, decoder: Decoder::with_limit(64 << 20), lines: BTreeMap::new(), last: Value::Null, connections: 1 }
    }

    fn stream(home: &Home) -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(home.dir().join("pub.sock"))?;
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(stream)
    }

    /// Reads the available data. If the other end has closed, reconnects as npm's client does, and
    /// discards an incomplete frame.
    fn take_or_return(&mut self, home: &Home) {
        if self.take() {
            return;
        }
        home.wait_until("somebody listens again", || {
            std::thread::sleep(RETRY);
            Self::stream(home).map(|stream| self.stream = stream).is_ok()
        });
        self.decoder = Decoder::with_limit(64 << 20);
        self.connections += 1;
    }

    /// Reads until the condition holds for the app's lines, over as many connections as needed. A
    /// slow machine is fine as long as more lines arrive.
    #[track_caller]
    fn read_until(&mut self, home: &Home, app: &str, holds: impl Fn(&[String]) -> bool) {
        let (mut heard, mut since) = (0, Instant::now());
        while !holds(self.of("log:out", app)) {
            self.take_or_return(home);
            let count = self.of("log:out", app).len();
            if count > heard {
                (heard, since) = (count, Instant::now());
            }
            assert!(since.elapsed() < DEADLINE, "{heard} lines, then no more\n{}", home.report());
        }
    }

    /// Reads the available data. Returns false if the other end has closed.
    fn take(&mut self) -> bool {
        let mut buffer = vec![0; 1 << 16];
        match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => self.decoder.push(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return false,
        }
        while let Some([topic, payload]) = self.decoder.take().unwrap().map(|args| <[Vec<u8>; 2]>::try_from(args).unwrap()) {
            let topic = String::from_utf8(topic).unwrap().trim_start_matches("s:").to_owned();
            if topic != "log:out" && topic != "log:err" {
                continue;
            }
            let payload: Value = serde_json::from_slice(payload.strip_prefix(b"j:").unwrap()).unwrap();
            let name = payload["process"]["name"].as_str().unwrap().to_owned();
            let data = payload["data"].as_str().unwrap();
            assert!(data.ends_with('\n') && data.matches('\n').count() == 1, "whole lines: {data:?}");
            self.lines.entry((topic, name)).or_default().push(data.trim_end().to_owned());
            self.last = payload;
        }
        true
    }

    fn of(&self, topic: &str, app: &str) -> &[String] {
        self.lines.get(&(topic.to_owned(), app.to_owned())).map_or(&[], Vec::as_slice)
    }

    #[track_caller]
    fn wait_for(&mut self, home: &Home, topic: &str, app: &str, line: &str) {
        let mut searched = 0;
        self.take_until(home, &format!("{topic} of {app} has {line:?}"), |bus| {
            let known = bus.of(topic, app);
            let is_new = known[searched..].iter().any(|known| known.contains(line));
            searched = known.len();
            is_new
        });
    }

    /// Reads lines until the condition holds. It does not pause: [`Bus::take`] itself waits for the
    /// next bytes. A slow machine is fine as long as more lines arrive.
    #[track_caller]
    fn take_until(&mut self, home: &Home, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let (mut heard, mut since) = (0, Instant::now());
        loop {
            assert!(self.take(), "the daemon has closed the connection");
            if condition(self) {
                return;
            }
            if self.count() > heard {
                (heard, since) = (self.count(), Instant::now());
            }
            assert!(since.elapsed() < DEADLINE, "{heard} lines, then no more, but not yet: {what}\n{}", home.report());
        }
    }

    /// Returns the number of lines of all apps.
    fn count(&self) -> usize {
        self.lines.values().map(Vec::len).sum()
    }
}

/// Returns true if the last line is the last line of the fixture's `count`.
fn has_last_line(lines: &[String]) -> bool {
    lines.last().is_some_and(|line| line.ends_with("end"))
}

fn readers(home: &Home) -> usize {
    home.processes().iter().filter(|process| process.cmdline.starts_with("ostler: log reader")).count()
}

#[test]
fn lines_arrive_once_across_rotation_restart_and_new_apps() {
    let home = home();
    let script = home.write(
        "say.sh",
        "echo before; while read -r line; do echo \"$line\"; echo \"e $line\" >&2; done < pipe; echo end; exec sleep 1000",
    );
    let pipe = home.work().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    home.ok(format!("start {script} --name say"));
    let mut say = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    home.wait_log("say-out.log", "before");
    assert_eq!(readers(&home), 0, "nobody subscribes");
    let mut bus = Bus::connect(&home);
    let mut second = Bus::connect(&home);
    let mut said = 0;
    let mut speak = |count: u32, said: &mut u32| {
        for _ in 0..count {
            std::io::Write::write_all(&mut say, format!("line {said}\n", said = *said).as_bytes()).unwrap();
            *said += 1;
        }
    };
    home.wait_until("logs are read", || readers(&home) > 0);
    speak(100, &mut said);
    bus.wait_for(&home, "log:err", "say", "line 99");
    assert_eq!(readers(&home), 1, "one for all");
    let process = bus.last["process"].clone();
    assert_eq!((process["pm_id"].as_u64(), process["namespace"].as_str(), process["rev"].is_null()), (Some(0), Some("default"), true));
    std::fs::rename(home.dir().join("logs/say-out.log"), home.dir().join("logs/say-out.log.1")).unwrap();
    speak(100, &mut said);
    home.ok("reloadLogs");
    speak(100, &mut said);
    // `flush` would discard lines that are not read yet, so all must arrive first.
    bus.wait_for(&home, "log:err", "say", "line 299");
    second.wait_for(&home, "log:err", "say", "line 299");
    home.ok("flush say");
    speak(100, &mut said);
    start_fixture(&home, "late", "", "count 50 1");
    bus.wait_for(&home, "log:out", "late", "end");
    bus.wait_for(&home, "log:err", "say", "line 399");
    second.wait_for(&home, "log:err", "say", "line 399");
    for bus in [&bus, &second] {
        let heard = last_numbers(&bus.of("log:err", "say").join("\n"));
        assert_eq!(heard, (0..400).collect::<Vec<_>>());
        assert!(!bus.of("log:out", "say").contains(&"before".to_owned()), "lines of the past");
    }
    assert_eq!(bus.of("log:out", "late").len(), std::fs::read_to_string(home.dir().join("logs/late-out.log")).unwrap().lines().count());
    drop((bus, second));
    home.wait_until("the reader has ended", || readers(&home) == 0);
    let mut again = Bus::connect(&home);
    home.wait_until("logs are read", || readers(&home) > 0);
    home.ok("restart late");
    again.wait_for(&home, "log:out", "late", "end");
    kill(home.daemon_pid(), Signal::KILL);
    home.wait_until("the connection has ended", || !again.take());
    home.wait_until("and so has the reader", || readers(&home) == 0);
    let mut again = Bus::connect(&home);
    home.wait_until("logs are read", || readers(&home) > 0);
    home.ok("restart late");
    again.wait_for(&home, "log:out", "late", "end");
    home.ok("kill");
    home.wait_no_processes();
}

#[test]
fn subscriber_that_does_not_read_blocks_no_other() {
    let home = home();
    start_fixture(&home, "flood", "--no-autostart", "count 60000 60000");
    let mut reads = Bus::connect(&home);
    home.wait_until("logs are read", || readers(&home) > 0);
    let _deaf = Bus::connect(&home);
    home.ok("restart flood");
    reads.wait_for(&home, "log:out", "flood", "end");
    let file = std::fs::read_to_string(home.dir().join("logs/flood-out.log")).unwrap();
    assert_eq!(reads.of("log:out", "flood"), file.lines().collect::<Vec<_>>());
    home.wait_file(&home.dir().join("pm2.log").display().to_string(), "does not read the events of pub.sock");
    let memory = ostler_sys::process::sample::memory(home.daemon_pid()).unwrap();
    assert!(memory < 40 << 20, "{memory} bytes");
}

/// Checks that each number from 1 to this arrived once, in order.
#[track_caller]
fn each_once(bus: &Bus, app: &str, upto: u32) {
    let heard = last_numbers(&bus.of("log:out", app).join("\n"));
    assert_counts_to(&heard, upto);
}

/// Kills repeatedly while an app counts up to this number and a subscriber reads.
#[track_caller]
fn kill_while_it_counts(rounds: usize, (upto, per_ms): (u32, u32), options: &str, mut kill: impl FnMut(&Home)) {
    let home = home();
    start_fixture(&home, "c", &format!("--no-autostart {options}"), &format!("count {upto} {per_ms}"));
    let mut bus = Bus::connect(&home);
    home.wait_until("logs are read", || readers(&home) > 0);
    home.ok("restart c");
    let mut dice = SeededRandom(u64::from(std::process::id()) | 1);
    for round in 1..=rounds {
        // At a random position among the received lines.
        let heard = upto as usize * round / (rounds + 2) + dice.below(1000) as usize;
        while bus.of("log:out", "c").len() < heard && !has_last_line(bus.of("log:out", "c")) {
            bus.take_or_return(&home);
        }
        kill(&home);
    }
    bus.read_until(&home, "c", has_last_line);
    each_once(&bus, "c", upto);
    assert!(bus.connections > 1, "nothing was killed");
    drop(bus);
    home.wait_until("the reader has ended", || readers(&home) == 0);
}

#[test]
fn lines_arrive_once_after_daemon_death() {
    kill_while_it_counts(6, (60_000, 20), "", |home| kill(home.daemon_pid(), Signal::KILL));
}

#[test]
fn lines_arrive_once_after_daemon_and_keeper_death() {
    kill_while_it_counts(4, (60_000, 20), "", Home::kill_both);
}

#[test]
fn lines_arrive_once_at_full_speed_after_daemon_death() {
    kill_while_it_counts(6, (120_000, 300), "", |home| kill(home.daemon_pid(), Signal::KILL));
}

#[test]
fn lines_arrive_once_after_an_update() {
    kill_while_it_counts(3, (60_000, 20), "", |home| drop(home.ok("update")));
}

#[test]
fn lines_arrive_once_across_rotation_and_daemon_death() {
    for rounds in [0, 5] {
        eprintln!("killed {rounds} times");
        let home = home();
        home.ok("set log_rotate:check_interval 1");
        let fixture = ostler_testkit::fixture();
        let rotate = r#""log_rotate": {"max_size": "200K", "retain": "all"}"#;
        let upto = 120_000;
        let file =
            ecosystem(&home, &format!(r#""name": "c", "script": "{fixture}", "args": "count {upto} 30", "autostart": false, {rotate}"#));
        home.ok(format!("start {file}"));
        let mut bus = Bus::connect(&home);
        home.wait_until("logs are read", || readers(&home) > 0);
        home.ok("restart c");
        let mut dice = SeededRandom(u64::from(std::process::id()) | 1);
        for round in 1..=rounds {
            let heard = upto as usize * round / (rounds + 2) + dice.below(3000) as usize;
            while bus.of("log:out", "c").len() < heard && !has_last_line(bus.of("log:out", "c")) {
                bus.take_or_return(&home);
            }
            kill(home.daemon_pid(), Signal::KILL);
        }
        bus.read_until(&home, "c", |lines| lines.len() > upto as usize);
        if rounds > 0 {
            // A kill during a rotation may delay the rename until newer lines were read. The file's
            // lines then arrive later, each once.
            bus.lines.values_mut().for_each(|lines| lines.sort());
        }
        each_once(&bus, "c", upto);
        let rotated = std::fs::read_dir(home.dir().join("logs")).unwrap().flatten();
        assert!(rotated.filter(|entry| entry.file_name().to_string_lossy().starts_with("c-out__")).count() > 0, "it was not rotated");
    }
}

#[test]
fn lines_arrive_once_across_reloads() {
    let home = home();
    start_fixture(&home, "fork", "--no-autostart", "count 4000000 40");
    let script = home.write(
        "say.js",
        "let n = 0; setInterval(() => { for (let i = 0; i < 20; i++) console.log(`${process.pid} ${n++}`) }, 2); require('http').createServer(() => {}).listen(0);",
    );
    home.ok(format!("start {script} --name cluster -i 2 --merge-logs --no-autostart"));
    let mut bus = Bus::connect(&home);
    home.wait_until("logs are read", || readers(&home) > 0);
    home.ok("restart all");
    for app in ["fork", "cluster", "all"] {
        let heard = bus.count() + 2000;
        bus.take_until(&home, "they write", |bus| bus.count() > heard);
        let mut reload = home.cmd(format!("reload {app}")).command().stdout(std::process::Stdio::null()).spawn().unwrap();
        bus.take_until(&home, "it is reloaded", |_| reload.try_wait().unwrap().is_some());
        assert!(reload.wait().unwrap().success());
    }
    home.ok("stop all");
    for app in ["fork", "cluster"] {
        let file = home.log(&format!("{app}-out.log"));
        // A killed app may leave an incomplete line, which arrives at its place.
        let lines: Vec<&str> = file.lines().collect();
        bus.take_until(&home, "all of it was heard", |bus| bus.of("log:out", app).len() >= lines.len());
        let wrong = bus.of("log:out", app).iter().zip(&lines).find(|(heard, line)| heard != line);
        assert!(wrong.is_none() && bus.of("log:out", app).len() == lines.len(), "{app}: {wrong:?}");
    }
}

#[test]
fn bus_lines_have_the_format_of_the_log_files() {
    let home = home();
    let fixture = ostler_testkit::fixture();
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "dated", "script": "{fixture}", "args": "count 3 1", "time": true, "autostart": false}},
               {{"name": "json", "script": "{fixture}", "args": "count 3 1", "log_type": "json", "autostart": false}},
               {{"name": "none", "script": "{fixture}", "args": "count 3 1", "disable_logs": true, "autostart": false"#
        ),
    );
    home.ok(format!("start {file}"));
    let mut bus = Bus::connect(&home);
    home.wait_until("logs are read", || readers(&home) > 0);
    home.ok("restart all");
    bus.wait_for(&home, "log:out", "dated", "end");
    bus.wait_for(&home, "log:out", "json", "end");
    assert!(bus.of("log:out", "dated")[0].starts_with("20"), "{:?}", bus.lines);
    let first: Value = serde_json::from_str(&bus.of("log:out", "json")[0]).unwrap();
    assert_eq!(first["app_name"], "json");
    assert!(bus.of("log:out", "none").is_empty());
    let reader = home.processes().into_iter().find(|process| process.cmdline.starts_with("ostler: log reader")).unwrap().pid;
    kill(reader, Signal::KILL);
    home.wait_until("another one reads", || {
        home.processes().iter().any(|process| process.cmdline.starts_with("ostler: log reader") && process.pid != reader)
    });
    home.ok("restart dated");
    let before = bus.of("log:out", "dated").len();
    home.wait_until("lines come again", || bus.take() && bus.of("log:out", "dated").len() == before + 4);
}

#[test]
fn user_link_to_root_file_is_not_followed() {
    needs_root!();
    let home = home();
    let folder = home.work().join("theirs");
    std::fs::create_dir(&folder).unwrap();
    let secret = home.write("secret.log", "root's own\n");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).unwrap();
    let out = folder.join("out.log");
    home.ok(format!("start {} --name theirs --uid 65534 -o {} -- count 3 1", ostler_testkit::fixture(), out.display()));
    let mut bus = Bus::connect(&home);
    home.wait_until("logs are read", || readers(&home) > 0);
    home.ok("restart theirs");
    bus.wait_for(&home, "log:out", "theirs", "end");
    std::fs::remove_file(&out).unwrap();
    std::os::unix::fs::symlink(&secret, &out).unwrap();
    let mut append = std::fs::OpenOptions::new().append(true).open(&secret).unwrap();
    std::io::Write::write_all(&mut append, b"more of it\n").unwrap();
    // A later line that certainly arrives.
    start_fixture(&home, "other", "", "count 3 1");
    bus.wait_for(&home, "log:out", "other", "end");
    assert!(bus.lines.values().flatten().all(|line| !line.contains("root's own") && !line.contains("more of it")), "{:?}", bus.lines);
}

/// Writes thirty lines, then stays.
const SAYS_30: &str = "i=0; while [ $i -lt 30 ]; do echo \"new $i\"; i=$((i+1)); done; exec sleep 1000\n";

/// Checks that subscribers received this app's thirty lines this many times, and no other lines.
#[track_caller]
fn received_only_new_lines(home: &Home, bus: &mut Bus, app: &str, times: usize) {
    bus.read_until(home, app, |lines| lines.iter().filter(|line| *line == "new 29").count() >= times);
    let expected: Vec<String> = (0..times).flat_map(|_| (0..30).map(|number| format!("new {number}"))).collect();
    assert!(bus.of("log:out", app) == expected, "{app}: {:?}", bus.of("log:out", app).iter().take(40).collect::<Vec<_>>());
}

/// Lines that a file had before an app began to write to it are not events, wherever the file is.
#[test]
fn old_lines_of_a_log_file_are_not_published() {
    let home = home();
    let old = (0..500).map(|number| format!("old {number}\n")).collect::<String>();
    start_fixture(&home, "first", "", "hold");
    for file in ["app-out.log", "pair-out-1.log", "renamed-out.log"] {
        std::fs::write(home.dir().join("logs").join(file), &old).unwrap();
    }
    let elsewhere = home.write("elsewhere.log", &old);
    let dated = home.write("dated.log", &old);
    let script = home.write("say.sh", SAYS_30);
    let mut bus = Bus::connect(&home);
    home.wait_until("logs are read", || readers(&home) > 0);
    home.ok(format!("start {script} --name app"));
    home.ok(format!("start {script} --name far --output {elsewhere}"));
    home.ok(format!("start {script} --name new"));
    home.ok(format!("start {script} --name far-new --output {}", home.work().join("fresh.log").display()));
    for app in ["app", "far", "new", "far-new"] {
        received_only_new_lines(&home, &mut bus, app, 1);
    }
    home.ok("restart app");
    received_only_new_lines(&home, &mut bus, "app", 2);
    home.ok("delete app far");
    home.ok(format!("start {script} --name app"));
    received_only_new_lines(&home, &mut bus, "app", 3);
    // A file of a renamed app, and a file of an instance that is added later.
    home.ok(format!("start {script} --name renamed"));
    home.ok(format!("start {script} --name pair -i 1"));
    home.ok("scale pair 2");
    received_only_new_lines(&home, &mut bus, "renamed", 1);
    bus.read_until(&home, "pair", |lines| lines.iter().filter(|line| *line == "new 29").count() >= 2);
    assert!(bus.of("log:out", "pair").iter().all(|line| line.starts_with("new ")), "{:?}", bus.of("log:out", "pair"));
    // Lines that pass through the daemon.
    home.ok(format!("start {script} --name dated --output {dated} --log-date-format YYYY"));
    bus.read_until(&home, "dated", |lines| lines.iter().any(|line| line.ends_with("new 29")));
    assert_eq!(bus.of("log:out", "dated").len(), 30);
}

#[test]
fn old_lines_are_not_published_after_resurrect() {
    let home = home();
    let script = home.write("say.sh", SAYS_30);
    home.ok(format!("start {script} --name app"));
    home.wait_log("app-out.log", "new 29");
    home.ok("save");
    for round in 0..2 {
        home.ok("kill");
        start_fixture(&home, "first", "", "hold");
        let mut bus = Bus::connect(&home);
        home.wait_until("logs are read", || readers(&home) > 0);
        home.ok("resurrect");
        received_only_new_lines(&home, &mut bus, "app", 1);
        home.ok("delete app");
        let started = home.cmd(format!("start {script} --name app")).run();
        kill(home.daemon_pid(), Signal::KILL);
        started.ok();
        received_only_new_lines(&home, &mut bus, "app", 2);
        assert!(bus.connections <= 2, "round {round}");
    }
}
