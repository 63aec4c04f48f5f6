//! A private home of the manager, and commands in it.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::files::text_of;
use crate::listing::ListedApp;
use crate::output::{self, Output};
use crate::pm2_socket::list_over_rpc;
use crate::procs::{self, MARKER, Proc};
use crate::resident::Resident;
use crate::subject::Subject;
use crate::words::Words;

/// Maximum wait for a condition. It is generous, because only a failing test reaches it.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Maximum duration of a command.
const COMMAND_LIMIT: Duration = Duration::from_secs(150);

/// Temporary folder `<tmp>/ot-…` with `home` (the manager's), `work` (where commands run), `user`
/// (`$HOME`) and `bin`. The path is short because unix sockets allow 108 bytes. When it is dropped,
/// every process that was started in it is killed.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
    subject: Subject,
    home: PathBuf,
    env: Vec<(OsString, OsString)>,
}

/// Returns the pause before the next check of a condition. It grows with the wait, to leave the
/// processors to the processes under test.
fn pause(waited: Duration) -> Duration {
    (waited / 16).clamp(Duration::from_millis(3), Duration::from_millis(40))
}

/// Not `temp_dir()`, which may be long.
const FOLDER: &str = "/tmp";

/// Kills leftovers of tests that were themselves killed (by a runner's time limit) and could not
/// clean up: homes whose test process is gone.
fn sweep() {
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("ot-").and_then(|rest| u32::from_str_radix(rest.split('-').next()?, 16).ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            drop(procs::kill_all(&entry.path()));
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

impl Home {
    /// Creates a new home. The manager's folder does not exist yet.
    pub fn new(subject: Subject) -> Self {
        Self::in_folder(subject, Path::new(FOLDER))
    }

    /// Creates a new home below another folder than `/tmp`, which some apps see differently.
    pub fn in_folder(subject: Subject, folder: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = folder.join(format!("ot-{:x}-{number:x}", std::process::id()));
        drop(fs::remove_dir_all(&root));
        for dir in ["work", "user", "bin"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        // Other users have to reach the folder. The manager must keep them out of everything in it.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let home = root.join("home");
        if subject.is_real_pm2() {
            // Otherwise the first call prints a banner and contacts a server.
            fs::create_dir_all(&home).unwrap();
            fs::write(home.join("touch"), "1").unwrap();
        }
        Self { root, subject, home, env: Vec::new() }
    }

    /// Returns the binary under test.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns the temporary folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the manager's home.
    pub fn dir(&self) -> &Path {
        &self.home
    }

    /// Moves the manager's home to another path.
    pub fn set_dir(&mut self, dir: impl Into<PathBuf>) {
        self.home = dir.into();
    }

    /// Sets a variable for all commands from now on.
    pub fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.env.push((name.into(), value.into()));
    }

    /// Returns the folder in which commands run.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Writes a file below the work folder and returns its absolute path. A text that starts with
    /// `#!` becomes executable.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.work().join(name);
        fs::create_dir_all(path.parent().expect("the path has the work folder in front")).unwrap();
        let mut file = File::create(&path).unwrap();
        file.write_all(contents.as_ref()).unwrap();
        let mode = if contents.as_ref().starts_with(b"#!") { 0o755 } else { 0o644 };
        // Use the descriptor: an app that waits for the file may already have removed it.
        file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// Returns a file below the work folder as text; empty if it is missing.
    pub fn read(&self, name: impl AsRef<Path>) -> String {
        text_of(self.work().join(name))
    }

    /// Returns a log file below the manager's home as text; empty if it is missing.
    pub fn log(&self, name: &str) -> String {
        text_of(self.log_path(name))
    }

    /// Creates a command of the manager, which the caller can change and run.
    pub fn cmd(&self, words: impl Words) -> Cmd<'_> {
        Cmd { home: self, words: words.words(), env: Vec::new(), cwd: self.work(), stdin: None, uid: None, wrapper: Vec::new() }
    }

    /// Runs a command of the manager.
    #[track_caller]
    pub fn run(&self, words: impl Words) -> Output {
        self.cmd(words).run()
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub fn ok(&self, words: impl Words) -> Output {
        self.cmd(words).run().ok()
    }

    /// Returns the list by id, as `jlist` prints it. It comes from the daemon's socket. If the
    /// daemon does not answer, the command runs, which starts a daemon if necessary.
    #[track_caller]
    pub fn jlist(&self) -> Vec<ListedApp> {
        let list = match self.subject.is_real_pm2() {
            true => list_over_rpc(&self.home).map(|list| list.into_iter().filter(|item| item.0["pm_id"].is_u64()).collect()),
            false => Resident::connect(&self.home).and_then(|mut daemon| daemon.list()),
        };
        list.unwrap_or_else(|| ListedApp::parse_list(&self.ok("jlist").stdout))
    }

    /// Returns the list from the daemon's socket, or `None` if no daemon answers within two seconds.
    pub fn try_list(&self) -> Option<Vec<ListedApp>> {
        Resident::connect(&self.home)?.list()
    }

    /// Returns true if there are apps and all of them are online.
    pub fn all_online(&self) -> bool {
        let list = self.jlist();
        !list.is_empty() && list.iter().all(|item| item.status() == "online")
    }

    /// Returns the only entry of this name.
    #[track_caller]
    pub fn app(&self, name: &str) -> ListedApp {
        let list = self.jlist();
        let mut found: Vec<&ListedApp> = list.iter().filter(|item| item.name() == name).collect();
        assert!(found.len() == 1, "{} entries are named {name}\n{}", found.len(), self.report());
        found.remove(0).clone()
    }

    /// Waits for a condition. If the deadline passes, the test fails and shows the manager's
    /// report.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !condition() {
            let waited = begin.elapsed();
            assert!(waited < DEADLINE, "waited {DEADLINE:?} in vain until {what}\n{}", self.report());
            thread::sleep(pause(waited));
        }
    }

    /// Waits until the only entry of this name satisfies the condition, and returns it.
    #[track_caller]
    pub fn wait_app(&self, name: &str, what: &str, condition: impl Fn(&ListedApp) -> bool) -> ListedApp {
        let begin = Instant::now();
        let mut daemon = None;
        loop {
            // Subscribe before the request: any event after the answer then ends the pause.
            daemon = daemon.or_else(|| Resident::follow(&self.home));
            let list = daemon.as_mut().and_then(Resident::list).unwrap_or_else(|| {
                daemon = None;
                self.jlist()
            });
            if let Some(item) = list.into_iter().find(|item| item.name() == name && condition(item)) {
                return item;
            }
            let waited = begin.elapsed();
            assert!(waited < DEADLINE, "waited {DEADLINE:?} in vain until {name} is {what}\n{}", self.report());
            // Not every change has an event (CPU, memory, an app's own reports), so the pause is
            // short.
            let pause = pause(waited);
            if !daemon.as_mut().is_some_and(|daemon| daemon.wait_for_event(pause)) {
                daemon = None;
                thread::sleep(pause);
            }
        }
    }

    /// Waits until the only entry of this name has this status, and returns it.
    #[track_caller]
    pub fn wait_status(&self, name: &str, status: &str) -> ListedApp {
        self.wait_app(name, status, |item| item.status() == status)
    }

    /// Waits until a log file below the manager's home contains this text.
    #[track_caller]
    pub fn wait_log(&self, file: &str, text: &str) {
        self.wait_until(&format!("{file} has {text:?}"), || self.log(file).contains(text));
    }

    /// Waits until a file below the work folder contains this text.
    #[track_caller]
    pub fn wait_file(&self, file: &str, text: &str) {
        self.wait_until(&format!("{file} has {text:?}"), || self.read(file).contains(text));
    }

    /// Returns the living processes that were started in this home, including the manager's.
    pub fn processes(&self) -> Vec<Proc> {
        procs::of_home(&self.root)
    }

    /// Returns the living processes that apps started in this home.
    pub fn app_processes(&self) -> Vec<Proc> {
        let mut found = self.processes();
        found.retain(|p| procs::try_variable(p.pid, "OSTLER_ROLE").is_none() && !p.cmdline.contains("God Daemon"));
        found
    }

    /// Returns the keeper's pid from `pm2.pid` (real PM2: the daemon's).
    #[track_caller]
    pub fn keeper_pid(&self) -> i32 {
        let mut pid = 0;
        self.wait_until("pm2.pid names a living process", || {
            pid = fs::read_to_string(self.home.join("pm2.pid")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            procs::alive(pid)
        });
        pid
    }

    /// Returns the daemon's pid: the process of this home with that role (real PM2: as
    /// `keeper_pid`).
    #[track_caller]
    pub fn daemon_pid(&self) -> i32 {
        if self.subject.is_real_pm2() {
            return self.keeper_pid();
        }
        let mut pid = 0;
        self.wait_until("there is one daemon", || {
            let daemons = self.daemons();
            pid = daemons.first().copied().unwrap_or(0);
            daemons.len() == 1
        });
        pid
    }

    /// Returns the pid of the process that survives when keeper and daemon are killed together.
    #[track_caller]
    pub fn anchor_pid(&self) -> i32 {
        let mut pid = 0;
        self.wait_until("there is one anchor", || {
            let is_anchor = |p: &Proc| procs::try_variable(p.pid, "OSTLER_ROLE").is_some_and(|role| role == "anchor");
            let anchors: Vec<Proc> = self.processes().into_iter().filter(is_anchor).collect();
            pid = anchors.first().map_or(0, |anchor| anchor.pid);
            anchors.len() == 1
        });
        pid
    }

    /// Sends SIGKILL to keeper and daemon, and waits until they are gone. It stops them first,
    /// because they restart each other. The anchor starts both again.
    #[track_caller]
    pub fn kill_both(&self) {
        self.kill_together(&[self.keeper_pid(), self.daemon_pid()]);
    }

    /// Sends SIGKILL to keeper, daemon and anchor: only the apps remain.
    #[track_caller]
    pub fn kill_all_three(&self) {
        self.kill_together(&[self.keeper_pid(), self.daemon_pid(), self.anchor_pid()]);
    }

    /// Sends SIGKILL to every process of this home, as if the machine had crashed.
    #[track_caller]
    pub fn kill_everything(&self) {
        self.kill_all_three();
        let pids: Vec<i32> = self.processes().iter().map(|process| process.pid).collect();
        self.kill_together(&pids);
        self.wait_until("everything is dead", || self.processes().is_empty());
    }

    #[track_caller]
    fn kill_together(&self, pids: &[i32]) {
        for signal in [Signal::STOP, Signal::KILL] {
            pids.iter().for_each(|pid| procs::kill(*pid, signal));
        }
        self.wait_until("they are dead", || !pids.iter().any(|pid| procs::alive(*pid)));
    }

    /// Returns the pids of all daemons of this home; more than one is a bug.
    pub fn daemons(&self) -> Vec<i32> {
        let is_daemon = |p: &Proc| procs::try_variable(p.pid, "OSTLER_ROLE").is_some_and(|role| role == "daemon");
        let daemons: Vec<Proc> = self.processes().into_iter().filter(is_daemon).collect();
        // A program that a daemon is just starting looks like the daemon until it is executed.
        let is_child = |p: &Proc| daemons.iter().any(|daemon| daemon.pid == p.ppid);
        daemons.iter().filter(|p| !is_child(p)).map(|p| p.pid).collect()
    }

    /// Returns the manager's list and logs, for the reader of a failed test.
    pub fn report(&self) -> String {
        let mut text = String::new();
        if self.home.join("pm2.pid").exists() {
            let _ = write!(text, "{}", self.cmd("list").run());
        }
        for p in self.processes() {
            let _ = writeln!(text, "process {} of {} state {}: {}", p.pid, p.ppid, p.state, p.cmdline);
        }
        let logs = fs::read_dir(self.home.join("logs")).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        for path in std::iter::once(self.home.join("pm2.log")).chain(logs) {
            let _ = writeln!(text, "--- {}", path.display());
            let contents = fs::read(&path).unwrap_or_default();
            let contents = output::plain(&contents[contents.len().saturating_sub(64 << 10)..]);
            let lines: Vec<&str> = contents.lines().collect();
            lines[lines.len().saturating_sub(25)..].iter().for_each(|line| text += &format!("{line}\n"));
        }
        text
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let left = procs::kill_all(&self.root);
        crate::cgroup::remove_of_home(&self.home);
        if std::env::var_os("OSTLER_TEST_KEEP").is_some() {
            eprintln!("kept {}", self.root.display());
        } else {
            drop(fs::remove_dir_all(&self.root));
        }
        if let Err(left) = left
            && !thread::panicking()
        {
            panic!("these processes cannot be ended: {left:?}");
        }
    }
}

/// A command of the manager.
#[derive(Debug)]
#[must_use]
pub struct Cmd<'a> {
    home: &'a Home,
    words: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    cwd: PathBuf,
    stdin: Option<Vec<u8>>,
    uid: Option<u32>,
    wrapper: Vec<OsString>,
}

