//! The compared managers, and the equivalent configuration of each.

mod supervisor;

use crate::measure::{self, Cpu};
use anyhow::{Context, Result, ensure};
use serde_json::{Map, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Kind of manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ManagerKind {
    Pm2,
    Supervisor,
    Ostler,
}

impl ManagerKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ManagerKind::Pm2 => "PM2",
            ManagerKind::Supervisor => "supervisor",
            ManagerKind::Ostler => "ostler",
        }
    }
}

/// An app to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct App {
    pub(crate) name: String,
    /// Program and arguments, without blanks in them.
    pub(crate) words: Vec<String>,
    /// Whether each log line starts with a date.
    pub(crate) date: bool,
    /// Whether it stays down after its exit.
    pub(crate) once: bool,
    /// Size at which its logs are rotated. Peers need a module for that, so they do not rotate.
    pub(crate) rotate: Option<&'static str>,
    /// Port of an HTTP health check every 5 s.
    pub(crate) health_port: Option<u16>,
    /// Memory use above which it is replaced.
    pub(crate) memory_limit: Option<&'static str>,
    /// Copies of a Node script behind one port.
    pub(crate) workers: Option<Workers>,
    /// Copies, in cluster mode, of a program that opens its port by itself.
    pub(crate) copies: Option<usize>,
}

/// The copies of a Node script in a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    pub(crate) count: usize,
    /// Distribution of connections; one of ostler's words.
    pub(crate) scheduling: &'static str,
    /// Whether the app reports readiness.
    pub(crate) wait_ready: bool,
    pub(crate) env: Vec<(&'static str, String)>,
}

impl App {
    pub(crate) fn new(name: impl Into<String>, words: &[&str]) -> App {
        App { name: name.into(), words: words.iter().map(|word| (*word).to_owned()).collect(), ..App::default() }
    }
}

/// A manager in a separate home. Dropping it stops it and its apps.
pub(crate) struct Contender {
    pub(crate) kind: ManagerKind,
    /// Client; supervisor's daemon is another program.
    program: PathBuf,
    /// Folder that marks all its processes, as the `HOME` of each.
    folder: PathBuf,
}

/// Cost of a client call.
pub(crate) struct Call {
    pub(crate) wall: Duration,
    /// CPU time of the client process and its child processes.
    pub(crate) cpu: Cpu,
}

impl Contender {
    pub(crate) fn new(kind: ManagerKind, program: &Path, folder: PathBuf) -> Result<Contender> {
        let program = if kind == ManagerKind::Supervisor { supervisor::client(program)? } else { program.to_path_buf() };
        let contender = Contender { kind, program, folder };
        fs::create_dir_all(contender.home()).with_context(|| format!("cannot make {}", contender.home().display()))?;
        Ok(contender)
    }

