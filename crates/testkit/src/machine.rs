//! A separate machine with a real systemd, in namespaces. It boots in a second or two. A kill ends
//! it (like a power cut), and it can be booted again with the data that it had written.
//!
//! `tests/fixtures/systemd/root.sh` creates the root folder once (`.ci/run` calls it), and machines
//! only read it: each writes into its own folder. A machine has its own pids, mounts, name, network
//! and cgroups, so any number of them may run at the same time. All its processes end with the
//! process that booted it, and that ends with the test.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::fixtures::fixture_path;
use crate::home::DEADLINE;
use crate::listing::ListedApp;
use crate::nodes::cache_dir;
use crate::output::{self, Output};
use crate::procs;
use crate::programs::program;
use crate::root::is_root;
use crate::words::Words;

/// Maximum duration of a command.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// Folder for the machines' data; short, and not on a memory file system.
const FOLDER: &str = "/tmp";
const PREFIX: &str = "ot-machine-";

/// One machine.
#[derive(Debug)]
pub struct Machine {
    dir: PathBuf,
    name: String,
    console: PathBuf,
    booted: Option<Booted>,
}

#[derive(Debug)]
struct Booted {
    /// `unshare`; systemd is its only child and is killed with it.
    outer: Child,
    /// Pid of systemd, as seen from outside.
    init: i32,
}

/// Returns the reason why no machine can be booted here.
pub fn no_machine() -> Option<String> {
    if !is_root() {
        return Some("needs root".into());
    }
    if let Some(missing) = ["unshare", "nsenter", "setpriv"].into_iter().find(|name| program(name).is_none()) {
        return Some(format!("{missing} is not installed"));
    }
    let root = root();
    (!root.join(".complete").exists()).then(|| format!("{} is not there; tests/fixtures/systemd/root.sh makes it", root.display()))
}

fn root() -> PathBuf {
    cache_dir().unwrap_or_default().join("systemd-root")
}

impl Machine {
    /// Creates and boots a new machine with this program as `/usr/bin/ostler` and `/usr/bin/pm2`.
    #[track_caller]
    pub fn boot(binary: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let name = format!("{PREFIX}{:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new(FOLDER).join(&name);
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(dir.join("upper/usr/bin")).unwrap();
        let mut machine = Self { console: dir.join("console"), dir, name, booted: None };
        machine.install(binary);
        std::os::unix::fs::symlink("ostler", machine.dir.join("upper/usr/bin/pm2")).unwrap();
        machine.start();
        machine
    }

    /// Replaces `/usr/bin/ostler` by another program, as a package manager does: it writes a
    /// temporary file and renames it.
    pub fn install(&self, binary: &Path) {
        let bin = match &self.booted {
            Some(_) => self.path("/usr/bin"),
            None => self.dir.join("upper/usr/bin"),
        };
        let aside = bin.join(".ostler.new");
        drop(fs::remove_file(&aside));
        // A hard link costs nothing, but only works on the same file system.
        if self.booted.is_some() || fs::hard_link(binary, &aside).is_err() {
            fs::copy(binary, &aside).unwrap();
        }
        fs::rename(aside, bin.join("ostler")).unwrap();
    }

    #[track_caller]
    fn start(&mut self) {
        for hierarchy in hierarchies() {
            fs::create_dir_all(hierarchy.join(&self.name)).unwrap();
        }
        let console = fs::File::options().create(true).append(true).open(&self.console).unwrap();
        let groups: String =
            hierarchies().iter().map(|folder| format!("echo 0 >'{}'\n", folder.join(&self.name).join("cgroup.procs").display())).collect();
        let script = format!("set -e\n{groups}exec unshare --pid --mount --uts --ipc --net --cgroup --fork --kill-child \"$@\"");
        let mut command = Command::new("setpriv");
        // `unshare` dies with us, systemd dies with `unshare`, and all other processes of its pid
        // namespace die with systemd.
        command.args(["--pdeathsig", "KILL", "sh", "-c", &script, "sh"]);
        command.arg(fixture_path("systemd/boot.sh")).arg(root()).arg(&self.dir).arg(&self.name);
        command.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console);
        let outer = command.spawn().unwrap();
        let pid = i32::try_from(outer.id()).unwrap();
        let mut booted = Booted { outer, init: 0 };
        let until = Instant::now() + DEADLINE;
        while booted.init == 0 {
            assert!(Instant::now() < until && booted.outer.try_wait().unwrap().is_none(), "it does not boot:\n{}", self.diagnostics());
            let is_init = |p: &&procs::Proc| p.ppid == pid && p.cmdline.contains("/lib/systemd/systemd");
            booted.init = procs::process_table().iter().find(is_init).map_or(0, |p| p.pid);
            thread::sleep(Duration::from_millis(5));
        }
        self.booted = Some(booted);
        self.wait_until("systemd is up", || {
            let state = self.run(["systemctl", "is-system-running"]).stdout;
            assert!(
                state.trim() != "degraded",
                "something failed:\n{}\n{}",
                self.run(["systemctl", "--failed"]).stdout,
                self.diagnostics()
            );
            state.trim() == "running"
        });
    }