impl Cmd<'_> {
    /// Sets a variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes a variable.
    pub fn without(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// Runs in this folder.
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = dir.into();
        self
    }

    /// Passes this as standard input.
    pub fn stdin(mut self, text: impl AsRef<[u8]>) -> Self {
        self.stdin = Some(text.as_ref().to_owned());
        self
    }

    /// Runs as this user and group; needs root.
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Runs a shell text first (`ulimit -n 20`), then the command in the same process.
    pub fn after(mut self, shell: &str) -> Self {
        self.wrapper = ["bash", "-c", &format!("set -e\n{shell}\nexec \"$0\" \"$@\"")].map(OsString::from).to_vec();
        self
    }

    /// Runs another program, which executes the command with the words after its own.
    pub fn wrapped(mut self, program: impl IntoIterator<Item = String>) -> Self {
        self.wrapper = program.into_iter().map(OsString::from).collect();
        self
    }

    /// Runs the command to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        let shown: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        let line = format!("{} {}", if self.home.subject.home_variable() == "PM2_HOME" { "pm2" } else { "ostler" }, shown.join(" "));
        let stdin = self.stdin.clone();
        output::run(self.command(), stdin.as_deref(), line, COMMAND_LIMIT)
    }

    /// Returns the command, for a test that spawns it itself.
    pub fn command(self) -> Command {
        let home = self.home;
        let executable = home.subject.executable(&home.root.join("bin"));
        let mut command = match self.wrapper.split_first() {
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(executable);
                command
            }
            None => Command::new(executable),
        };
        let inherited = ["PATH", "LLVM_PROFILE_FILE", "PYENV_ROOT", "NVM_DIR", "OSTLER_CGROUP"];
        let kept = inherited.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.args(&self.words).current_dir(&self.cwd).env_clear().envs(kept);
        command.env("HOME", home.root.join("user")).env("USER", user_name()).env("LANG", "C.UTF-8").env("TZ", "UTC");
        command.env("PM2_DISABLE_VERSION_CHECK", "1").env("NO_COLOR", "1");
        // Most tests do not test the start of their apps. To watch each start for a second would
        // double the duration of all tests.
        command.env("OSTLER_START_WATCH", "0");
        command.env(home.subject.home_variable(), &home.home).env(MARKER, &home.root);
        command.envs(home.env.iter().map(|(name, value)| (name, value)));
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }
}

fn user_name() -> OsString {
    std::env::var_os("USER").unwrap_or_else(|| if crate::is_root() { "root".into() } else { "user".into() })
}
