//! The managers that are compared, and how each is told the same thing.

use crate::measure::{self, Cpu};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pm2,
    OxMgr,
    Ostler,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Pm2 => "PM2",
            Kind::OxMgr => "OxMgr",
            Kind::Ostler => "ostler",
        }
    }
}

/// An app to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct App {
    pub(crate) name: String,
    /// Program and arguments, without blanks inside.
    pub(crate) words: Vec<String>,
    /// A date in front of each log line.
    pub(crate) date: bool,
    /// Stays down when it ends.
    pub(crate) once: bool,
}

impl App {
    pub(crate) fn new(name: impl Into<String>, words: &[&str]) -> App {
        App { name: name.into(), words: words.iter().map(|word| (*word).to_owned()).collect(), date: false, once: false }
    }
}

/// A manager in a home of its own. Dropping it ends it, its apps, and removes the home.
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    program: PathBuf,
    /// Marks all its processes: `HOME` of each is this folder.
    folder: PathBuf,
    port: u16,
}

/// What a call of the client cost.
pub(crate) struct Call {
    pub(crate) wall: Duration,
    /// Of the client process and what it waited for.
    pub(crate) cpu: Cpu,
}

impl Contender {
    pub(crate) fn new(kind: Kind, program: &Path, folder: PathBuf, port: u16) -> Result<Contender> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Contender { kind, program: program.to_path_buf(), folder, port })
    }

    fn home(&self) -> PathBuf {
        self.folder.join("h")
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        for name in ["PM2_HOME", "OSTLER_HOME", "OXMGR_HOME", "NODE_OPTIONS"] {
            command.env_remove(name);
        }
        command.env("HOME", &self.folder);
        match self.kind {
            Kind::Pm2 => command.env("PM2_HOME", self.home()).env("PM2_DISABLE_VERSION_CHECK", "1").env("PM2_DISCRETE_MODE", "1"),
            Kind::Ostler => command.env("OSTLER_HOME", self.home()),
            Kind::OxMgr => command
                .env("OXMGR_HOME", self.home())
                .env("OXMGR_DAEMON_ADDR", format!("127.0.0.1:{}", self.port))
                .env("OXMGR_API_ADDR", format!("127.0.0.1:{}", self.port + 1))
                .env("OXMGR_LOG_MAX_SIZE_MB", "100000"),
        };
        command
    }

    /// Runs a command to its end.
    pub(crate) fn call(&self, words: &[&str]) -> Result<Call> {
        let begin = Instant::now();
        let (code, cpu) = measure::run(&mut self.command(words))?;
        let wall = begin.elapsed();
        ensure!(code == Some(0), "{} {} ended with {code:?}", self.kind.name(), words.join(" "));
        Ok(Call { wall, cpu })
    }

    /// Writes the file that describes the apps, and returns the words that start it.
    pub(crate) fn file(&self, apps: &[App]) -> Result<Vec<String>> {
        let (path, text, verb) = match self.kind {
            Kind::OxMgr => (self.folder.join("oxfile.toml"), oxfile(apps), "apply"),
            Kind::Pm2 | Kind::Ostler => (self.folder.join("apps.json"), ecosystem(apps), "start"),
        };
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(vec![verb.to_owned(), path.display().to_string()])
    }

    /// Starts apps from a file.
    pub(crate) fn start(&self, apps: &[App]) -> Result<Call> {
        let words = self.file(apps)?;
        self.call(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A daemon that runs, with no app.
    pub(crate) fn warm(&self) -> Result<()> {
        self.start(&[App::new("warm", &["/bin/sleep", "1000000"])])?;
        self.call(&["delete", "all"])?;
        Ok(())
    }

    /// The processes of the manager itself.
    pub(crate) fn own(&self) -> Result<Vec<i32>> {
        Ok(measure::marked(&self.folder)?.into_iter().filter(|process| !self.is_app(process)).map(|process| process.pid).collect())
    }

    /// The processes of apps.
    pub(crate) fn apps(&self) -> Result<Vec<i32>> {
        Ok(measure::marked(&self.folder)?.into_iter().filter(|process| self.is_app(process)).map(|process| process.pid).collect())
    }

    /// The process that takes orders: the one to kill.
    pub(crate) fn daemon(&self) -> Result<i32> {
        let marked = measure::marked(&self.folder)?;
        let own: Vec<_> = marked.iter().filter(|process| !self.is_app(process)).collect();
        let of_role = own.iter().find(|process| self.kind != Kind::Ostler || process.command.contains("daemon ("));
        of_role.map(|process| process.pid).with_context(|| format!("{} has no daemon", self.kind.name()))
    }

    fn is_app(&self, process: &measure::Marked) -> bool {
        // Everything that an app file of ours names is a program called tiny, sleep or node with a file of ours.
        let first = process.command.split('\0').next().unwrap_or_default();
        first.ends_with("/tiny") || first.ends_with("sleep") || process.command.contains("/lines.js")
    }

    /// The file that holds an app's stdout.
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
        let words: &[&str] = if self.kind == Kind::OxMgr { &["daemon", "stop"] } else { &["kill"] };
        let _ = measure::run(&mut self.command(words));
        // Whatever is left, also what was not told to end.
        measure::end_marked(&self.folder);
        // The folder stays until the end: where many files were removed a moment ago, ext4 makes new ones slowly.
    }
}

fn ecosystem(apps: &[App]) -> String {
    let apps: Vec<_> = apps
        .iter()
        .map(|app| {
            let (script, args) = app.words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
            let mut value = json!({
                "name": app.name, "script": script, "args": args, "interpreter": "none", "exec_mode": "fork",
                "max_restarts": 1_000_000, "autorestart": !app.once,
            });
            if app.date {
                value["log_date_format"] = json!("YYYY-MM-DD HH:mm:ss");
            }
            value
        })
        .collect();
    json!({ "apps": apps }).to_string()
}

fn oxfile(apps: &[App]) -> String {
    let mut text = "version = 1\n".to_owned();
    for app in apps {
        let restart = if app.once { "never" } else { "always" };
        text += &format!(
            "[[apps]]\nname = \"{}\"\ncommand = \"{}\"\nrestart_policy = \"{restart}\"\nmax_restarts = 1000000\ncrash_restart_limit = 0\nstop_signal = \"SIGINT\"\n",
            app.name,
            app.words.join(" ")
        );
        if app.date {
            text += "log_date_format = \"%Y-%m-%d %H:%M:%S\"\n";
        }
    }
    text
}
