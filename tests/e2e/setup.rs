//! Setup that most tests share.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ostler_testkit::{Foreground, Home, Output, Subject, fixture, fixture_path, get, set_mode};
use serde_json::{Value, json};

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

/// Writes an ecosystem file with these apps, each a JSON object, and returns its path.
#[track_caller]
pub fn apps_file(home: &Home, apps: &[impl AsRef<str>]) -> String {
    let apps: Vec<&str> = apps.iter().map(AsRef::as_ref).collect();
    home.write("apps.json", format!("{{\"apps\": [{}]}}", apps.join(", ")))
}

/// Starts a command in the background. When this returns, a daemon runs.
#[track_caller]
pub fn start_in_background(home: &Home, words: &str) -> std::process::Child {
    let null = std::process::Stdio::null;
    let child = home.cmd(words).command().stdout(null()).stderr(null()).spawn().unwrap();
    home.wait_until("a daemon answers", || home.run("ping").all().contains("pong"));
    child
}

/// Writes a script that sleeps for a number of seconds by which the test recognises its process
/// (`home.pids_of("sleep 1001")`), and returns its path.
pub fn sleeper(home: &Home, name: &str, seconds: u32) -> String {
    home.write(&format!("{name}.sh"), format!("#!/bin/sh\nexec sleep {seconds}\n"))
}

/// Starts a [`sleeper`], and waits until its program runs.
#[track_caller]
pub fn start_sleeper(home: &Home, name: &str, seconds: u32) -> Output {
    let output = home.ok(format!("start {} --name {name}", sleeper(home, name, seconds)));
    home.wait_until("its program runs", || home.pids_of(&format!("sleep {seconds}")).len() == 1);
    output
}

/// Starts an app that prints each line that [`send_line`] sends to it. Its pipe is a file of the
/// same name in the work folder.
#[track_caller]
pub fn start_echo_app(home: &Home, name: &str, options: &str) -> i32 {
    let script = home.write(
        "echo.sh",
        "#!/bin/sh\nmkfifo \"$1\" 2>/dev/null\nexec 4<>\"$1\"\necho listening\nwhile read -r line <&4; do echo \"$line\"; done\n",
    );
    home.ok(format!("start {script} -f --name {name} {options} -- {}", home.work().join(name).display()));
    home.wait_until("the app listens", || home.work().join(name).exists());
    home.app(name).pid()
}

/// Sends a line to an app of [`start_echo_app`].
#[track_caller]
pub fn send_line(home: &Home, name: &str, line: &str) {
    std::fs::write(home.work().join(name), format!("{line}\n")).unwrap();
}

/// Copies a configuration of `tests/fixtures/config/seeds` into the work folder under this name, and
/// returns its path.
#[track_caller]
pub fn copy_seed(home: &Home, seed: &str, name: &str) -> String {
    home.write(name, std::fs::read_to_string(fixture_path(&format!("config/seeds/{seed}"))).unwrap())
}

/// Starts the app of this JSON object from the file `<name>.json`, and returns the file's path.
#[track_caller]
pub fn start_app(home: &Home, app: &Value) -> String {
    let name = app["name"].as_str().expect("the app has a name");
    let file = home.write(&format!("{name}.json"), json!({ "apps": [app] }).to_string());
    home.ok(format!("start {file}"));
    file
}

/// Waits until each of these processes has answered a request at this port. An answer starts with
/// the pid.
#[track_caller]
pub fn wait_all_answer(home: &Home, what: &str, port: u16, pids: &BTreeSet<i32>) {
    let mut seen = BTreeSet::new();
    home.wait_until(&format!("{what}: all of {pids:?} answer"), || {
        let answer = get(port, "/").unwrap_or_default();
        seen.extend(answer.split(' ').next().and_then(|pid| pid.parse::<i32>().ok()).filter(|pid| pids.contains(pid)));
        seen == *pids
    });
}

/// Returns the events that `events --json` prints.
#[track_caller]
pub fn events(home: &Home, words: &str) -> Vec<Value> {
    json_lines(&home.ok(format!("events --json {words}")).stdout)
}

/// Parses one JSON value per line.
#[track_caller]
pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Returns the numbers at the ends of lines; other lines are skipped.
pub fn last_numbers(text: &str) -> Vec<u32> {
    text.lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

/// Fails the test unless these are the numbers from 1 to `n`, in order and each once.
#[track_caller]
pub fn assert_counts_to(numbers: &[u32], n: u32) {
    let wrong = numbers.iter().zip(1..).find(|(seen, wanted)| *seen != wanted);
    assert!(wrong.is_none() && numbers.len() == n as usize, "{} numbers of {n}, first wrong (seen, wanted): {wrong:?}", numbers.len());
}

/// Works like [`assert_counts_to`], for the numbers at the ends of lines.
#[track_caller]
pub fn numbers_are_whole(text: &str, n: u32) {
    assert_counts_to(&last_numbers(text), n);
}

/// Returns a home whose folders belong to this user, with a copy of the binary that the user may
/// execute; `owner` contains the copy. The manager's home is in the user's folder.
#[track_caller]
pub fn stranger_home(owner: &Home, uid: u32, subject: fn(PathBuf) -> Subject) -> Home {
    let copy = owner.root().join("bin/ostler-copy");
    if !copy.exists() {
        std::fs::copy(binary(), &copy).unwrap();
    }
    for path in [&owner.root().join("bin"), &copy] {
        set_mode(path, 0o755);
    }
    let mut home = Home::new(subject(copy));
    for folder in ["work", "user"] {
        std::os::unix::fs::chown(home.root().join(folder), Some(uid), Some(uid)).unwrap();
    }
    let dir = home.root().join("user/.home");
    home.set_dir(dir);
    home
}

/// Returns the path of the journal, which the keeper holds.
#[track_caller]
pub fn journal_path(home: &Home) -> PathBuf {
    let fds = std::fs::read_dir(format!("/proc/{}/fd", home.keeper_pid())).unwrap().flatten();
    let is_journal = |path: &PathBuf| std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("ostler-journal"));
    fds.map(|entry| entry.path()).find(is_journal).expect("the keeper holds the journal")
}

/// Starts `runtime` with these words in the foreground, as a container does.
#[track_caller]
pub fn runtime(home: &Home, words: &str) -> Foreground {
    Foreground::open(home.cmd(format!("runtime {words}")).command())
}

/// Returns a shell text for `Cmd::after`: in the command and its children, these system calls fail
/// with this error.
pub fn refusing(errno: &str, calls: &str) -> String {
    format!("exec python3 '{}' {errno} {calls} \"$0\" \"$@\"", fixture_path("refused.py"))
}

/// xorshift64 generator: the same seed gives the same rounds.
pub struct SeededRandom(pub u64);

impl SeededRandom {
    /// Creates a generator whose seed is `$OSTLER_KILL_SEED`, or random. Prints the seed.
    pub fn for_kills() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = ostler_testkit::setting("OSTLER_KILL_SEED").unwrap_or(u64::from(now.subsec_nanos())).max(1);
        eprintln!("OSTLER_KILL_SEED={seed}");
        Self(seed)
    }

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
