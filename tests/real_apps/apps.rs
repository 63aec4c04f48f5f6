//! A home with a real app, and the checks for each app.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_testkit::{
    Body, Home, Load, LoadReport, LoadSpec, ScriptLoad, Subject, Words, cache_dir, fixture_path, free_port, get, on_ci, program,
};
use serde_json::{Value, json};

/// Requests between two events: enough to meet every state of a worker.
const REQUESTS: u64 = 200;

/// Returns the folder with `node_modules`; `None` if this machine cannot install it.
pub fn packages() -> Option<PathBuf> {
    let dir = cache_dir().expect("HOME or a cache folder is set").join("real-apps");
    let can = ["node", "npm", "flock"].into_iter().all(|name| program(name).is_some());
    let status = can.then(|| Command::new(fixture_path("real/install.sh")).arg(&dir).status());
    let installed = status.is_some_and(|status| status.is_ok_and(|status| status.success()));
    assert!(installed || !on_ci(), "the packages of the real apps cannot be installed, and on CI they have to");
    installed.then_some(dir)
}

/// Skips the test if the packages are missing and cannot be installed.
#[macro_export]
macro_rules! needs_packages {
    () => {
        match $crate::apps::packages() {
            Some(dir) => dir,
            None => ostler_testkit::skip!("node, npm, flock or the network is missing"),
        }
    };
}

/// An app in a home of its own.
pub struct RealApp {
    home: Home,
    port: u16,
    path: &'static str,
}

impl RealApp {
    /// Starts two instances of an app made of these members of an ecosystem file (`{work}` is the
    /// folder with the app's files, `{port}` its port). Not every app speaks HTTP/1.1: see
    /// [`RealApp::at`].
    #[track_caller]
    pub fn start(packages: &Path, members: Value) -> Self {
        let subject = match std::env::var("OSTLER_E2E_SUBJECT").as_deref() {
            Ok("pm2") => Subject::pm2().unwrap(),
            _ => Subject::Ostler(env!("CARGO_BIN_EXE_ostler").into()),
        };
        let home = Home::new(subject);
        for entry in fs::read_dir(fixture_path("real")).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), home.work().join(entry.file_name())).unwrap();
        }
        std::os::unix::fs::symlink(packages.join("node_modules"), home.work().join("node_modules")).unwrap();
        let port = free_port();
        let mut app = json!({ "name": "app", "instances": 2, "cwd": "{work}", "env": { "PORT": "{port}", "HOSTNAME": "127.0.0.1" } });
        for (key, value) in members.as_object().expect("members of an app") {
            app[key] = value.clone();
        }
        let text =
            json!({ "apps": [app] }).to_string().replace("{work}", &home.work().to_string_lossy()).replace("{port}", &port.to_string());
        let file = home.write("app.json", text);
        home.ok(format!("start {file}"));
        Self { home, port, path: "/" }
    }

    /// Waits until the app answers at this path, which the load will request.
    #[track_caller]
    pub fn at(mut self, path: &'static str) -> Self {
        self.path = path;
        self.home.wait_until("it answers", || get(self.port, path).is_ok());
        self
    }

    /// Returns the path of a file of the app, or of its clients.
    pub fn file(&self, name: &str) -> String {
        self.home.work().join(name).to_string_lossy().into_owned()
    }

    /// Returns the app's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the pids of the instances, as they appear in the responses.
    #[track_caller]
    pub fn pids(&self) -> BTreeSet<String> {
        let pids: BTreeSet<String> = self.home.pid_texts().into_iter().collect();
        assert_eq!(pids.len(), 2, "{}", self.home.report());
        pids
    }

    /// Returns a load of four clients that expect a pid as the response.
    pub fn load(&self, keep_alive: bool) -> LoadSpec {
        LoadSpec { connections: 4, keep_alive, path: self.path.to_owned(), body: Body::Number, ..LoadSpec::to(self.port) }
    }

    /// Reloads twice under this load. No request fails, and new instances answer.
    #[track_caller]
    pub fn reloads_under(&self, specs: impl IntoIterator<Item = LoadSpec>) -> LoadReport {
        let load = Load::start_all(specs);
        self.reload_twice(|| load.good() + load.failed());
        let report = load.stop();
        self.nothing_failed(&report);
        report
    }

    /// Reloads twice under clients of another kind.
    #[track_caller]
    pub fn reloads_under_clients(&self, words: impl Words) -> LoadReport {
        self.home.wait_until("it listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        let load = ScriptLoad::start(words);
        self.reload_twice(|| load.requests());
        let report = load.stop();
        self.nothing_failed(&report);
        report
    }

    #[track_caller]
    fn nothing_failed(&self, report: &LoadReport) {
        assert!(
            report.failed == 0,
            "{} of {} requests failed: {:#?}\n{}",
            report.failed,
            report.requests,
            report.errors,
            self.home.report()
        );
    }

    /// Reloads twice. Waits for requests before, between and after the reloads.
    #[track_caller]
    fn reload_twice(&self, made: impl Fn() -> u64) {
        let pause = || {
            let wanted = made() + REQUESTS;
            self.home.wait_until("requests are made", || made() >= wanted);
        };
        let mut before = self.pids();
        for _ in 0..2 {
            pause();
            self.home.ok("reload app");
            let after = self.pids();
            assert!(after.is_disjoint(&before), "a process was not replaced: {before:?}, {after:?}\n{}", self.home.report());
            before = after;
        }
        pause();
    }

    /// Checks that every instance has answered, and more than the first instances.
    #[track_caller]
    pub fn all_answered(&self, report: &LoadReport) {
        let seen: BTreeSet<String> = report.by_body.keys().cloned().collect();
        assert!(self.pids().is_subset(&seen) && seen.len() >= 4, "of {:?} only {seen:?} answered", self.pids());
    }
}