    /// Returns the folder that marks its processes.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the folder with its sockets and logs.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.join("h")
    }

    /// Returns the file that describes the apps.
    fn file(&self) -> PathBuf {
        self.folder.join(if self.kind == ManagerKind::Supervisor { "supervisord.conf" } else { "apps.json" })
    }

    fn bare(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        for name in ["PM2_HOME", "OSTLER_HOME", "NODE_OPTIONS", "PYTHONPATH", "PYTHONHOME"] {
            command.env_remove(name);
        }
        command.env("HOME", &self.folder);
        match self.kind {
            ManagerKind::Pm2 => {
                command.env("PM2_HOME", self.home()).env("PM2_DISABLE_VERSION_CHECK", "1").env("PM2_DISCRETE_MODE", "1");
            }
            // `start` waits for a second to check that each app stays up, but the apps of a crash
            // loop do not. The measured time is the time until all run.
            ManagerKind::Ostler => drop(command.env("OSTLER_HOME", self.home()).env("OSTLER_START_WATCH", "0")),
            ManagerKind::Supervisor => drop(command.arg("-c").arg(self.file())),
        }
        command
    }

    /// Returns the client with these words.
    pub(crate) fn client(&self, words: &[&str]) -> Command {
        let mut command = self.bare(&self.program);
        command.args(words);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn call(&self, mut command: Command) -> Result<Call> {
        let begin = Instant::now();
        let (code, cpu) = measure::run(&mut command)?;
        let wall = begin.elapsed();
        ensure!(code == Some(0), "{} {command:?} ended with {code:?}", self.kind.name());
        Ok(Call { wall, cpu })
    }

    /// Writes the file that describes the apps, and returns the command that starts them.
    /// Supervisor's daemon starts the apps of its file at its own start; a running daemon gets the
    /// command to read the file again.
    pub(crate) fn prepare(&self, apps: &[App]) -> Result<Command> {
        self.describe(apps, apps.len())?;
        let file = self.file().display().to_string();
        Ok(match self.kind {
            ManagerKind::Supervisor if supervisor::runs(&self.home()) => self.client(&["update"]),
            ManagerKind::Supervisor => self.bare(&supervisor::daemon(&self.program)),
            ManagerKind::Pm2 | ManagerKind::Ostler => self.client(&["start", &file]),
        })
    }

    /// Returns the command that runs these apps as the first process of a container; none if the
    /// manager does not support that.
    pub(crate) fn front(&self, apps: &[App]) -> Result<Option<Command>> {
        self.describe(apps, apps.len())?;
        Ok(match self.kind {
            ManagerKind::Ostler => Some(self.client(&["runtime", &self.file().display().to_string()])),
            ManagerKind::Pm2 => {
                let mut command = self.bare(&self.program.with_file_name("pm2-runtime"));
                command.arg(self.file());
                Some(command)
            }
            ManagerKind::Supervisor => None,
        })
    }

    fn describe(&self, apps: &[App], room: usize) -> Result<()> {
        let text = match self.kind {
            ManagerKind::Supervisor => supervisor::file(&self.home(), apps, room),
            ManagerKind::Pm2 | ManagerKind::Ostler => ecosystem(self.kind, apps),
        };
        fs::write(self.file(), text).with_context(|| format!("cannot write {}", self.file().display()))
    }

    /// Starts apps from a file.
    pub(crate) fn start(&self, apps: &[App]) -> Result<Call> {
        self.call(self.prepare(apps)?)
    }

    /// Starts apps that stay up, and waits until all run, because not every manager's command
    /// waits.
    pub(crate) fn start_all(&self, apps: &[App]) -> Result<()> {
        self.start(apps)?;
        let all = measure::wait(Duration::from_secs(60), || self.apps().is_ok_and(|there| there.len() == apps.len()));
        ensure!(all, "{} does not run all of {} apps", self.kind.name(), apps.len());
        Ok(())
    }

    /// Starts a daemon without apps. Supervisor needs the number of later apps now, for its limit
    /// of descriptors.
    pub(crate) fn warm(&self, apps_to_come: usize) -> Result<()> {
        if self.kind == ManagerKind::Supervisor {
            self.describe(&[], apps_to_come)?;
            self.call(self.bare(&supervisor::daemon(&self.program)))?;
        } else {
            self.start(&[App::new("warm", &["/bin/sleep", "1000000"])])?;
            self.call(self.client(&["delete", "all"]))?;
        }
        Ok(())
    }

    /// Prints the table of the apps.
    pub(crate) fn list(&self) -> Result<Call> {
        self.call(self.client(&[if self.kind == ManagerKind::Supervisor { "status" } else { "list" }]))
    }

    /// Stops all apps.
    pub(crate) fn stop_all(&self) -> Result<Call> {
        self.call(self.client(&["stop", "all"]))
    }

    /// Saves the running apps. Supervisor needs no save, because its file describes them.
    pub(crate) fn save(&self) -> Result<()> {
        if self.kind != ManagerKind::Supervisor {
            self.call(self.client(&["save"]))?;
        }
        Ok(())
    }

    /// Restores the saved apps.
    pub(crate) fn resurrect(&self) -> Result<Call> {
        self.call(match self.kind {
            ManagerKind::Supervisor => self.bare(&supervisor::daemon(&self.program)),
            ManagerKind::Pm2 | ManagerKind::Ostler => self.client(&["resurrect"]),
        })
    }

    /// Returns the processes of the manager itself.
    pub(crate) fn manager_pids(&self) -> Result<Vec<i32>> {
        Ok(measure::marked(&self.folder)?.into_iter().filter(|process| !self.is_app(process)).map(|process| process.pid).collect())
    }

    /// Returns the processes of apps.
    pub(crate) fn apps(&self) -> Result<Vec<i32>> {
        Ok(measure::marked(&self.folder)?.into_iter().filter(|process| self.is_app(process)).map(|process| process.pid).collect())
    }

    /// Returns the process that takes orders: the one to kill.
    pub(crate) fn daemon(&self) -> Result<i32> {
        let marked = measure::marked(&self.folder)?;
        let own: Vec<_> = marked.iter().filter(|process| !self.is_app(process)).collect();
        let of_role = own.iter().find(|process| self.kind != ManagerKind::Ostler || process.command.contains("daemon ("));
        of_role.map(|process| process.pid).with_context(|| format!("{} has no daemon", self.kind.name()))
    }

    fn is_app(&self, process: &measure::Marked) -> bool {
        // Every app in a file of the benchmarks is a program called tiny, sleep or gunicorn, or has
        // a script of the benchmarks.
        let first = process.command.split('\0').next().unwrap_or_default();
        let script = |name: &str| process.command.contains(name);
        first.ends_with("/tiny")
            || first.ends_with("sleep")
            || script("/lines.js")
            || ["/cluster-", "/server.py", "/gunicorn"].into_iter().any(script)
    }

    /// Returns the file with an app's stdout.
    pub(crate) fn out_file(&self, app: &str) -> Result<PathBuf> {
        let named = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with(app) && name.contains("out") && name.ends_with("log")
        };
        let mut folders = vec![self.home()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if named(&path) {
                    return Ok(path);
                }
            }
        }
        anyhow::bail!("{} has no output file of {app}", self.kind.name())
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let word = if self.kind == ManagerKind::Supervisor { "shutdown" } else { "kill" };
        let _ = measure::run(&mut self.client(&[word]));
        // Kills all remaining processes, even those without a stop request.
        measure::kill_marked(&self.folder);
        // The folder stays until the end: ext4 creates files slowly after many files were removed.
    }
}

