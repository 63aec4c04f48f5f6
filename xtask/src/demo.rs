//! `cargo xtask demo`: the six services of `examples/shop` in a temporary home. It starts them,
//! breaks things, and shows that the apps are unaffected.

use crate::http;
use crate::process::{build, must_run, on_path, option, output, root};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Number of parallel clients.
const CLIENTS: usize = 4;

/// Runs the demonstration. `--keep` leaves everything running and prints how to reach it;
/// `--program PATH` uses an existing program.
pub(crate) fn run(words: &[String]) -> Result<()> {
    ensure!(on_path("node"), "the services of the demo are Node programs and there is no `node` on PATH (ostler itself needs none)");
    let program = match option(words, "--program")? {
        Some(path) => Path::new(path).canonicalize().with_context(|| format!("cannot find {path}"))?,
        None => {
            say("Building ostler (release). The first time takes a few minutes.");
            build("ostler", "ostler", "release")?
        }
    };
    let mut stage = Stage::new(program)?;
    stage.show()?;
    if words.iter().any(|word| word == "--keep") {
        stage.keep_home();
    }
    Ok(())
}

fn say(text: &str) {
    println!("\n{}", styled("1", text));
}

/// Adds a terminal attribute if the output is a terminal.
fn styled(attribute: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[{attribute}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A private home and a copy of the shop. Dropping it stops everything and removes the folder, even
/// after a failed step.
struct Stage {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    keeps_home: bool,
}

impl Stage {
    fn new(program: PathBuf) -> Result<Stage> {
        let folder = std::env::temp_dir().join(format!("ostler-demo-{}", std::process::id()));
        copy(&root().join("examples/shop"), &folder.join("shop"))?;
        Ok(Stage { program, folder, port: http::free_ports(6)?, keeps_home: false })
    }

    fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    fn ostler(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(self.folder.join("shop"));
        command.env("OSTLER_HOME", self.home()).env("SHOP_PORT", self.port.to_string()).env_remove("PM2_HOME");
        command
    }

    /// Prints a command as the reader would type it, and runs it.
    fn type_line(&self, words: &[&str]) -> Result<()> {
        println!("{}", styled("2", &format!("$ ostler {}", words.join(" "))));
        must_run(&mut self.ostler(words))
    }

    fn show(&mut self) -> Result<()> {
        let devices = self.port + 2;

        say("1. Six services from one file: two of them with several instances behind one port.");
        self.type_line(&["start", "ecosystem.config.js", "--env", "production"])?;
        let answer = http::request("GET", self.port, "/api/users/health").context("the gateway does not answer")?;
        ensure!(answer.status == 200, "the gateway answered {}: {}", answer.status, answer.body);
        println!("GET http://localhost:{}/api/users/health -> {}", self.port, answer.body);

        say("2. device-service crashes (POST /crash throws inside it) and is back at once.");
        let before = self.pids()?;
        let begin = Instant::now();
        http::request("POST", devices, "/crash").context("device-service does not answer")?;
        wait("device-service to answer again", || {
            let fresh = self.pids()?.get("device-service:0") != before.get("device-service:0");
            Ok(fresh && http::request("GET", devices, "/health").is_ok_and(|answer| answer.status == 200))
        })?;
        println!("It answered again after {} ms, most of it the start of Node.", begin.elapsed().as_millis());
        self.type_line(&["list"])?;
        self.type_line(&["why", "device-service"])?;

        say("3. What it wrote.");
        self.type_line(&["logs", "device-service", "--lines", "4", "--nostream"])?;

        self.show_reload()?;

        say("5. Now ostler's own processes are killed with SIGKILL, while requests go on.");
        let before = self.pids()?;
        let load = Load::begin(self.port);
        for roles in [&["daemon"][..], &["keeper"], &["keeper", "daemon"]] {
            let old = roles.iter().map(|role| self.role(role)).collect::<Result<Vec<_>>>()?;
            let begin = Instant::now();
            for (role, pid) in roles.iter().zip(&old) {
                kill_process(*pid, Signal::KILL).with_context(|| format!("cannot kill the {role}"))?;
            }
            let is_new = |(role, old): (&&str, &Pid)| self.role(role).is_ok_and(|new| new != *old);
            wait("its successor", || Ok(roles.iter().zip(&old).all(is_new) && self.pids().is_ok()))?;
            let pids: Vec<String> = old.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
            let what = format!("{} {} killed", roles.join(" and "), pids.join(" and "));
            println!("{what}; a new one works after {} ms", begin.elapsed().as_millis());
        }
        let (answered, failed) = load.end();
        let after = self.pids()?;
        self.type_line(&["list"])?;
        println!(
            "apps with the same pid as before: {} of {}",
            before.iter().filter(|(name, pid)| after.get(*name) == Some(pid)).count(),
            before.len()
        );
        println!("requests meanwhile: {answered} answered, {failed} failed");
        ensure!(before == after, "pids changed: {before:?} before, {after:?} after");
        if failed == 1 {
            println!(
                "(a daemon that is killed takes along the one connection that it is just handing to a worker; `scheduling: \"reuseport\"` has none)"
            );
        }
        ensure!(failed <= 1 && answered > 0, "requests failed");

        say("That was it. What to try next:");
        println!("  cargo install --path crates/ostler     put `ostler` on your PATH");
        println!("  cargo xtask demo --keep                the same, and leave it running for you");
        println!("  ostler start app.js -i 2 --name api    your own app; also app.py, ./binary or \"npm start\"");
        println!("  ostler --help                          all commands; those you know from PM2 do the same here");
        Ok(())
    }

    /// Deploys a bad release, then a good one, while requests continue.
    fn show_reload(&self) -> Result<()> {
        say("4. A new release of api-gateway that throws at its start, while requests go on; then a good one.");
        let before = self.pids()?;
        let load = Load::begin(self.port);
        let script = self.folder.join("shop/backend/api-gateway/dist/main.js");
        let good = fs::read_to_string(&script).with_context(|| format!("cannot read {}", script.display()))?;
        let write = |code: &str| fs::write(&script, code).with_context(|| format!("cannot write {}", script.display()));
        write(&format!("throw new Error('this release is no good');\n{good}"))?;
        let words = ["reload", "api-gateway"];
        println!("{}", styled("2", &format!("$ ostler {}", words.join(" "))));
        let status = self.ostler(&words).status().context("cannot run ostler")?;
        ensure!(status.code() == Some(1), "the bad release was taken: {status}");
        ensure!(self.pids()? == before, "the bad release changed something");
        println!("exit code 1, and the old processes go on");
        write(&good)?;
        self.type_line(&["reload", "api-gateway", "user-service"])?;
        let after = self.pids()?;
        let replaced = before.iter().filter(|(name, pid)| after.get(*name) != Some(pid)).count();
        let (answered, failed) = load.end();
        println!("processes replaced: {replaced}; requests meanwhile: {answered} answered, {failed} failed");
        ensure!(failed == 0 && answered > 0, "requests failed");
        Ok(())
    }

    /// Leaves everything running and prints how to reach it.
    fn keep_home(&mut self) {
        self.keeps_home = true;
        say("It goes on running. To look at it:");
        println!("  export OSTLER_HOME={}", self.home().display());
        println!("  {} list", self.program.display());
        println!("  curl localhost:{}/api/billing/health", self.port);
        println!("To end it: {} kill && rm -r {}", self.program.display(), self.folder.display());
    }

    /// Returns the pids of the running apps by `name:instance`.
    fn pids(&self) -> Result<BTreeMap<String, u64>> {
        let list: Value = serde_json::from_str(&output(&mut self.ostler(&["jlist"]))?).context("jlist is not JSON")?;
        let mut pids = BTreeMap::new();
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for app in list.as_array().context("jlist is not a list")? {
            let name = app["name"].as_str().context("an app without name")?;
            let number = seen.entry(name.to_owned()).or_default();
            pids.insert(format!("{name}:{number}"), app["pid"].as_u64().context("an app without pid")?);
            *number += 1;
        }
        ensure!(!pids.is_empty(), "the list is empty");
        Ok(pids)
    }

    /// Returns ostler's process in that role: its title is `<role> (<home>)`.
    fn role(&self, role: &str) -> Result<Pid> {
        let title = format!("{role} ({})", self.home().display());
        for (pid, words) in processes()? {
            if words.contains(&title) {
                return Ok(pid);
            }
        }
        bail!("no {role} is running")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.keeps_home {
            return;
        }
        let _ = output(&mut self.ostler(&["kill"]));
        // `kill` itself may be broken, so the remaining processes of the demo are killed directly.
        let home = self.folder.display().to_string();
        for (pid, words) in processes().unwrap_or_default() {
            if words.contains(&home) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("cannot remove {}: {error}", self.folder.display());
        }
    }
}

/// Returns every process except this one, with its command line.
fn processes() -> Result<Vec<(Pid, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else { continue };
        if pid.as_raw_nonzero().get().unsigned_abs() == std::process::id() {
            continue;
        }
        // A process that has exited since has no command line any more.
        if let Ok(bytes) = fs::read(entry.path().join("cmdline")) {
            found.push((pid, String::from_utf8_lossy(&bytes).replace('\0', " ")));
        }
    }
    Ok(found)
}

/// Clients that send requests to the gateway without a pause, each over a new connection.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn begin(port: u16) -> Load {
        let (stop, answered, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let client = || {
            let (stop, answered, failed) = (stop.clone(), answered.clone(), failed.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let fine = http::request("GET", port, "/api/users/health").is_ok_and(|answer| answer.status == 200);
                    if fine { &answered } else { &failed }.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let threads = (0..CLIENTS).map(|_| thread::spawn(client())).collect();
        Load { stop, answered, failed, threads }
    }

    /// Returns the answered and failed requests.
    fn end(self) -> (u64, u64) {
        // The load runs a little longer than the last kill, so that its effects become visible.
        let enough = self.answered.load(Ordering::Relaxed) + 500;
        let _ = wait("more requests", || Ok(self.answered.load(Ordering::Relaxed) >= enough || self.failed.load(Ordering::Relaxed) > 1));
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        (self.answered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

fn wait(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !done()? {
        ensure!(Instant::now() < end, "waited {} s for {what}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Copies a folder without the files that running it created.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (source, name) = (entry.path(), entry.file_name());
        if name == "logs" || name == "uploads" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&source, &to.join(name))?;
        } else {
            fs::copy(&source, to.join(name)).with_context(|| format!("cannot copy {}", source.display()))?;
        }
    }
    Ok(())
}