    /// Kills the machine like a power cut, and boots it again.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.end();
        self.start();
    }

    /// Shuts the machine down cleanly, and boots it again.
    #[track_caller]
    pub fn shut_down_and_boot(&mut self) {
        drop(self.run(["systemctl", "poweroff"]));
        let until = Instant::now() + DEADLINE;
        while let Some(booted) = &mut self.booted
            && booted.outer.try_wait().unwrap().is_none()
        {
            assert!(Instant::now() < until, "it does not shut down:\n{}", self.diagnostics());
            thread::sleep(Duration::from_millis(5));
        }
        self.end();
        self.start();
    }

    fn end(&mut self) {
        if let Some(mut booted) = self.booted.take() {
            drop(booted.outer.kill());
            drop(booted.outer.wait());
            let until = Instant::now() + DEADLINE;
            while procs::alive(booted.init) && Instant::now() < until {
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Returns the path of a machine's file, as seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        let init = self.booted.as_ref().expect("a machine that is on").init;
        Path::new("/proc").join(init.to_string()).join("root").join(inside.trim_start_matches('/'))
    }

    /// Writes a file. A text that starts with `#!` becomes executable.
    pub fn write(&self, inside: &str, contents: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        let mode = if contents.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Returns a file as text; empty if it is missing.
    pub fn read(&self, inside: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(inside)).unwrap_or_default()).into_owned()
    }

    fn command(&self, words: impl Words) -> Command {
        let init = self.booted.as_ref().expect("a machine that is on").init.to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &init, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]).args(words.words());
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/root").env("USER", "root").env("LANG", "C.UTF-8").env("NO_COLOR", "1").env("SYSTEMD_COLORS", "0");
        command
    }

    /// Runs a command as root.
    #[track_caller]
    pub fn run(&self, words: impl Words) -> Output {
        let words = words.words();
        let shown: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        output::run(self.command(words), None, shown.join(" "), COMMAND_LIMIT)
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub fn ok(&self, words: impl Words) -> Output {
        let output = self.run(words);
        assert!(output.code == 0, "{output}\n{}", self.diagnostics());
        output
    }

    /// Returns the words that run a command as this user, as after a login.
    pub fn as_user(user: &str, words: impl Words) -> Vec<std::ffi::OsString> {
        let login = "export XDG_RUNTIME_DIR=/run/user/$(id -u); export HOME=\"$(getent passwd \"$(id -u)\" | cut -d: -f6)\"; \
                     export USER=\"$(id -un)\" \
                     PATH=/usr/local/bin:/usr/bin:/bin; cd \"$HOME\"; exec \"$@\"";
        let before = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--reset-env", "sh", "-c", login, "sh"];
        before.iter().map(|word| OsStr::new(word).to_owned()).chain(words.words()).collect()
    }

    /// Returns the entries that `jlist` prints for the owner of this home.
    #[track_caller]
    pub fn jlist(&self, words: impl Words) -> Vec<ListedApp> {
        ListedApp::parse_list(&self.ok(words).stdout)
    }

    /// Waits for a condition.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let until = Instant::now() + DEADLINE;
        while !condition() {
            assert!(Instant::now() < until, "waited {DEADLINE:?} in vain until {what}\n{}", self.diagnostics());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a unit is in this state (`ActiveState`).
    #[track_caller]
    pub fn wait_unit(&self, unit: &str, state: &str) {
        self.wait_until(&format!("{unit} is {state}"), || self.property(unit, "ActiveState") == state);
    }

    /// Returns a property of a unit.
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.ok(["systemctl", "show", "--value", "-p", name, unit]).stdout.trim().to_owned()
    }

    /// Returns the outside pid of the machine's process with this inside pid.
    pub fn outside(&self, inside: i32) -> Option<i32> {
        let init = self.booted.as_ref()?.init;
        let space = fs::read_link(format!("/proc/{init}/ns/pid")).ok()?;
        procs::process_table().into_iter().map(|p| p.pid).find(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let own =
                status.lines().find_map(|line| line.strip_prefix("NSpid:")).and_then(|line| line.split_whitespace().last()?.parse().ok());
            own == Some(inside) && fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|found| found == space)
        })
    }

    /// Returns the end of the console, and of the journal if the machine is on.
    pub fn diagnostics(&self) -> String {
        let console = fs::read(&self.console).unwrap_or_default();
        let mut text = format!("--- console\n{}", output::plain(&console[console.len().saturating_sub(8 << 10)..]));
        if self.booted.is_some() {
            let journal = self.command(["journalctl", "--no-pager", "-o", "short-precise", "-n", "60"]).stdin(Stdio::null()).output();
            text += &journal.map_or_else(|error| error.to_string(), |output| format!("--- journal\n{}", output::plain(&output.stdout)));
        }
        text
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end();
        remove(&self.dir, &self.name);
    }
}

fn remove(dir: &Path, name: &str) {
    if std::env::var_os("OSTLER_TEST_KEEP").is_some() {
        eprintln!("kept {}", dir.display());
    } else {
        drop(fs::remove_dir_all(dir));
    }
    for hierarchy in hierarchies() {
        remove_groups(&hierarchy.join(name));
    }
}

/// Removes a group. Only `rmdir` removes such folders, inner ones first.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    drop(fs::remove_dir(group));
}

/// Returns the parents of a machine's cgroups: in the single hierarchy of version 2, or in both
/// hierarchies that systemd uses with version 1.
fn hierarchies() -> Vec<PathBuf> {
    let found: Vec<PathBuf> =
        ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"].map(PathBuf::from).into_iter().filter(|path| path.is_dir()).collect();
    if found.is_empty() { vec!["/sys/fs/cgroup".into()] } else { found }
}

/// Removes the leftovers of tests that were themselves killed.
fn sweep() {
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| u32::from_str_radix(rest.split('-').next()?, 16).ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&entry.path(), &name);
        }
    }
}