fn ecosystem(kind: ManagerKind, apps: &[App]) -> String {
    let apps: Vec<_> = apps
        .iter()
        .map(|app| {
            let (script, args) = app.words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
            let mut value = json!({
                "name": app.name, "script": script, "args": args, "interpreter": "none", "exec_mode": "fork",
                "max_restarts": 1_000_000, "autorestart": !app.once,
            });
            if kind == ManagerKind::Ostler {
                value["log_rotate"] =
                    app.rotate.map_or(json!(false), |size| json!({ "max_size": size, "retain": "all", "total_size": "none" }));
            }
            if app.date {
                value["log_date_format"] = json!("YYYY-MM-DD HH:mm:ss");
            }
            if let Some(limit) = app.memory_limit {
                value["max_memory_restart"] = json!(limit);
            }
            if let Some(port) = app.health_port {
                value["http"] = json!({ "port": port, "interval": 5000 });
            }
            if let Some(copies) = app.copies {
                value["exec_mode"] = json!("cluster");
                value["instances"] = json!(copies);
            }
            if let Some(workers) = &app.workers {
                // Node is the default interpreter of a script.
                value.as_object_mut().map(|value| value.remove("interpreter"));
                value["exec_mode"] = json!("cluster");
                value["instances"] = json!(workers.count);
                value["wait_ready"] = json!(workers.wait_ready);
                value["env"] = workers.env.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect::<Map<_, _>>().into();
                if kind == ManagerKind::Ostler {
                    value["scheduling"] = json!(workers.scheduling);
                }
            }
            value
        })
        .collect();
    json!({ "apps": apps }).to_string()
}
