//! One of the twin worlds: a home and two folders with scripts, in which a sequence runs.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ostler_testkit::{Home, ListedApp, Subject, kill, list_over_rpc};
use rustix::process::Signal;

use super::model::{App, Call, FILE, file_text};

/// Text of every script. The file's name selects its behavior. An app records its environment as
/// soon as it runs.
pub const SCRIPT: &str = r"const fs = require('fs'), path = require('path'), http = require('http');
const kind = path.basename(__filename, '.js'), seen = path.join(__dirname, '..', 'seen', String(process.pid));
process.on('SIGINT', () => { console.log('bye'); setTimeout(() => process.exit(0), 20); });
console.log('boot', kind, ...process.argv.slice(2));
fs.writeFileSync(seen + '.new', JSON.stringify({script: __filename, args: process.argv.slice(2), cwd: process.cwd(), env: process.env}));
fs.renameSync(seen + '.new', seen);
const serve = () => http.createServer((_, answer) => answer.end()).listen(0, () => process.send && process.send('ready'));
if (kind === 'crash') setTimeout(() => process.exit(3), 20);
else if (kind === 'done') setTimeout(() => process.exit(0), 20);
else if (kind === 'late') setTimeout(serve, 700);
else if (kind === 'quick') serve();
else setInterval(() => {}, 1e6);
";

/// Names of the scripts, which exist in both folders.
pub const NAMES: [&str; 5] = ["quick.js", "late.js", "never.js", "crash.js", "done.js"];

/// A home and its folders.
pub struct World {
    pub home: Home,
}

/// Exit code of a command that did not exit within the time limit.
pub const NO_EXIT: &str = "no exit within the time limit";

impl World {
    /// Creates the world of a program and starts its daemon. No variable of a step reaches the
    /// daemon.
    pub fn new(subject: Subject, apps: &[App]) -> Self {
        let home = Home::new(subject);
        for folder in ["a", "b"] {
            for name in NAMES {
                home.write(&format!("{folder}/{name}"), SCRIPT);
            }
            fs::create_dir_all(home.work().join(folder).join("lib")).unwrap();
        }
        fs::create_dir_all(home.work().join("seen")).unwrap();
        let world = Self { home };
        world.write_file(apps);
        world.home.ok("ping");
        world
    }

    /// Writes the configuration file.
    pub fn write_file(&self, apps: &[App]) {
        self.home.write(&format!("a/{FILE}"), file_text(apps));
    }

    /// Runs a command and returns its exit code and output.
    pub fn run(&self, call: &Call) -> (String, String) {
        let folder = self.home.work().join(&call.folder);
        // PM2 runs one action at a time here, so that ids do not depend on timing. Shells set PWD.
        let mut command = self.home.cmd(call.words()).env("PWD", &folder).cwd(folder).env("PM2_CONCURRENT_ACTIONS", "1");
        for (name, value) in &call.shell {
            command = command.env(name, value);
        }
        if let Some(input) = call.input() {
            command = command.stdin(input);
        }
        match catch_unwind(AssertUnwindSafe(|| command.run())) {
            Ok(output) => (output.code.to_string(), output.all()),
            Err(_) => (NO_EXIT.to_owned(), String::new()),
        }
    }

    /// Kills the process of the entry at this position. Returns the same values as a command.
    pub fn kill(&self, position: usize) -> (String, String) {
        if let Some(item) = self.list().unwrap_or_default().get(position).filter(|item| item.status() == "online") {
            kill(item.pid(), Signal::KILL);
        }
        Default::default()
    }

    /// Returns the list that the daemon sends over PM2's socket, or none without a daemon.
    pub fn list(&self) -> Option<Vec<ListedApp>> {
        list_over_rpc(self.home.dir())
    }
}
