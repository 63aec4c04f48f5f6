//! Setup that most tests share.

use std::path::PathBuf;

use ostler_testkit::{Home, Subject, fixture};
use serde_json::Value;

/// Creates a fresh home of ostler under its own name.
///
/// `OSTLER_E2E_SUBJECT=pm2` runs the tests on real PM2 instead. If PM2 does the same, this checks
/// the tests themselves; the failures list the features that PM2 lacks.
pub fn home() -> Home {
    match std::env::var("OSTLER_E2E_SUBJECT").as_deref() {
        Ok("pm2") => Home::new(Subject::pm2().unwrap()),
        _ => Home::new(Subject::Ostler(binary())),
    }
}

/// Creates a fresh home of ostler called as `pm2`.
pub fn home_as_pm2() -> Home {
    Home::new(Subject::OstlerAsPm2(binary()))
}

/// Returns the binary under test: the binary of this build, or `$OSTLER_TEST_BINARY` (a release
/// build, an installed package).
pub fn binary() -> PathBuf {
    std::env::var_os("OSTLER_TEST_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ostler")), PathBuf::from)
}

/// Connects to the daemon of this home, as programs other than the command line do.
#[track_caller]
pub fn client(home: &Home) -> ostler_client::Client {
    let mut client = ostler_client::Client::connect(home.dir().join("ostler.sock")).unwrap();
    client.limit(ostler_testkit::DEADLINE);
    client
}

/// Starts the fixture binary as an app: `start_fixture(&home, "name", "--no-autorestart", "exit
/// 3")`.
#[track_caller]
pub fn start_fixture(home: &Home, name: &str, options: &str, what: &str) {
    home.ok(format!("start {} --name {name} {options} -- {what}", fixture()));
}

/// Returns the fixture's `report` about a process started with these options.
#[track_caller]
pub fn report_with(home: &Home, options: &str) -> Value {
    let file = home.work().join("report.json");
    start_fixture(home, "report", options, &format!("report {}", file.display()));
    read_report(home, "report.json")
}

/// Waits for a report file and reads it.
#[track_caller]
pub fn read_report(home: &Home, name: &str) -> Value {
    home.wait_until(&format!("{name} is written"), || home.work().join(name).exists());
    serde_json::from_str(&home.read(name)).unwrap()
}

/// Writes an ecosystem file with one app made of these JSON members.
#[track_caller]
pub fn ecosystem(home: &Home, members: &str) -> String {
    home.write("app.json", format!("{{\"apps\": [{{{members}}}]}}"))
}

/// Starts a command in the background. When this returns, a daemon runs.
#[track_caller]
pub fn start_in_background(home: &Home, words: &str) -> std::process::Child {
    let null = std::process::Stdio::null;
    let child = home.cmd(words).command().stdout(null()).stderr(null()).spawn().unwrap();
    home.wait_until("a daemon answers", || home.run("ping").all().contains("pong"));
    child
}

/// xorshift64 generator: the same seed gives the same rounds.
pub struct SeededRandom(pub u64);

impl SeededRandom {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Lock on the ports that a document names. They exist once per machine, so a test holds the lock
/// while the others wait.
pub struct DocumentPorts {
    _lock: std::fs::File,
}

impl DocumentPorts {
    /// Waits for the lock, and until no process listens at these ports.
    pub fn take(ports: &[u16]) -> Self {
        let path = std::env::temp_dir().join("ostler-test-document-ports");
        let lock = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        lock.lock().unwrap();
        for port in ports {
            let until = std::time::Instant::now() + ostler_testkit::DEADLINE;
            while std::net::TcpListener::bind(("::", *port)).is_err() {
                assert!(std::time::Instant::now() < until, "port {port} is in use");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        Self { _lock: lock }
    }
}
