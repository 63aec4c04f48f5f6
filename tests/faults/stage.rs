//! Stage of the cells: a home below a supervisor, with apps that must survive everything.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ostler_testkit::{
    Home, ListedApp, Output, Part, Proc, Subject, Supervisor, alive, fixture, fixture_app, free_port, get, kill, run_within, try_variable,
};
use rustix::process::Signal;

use crate::judge::LogPosition;

/// Limit of a command below a fault. The client itself gives up after 60 s.
pub(crate) const COMMAND_WITHIN: Duration = Duration::from_secs(80);

/// Limit of the recovery after the fault is lifted.
const RECOVERY: Duration = Duration::from_secs(40);

/// Apps whose processes never change.
const LASTING: [&str; 3] = ["ticker", "piped", "web"];

/// Returns the program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("OSTLER_TEST_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ostler")), PathBuf::from)
}

/// Result of a request to the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DashboardAnswer {
    /// The list.
    Served,
    /// An error, or a closed connection.
    Refused,
    /// No answer within the time limit.
    Hangs,
}

/// A home with apps below a supervisor.
pub(crate) struct Stage {
    pub(crate) home: Home,
    pub(crate) supervisor: Supervisor,
    port: u16,
    dashboard: Option<(u16, String)>,
    part: Part,
    pids: BTreeSet<i32>,
    logs: [(&'static str, LogPosition); 2],
}

impl Stage {
    /// Creates an empty home.
    pub(crate) fn empty(part: Part) -> Self {
        let home = Home::new(Subject::Ostler(binary()));
        let logs = [("ticker", LogPosition::default()), ("piped", LogPosition::default())];
        Self { home, supervisor: Supervisor::start(), port: 0, dashboard: None, part, pids: BTreeSet::new(), logs }
    }

    /// Creates a home with three running apps. The log of the first is a file, the lines of the second
    /// pass through the daemon, and the cells restart the third.
    pub(crate) fn with_apps(part: Part) -> Result<Self, String> {
        let mut stage = Self::empty(part);
        stage.port = free_port();
        let (port, program) = (stage.port, fixture());
        stage.must(&format!("start {program} --name ticker -- tick 20"))?;
        stage.must(&format!("start {program} --name piped --time -- tick 20"))?;
        stage.must(&format!("start {program} --name victim -- hold"))?;
        stage.must(&format!("start {program} --name fragile -- hold"))?;
        let web = stage.home.write(
            "web.json",
            format!(
                r#"{{"apps": [{{"name": "web", "script": "{}", "instances": 2, "exec_mode": "cluster", "env": {{"PORT": "{port}"}}}}]}}"#,
                fixture_app("cluster.js")
            ),
        );
        stage.must(&format!("start {web}"))?;
        if part == Part::Dashboard {
            let port = free_port();
            stage.must(&format!("web enable --port {port}"))?;
            let token = stage.plain("web token faults --role admin").ok_or("`web token` hangs")?.stdout.trim().to_owned();
            stage.dashboard = Some((port, token));
        }
        stage.wait("all apps serve", |stage| {
            stage.list().is_some_and(|list| list.iter().all(|app| app.status() == "online")) && stage.serves()
        })?;
        stage.pids = stage.lasting_pids();
        Ok(stage)
    }

    /// Runs a command below the supervisor.
    pub(crate) fn run(&self, words: &str) -> Option<Output> {
        self.supervisor.run(self.home.cmd(words), words, COMMAND_WITHIN)
    }

    /// Runs a command without the supervisor.
    pub(crate) fn plain(&self, words: &str) -> Option<Output> {
        run_within(self.home.cmd(words), words, COMMAND_WITHIN)
    }

    fn must(&self, words: &str) -> Result<(), String> {
        match self.run(words) {
            Some(output) if output.code == 0 => Ok(()),
            Some(output) => Err(format!("setup: {output}")),
            None => Err(format!("setup: `{words}` hangs")),
        }
    }

    /// Waits for a condition without a fault.
    pub(crate) fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !condition(self) {
            if begun.elapsed() > RECOVERY {
                let apps: Vec<String> =
                    self.list().unwrap_or_default().iter().map(|app| format!("{} {}", app.name(), app.status())).collect();
                let own = self.own_log(0);
                let last = own.lines().last().unwrap_or_default();
                return Err(format!(
                    "{RECOVERY:?} after the fault, still not true: {what} ({}; last line of the log: {last})",
                    apps.join(", ")
                ));
            }
            thread::sleep((begun.elapsed() / 8).clamp(Duration::from_millis(5), Duration::from_millis(100)));
        }
        Ok(())
    }

    /// Returns the list; `None` if no daemon answers within two seconds.
    pub(crate) fn list(&self) -> Option<Vec<ListedApp>> {
        self.home.try_list()
    }

    /// Returns an app, if a daemon answers.
    pub(crate) fn app(&self, name: &str) -> Option<ListedApp> {
        self.list()?.into_iter().find(|app| app.name() == name)
    }

    fn lasting_pids(&self) -> BTreeSet<i32> {
        // Workers of a cluster exit with keeper, daemon and standby, as Node's do without a primary. A
        // standby that fails while it takes over is such a case.
        let lasts = |name: &str| LASTING.contains(&name) && (self.part != Part::Standby || name != "web");
        self.list().unwrap_or_default().iter().filter(|app| lasts(app.name())).map(ListedApp::pid).collect()
    }

    /// Returns true if both the cluster and the dashboard answer.
    fn serves(&self) -> bool {
        get(self.port, "/").is_ok() && (self.dashboard.is_none() || self.dashboard_answer() == DashboardAnswer::Served)
    }

    /// Requests the list from the dashboard.
    pub(crate) fn dashboard_answer(&self) -> DashboardAnswer {
        use std::io::{ErrorKind, Read, Write};
        let Some((port, token)) = &self.dashboard else { return DashboardAnswer::Refused };
        let request =
            format!("GET /api/apps HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n");
        let ask = || -> std::io::Result<[u8; 12]> {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", *port))?;
            stream.set_read_timeout(Some(Duration::from_secs(15)))?;
            stream.write_all(request.as_bytes())?;
            let mut head = [0; 12];
            stream.read_exact(&mut head)?;
            Ok(head)
        };
        let server = self.pid(Part::Dashboard);
        match ask() {
            Ok(head) if head.ends_with(b" 200") => DashboardAnswer::Served,
            // The daemon holds the listening socket. While the dashboard is restarted, clients wait.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                    && server == self.pid(Part::Dashboard)
                    && server.is_some() =>
            {
                DashboardAnswer::Hangs
            }
            _ => DashboardAnswer::Refused,
        }
    }

    /// Waits until the processes are at rest: they return memory then.
    pub(crate) fn settle(&mut self) {
        thread::sleep(Duration::from_secs(3));
    }

    /// Leaves a replaced process the time to start.
    pub(crate) fn wait_a_moment(&self) {
        thread::sleep(Duration::from_millis(400));
    }

    /// Kills keeper and daemon together: the standby takes over.
    pub(crate) fn kill_both(&self) {
        let both = |(part, _): &(Part, i32)| matches!(part, Part::Keeper | Part::Daemon);
        let pids: Vec<i32> = self.own_processes().into_iter().filter(both).map(|(_, pid)| pid).collect();
        for signal in [Signal::STOP, Signal::KILL] {
            pids.iter().for_each(|pid| kill(*pid, signal));
        }
        self.wait_a_moment();
    }

    /// Returns the process of a part.
    pub(crate) fn pid(&self, part: Part) -> Option<i32> {
        self.own_processes().into_iter().find(|(of, _)| *of == part).map(|(_, pid)| pid)
    }

    /// Returns the processes of ostler. A copy that is about to execute a program is none.
    pub(crate) fn own_processes(&self) -> Vec<(Part, i32)> {
        let part = |process: &Proc| {
            if process.cmdline.contains("web-server") {
                return Some(Part::Dashboard);
            }
            match try_variable(process.pid, "OSTLER_ROLE")?.as_str() {
                "keeper" => Some(Part::Keeper),
                "anchor" => Some(Part::Standby),
                "daemon" => Some(Part::Daemon),
                _ => None,
            }
        };
        let found: Vec<(Part, Proc)> = self.home.processes().into_iter().filter_map(|process| Some((part(&process)?, process))).collect();
        let is_copy = |(part, process): &(Part, Proc)| found.iter().any(|(other, parent)| other == part && parent.pid == process.ppid);
        found.iter().filter(|one| !is_copy(one)).map(|(part, process)| (*part, process.pid)).collect()
    }

    /// Kills the process of a part. Returns its pid.
    pub(crate) fn kill(&self, part: Part) -> Option<i32> {
        let pid = self.pid(part)?;
        kill(pid, Signal::KILL);
        let until = Instant::now() + Duration::from_secs(10);
        while alive(pid) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        Some(pid)
    }

    /// Judges the state without a fault: everything recovers, no app that lasts was touched, and no
    /// line was lost.
    ///
    /// After a refused command, the app of that command may be errored; the same command then works.
    pub(crate) fn recovers(&mut self, was_refused: bool) -> Result<(), String> {
        let lasting = self.pids.clone();
        if let Some(gone) = lasting.iter().find(|pid| !alive(**pid)) {
            return Err(format!("the process {gone} of an app is gone"));
        }
        // A command makes the keeper retry at once.
        let Some(_listed) = self.plain("list") else { return Err("`list` hangs after the fault".to_owned()) };
        if was_refused && self.app("victim").is_some_and(|app| app.status() != "online") {
            match self.plain("restart victim") {
                Some(output) if output.code == 0 => {}
                Some(output) => return Err(format!("after the fault, `restart` fails: {}", output.all())),
                None => return Err("`restart` hangs after the fault".to_owned()),
            }
        }
        self.wait("the daemon answers and every app is online", |stage| {
            let list = stage.list().unwrap_or_default();
            list.len() >= LASTING.len() + 3 && list.iter().all(|app| app.status() == "online" && alive(app.pid()))
        })?;
        let now = self.lasting_pids();
        if now != lasting {
            return Err(format!("apps have other processes: {lasting:?} became {now:?}"));
        }
        self.wait("keeper, standby and daemon run", |stage| {
            let processes = stage.own_processes();
            [Part::Keeper, Part::Standby, Part::Daemon].iter().all(|part| processes.iter().any(|(of, _)| of == part))
        })?;
        self.wait("the apps serve", Self::serves)?;
        self.lines_are_whole()
    }

    /// Waits for new lines of both logs, and judges their numbers.
    fn lines_are_whole(&mut self) -> Result<(), String> {
        let mut logs = self.logs.clone();
        let mut result = Ok(());
        for (name, position) in &mut logs {
            let file = format!("{name}-out.log");
            let before = position.offset;
            self.wait(&format!("{name} writes lines"), |stage| stage.home.log(&file).len() > before)?;
            result = result.and(position.advance(&self.home.log(&file), name));
        }
        self.logs = logs;
        result
    }

    /// Returns the lines of the daemon's log from this position on.
    pub(crate) fn own_log(&self, from: usize) -> String {
        let text = self.home.daemon_log();
        text.get(from..).unwrap_or_default().to_owned()
    }
}
