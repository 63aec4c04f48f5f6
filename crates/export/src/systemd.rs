//! systemd: a unit for each app, with the same guarantees as far as systemd supports them; a timer
//! for each schedule, a socket for each `listen`.

use ostler_core::app::hooks::{Hook, HookSpec, OnFailure};
use ostler_core::app::secrets::SecretSource;
use ostler_core::app::{AppSpec, KillMode};
use ostler_core::message;
use ostler_core::serving::{ListenAt, ReadyBy, with_numbers};
use ostler_core::text::language::translated;

use crate::cron::Fields;
use crate::quote::{line, sh, systemd, systemd_command, systemd_folder, systemd_plain, systemd_text, systemd_word};
use crate::service::{Lifecycle, Service};
use crate::{Notice, Plan, names};

type Files = Vec<(String, String)>;

/// Default number of unstable restarts in a row before systemd gives up.
const RESTARTS: u32 = 16;

/// Returns the files of `export systemd`, and the next commands for the user.
pub(crate) fn files(plan: &mut Plan<'_>) -> (Files, Vec<String>) {
    let mut files = Files::new();
    let mut notices = Vec::new();
    let mut enable = Vec::new();
    let project = names::label(&plan.project.name);
    for service in &plan.services {
        let unit = Unit { project: &project, service, several: service.kind == Lifecycle::Server && service.spec.instances > 1 };
        let mut report = |key: &str, why: String| notices.push(Notice::new(service.spec.name.as_str(), key, why));
        if unit.several && service.spec.listen.is_empty() && service.port.is_some() {
            report("instances", message!("each instance opens the same port: only one of them can, unless the app sets SO_REUSEPORT"));
        }
        if unit.several && !service.spec.listen.is_empty() {
            report(
                "listen",
                message!("several instances cannot share a socket unit: no socket unit is written, and no descriptors are passed"),
            );
        }
        if service.spec.listen.len() > 1 {
            report("listen", message!("all sockets of a unit have one name in LISTEN_FDNAMES, in the order of the file"));
        }
        files.push((format!("systemd/{}", unit.file()), unit.text(plan, &mut report)));
        files.extend(unit.sockets(&mut report).map(|text| (format!("systemd/{}.socket", unit.name()), text)));
        if unit.several {
            files.push((format!("systemd/{}.target", unit.name()), unit.target()));
        }
        files.extend(unit.timers(&mut report));
        if service.is_started() {
            enable.push(unit.enabled());
            if unit.has_sockets() {
                enable.push(format!("{}.socket", unit.name()));
            }
        }
    }
    plan.notices.append(&mut notices);
    let mut next = vec!["sudo cp systemd/* /etc/systemd/system/ && sudo systemctl daemon-reload".to_owned()];
    if !enable.is_empty() {
        next.push(format!("sudo systemctl enable --now {}", enable.join(" ")));
    }
    (files, next)
}

/// The unit of a service.
struct Unit<'a> {
    project: &'a str,
    service: &'a Service<'a>,
    /// Whether it is a template with several instances.
    several: bool,
}

/// Lines of a unit.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn section(&mut self, name: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.0.push_str(&format!("{gap}[{name}]\n"));
    }

    fn set(&mut self, key: &str, value: impl AsRef<str>) {
        self.0.push_str(&format!("{key}={}\n", value.as_ref()));
    }

    /// Sets a key to a path or name. A value that cannot be written is left out and reported.
    fn set_plain(&mut self, key: &str, head: &str, value: &str, of: &str, report: &mut dyn FnMut(&str, String)) {
        match systemd_plain(value) {
            Some(value) => self.set(key, format!("{head}{value}")),
            None => report(of, message!("{value} cannot be written in a unit ({key}=)", value = format!("{value:?}"), key)),
        }
    }

    fn comment(&mut self, text: &str) {
        self.0.push_str(&format!("# {}\n", line(text)));
    }
}

impl Unit<'_> {
    fn name(&self) -> String {
        format!("{}-{}", self.project, self.service.name)
    }

    fn file(&self) -> String {
        if self.several { format!("{}@.service", self.name()) } else { format!("{}.service", self.name()) }
    }

    /// Returns the unit to enable.
    fn enabled(&self) -> String {
        let ending = if self.service.kind == Lifecycle::Job {
            "timer"
        } else if self.several {
            "target"
        } else {
            "service"
        };
        format!("{}.{ending}", self.name())
    }

    /// Returns the unit that other units wait for.
    fn unit_to_wait_for(&self, plan: &Plan<'_>, name: &str) -> String {
        let several = plan.services.iter().any(|other| other.name == name && other.kind == Lifecycle::Server && other.spec.instances > 1);
        format!("{}-{name}.{}", self.project, if several { "target" } else { "service" })
    }

    fn text(&self, plan: &Plan<'_>, report: &mut dyn FnMut(&str, String)) -> String {
        let (service, spec) = (self.service, self.service.spec);
        let mut out = Lines::default();
        out.section("Unit");
        out.set("Description", systemd_text(&spec.name));
        out.comment("Waits for network and name resolution; its dependencies start before it.");
        out.set("Wants", "network-online.target");
        let others: Vec<String> = service.depends_on.iter().map(|(name, _)| self.unit_to_wait_for(plan, name)).collect();
        out.set("After", [&["network-online.target".to_owned()][..], &others].concat().join(" "));
        if !others.is_empty() {
            out.set("Wants", others.join(" "));
        }
        if self.several {
            out.set("PartOf", format!("{}.target", self.name()));
        }
        if service.kind == Lifecycle::Server {
            start_limit(&mut out, spec);
        }
        out.section("Service");
        out.set("Type", kind(service));
        self.run(&mut out, report);
        environment(self, plan, &mut out, report);
        restart(&mut out, service);
        stop(&mut out, spec);
        rights_and_limits(&mut out, spec, report);
        output(&mut out, spec, self.several, report);
        if spec.namespace != "default" {
            out.set("Slice", format!("{}.slice", names::label(&spec.namespace)));
        }
        if service.is_started() && service.kind != Lifecycle::Job {
            out.section("Install");
            out.set("WantedBy", if self.several { format!("{}.target", self.name()) } else { "multi-user.target".to_owned() });
        }
        out.0
    }

    /// Writes the command, its hooks and its folder.
    fn run(&self, out: &mut Lines, report: &mut dyn FnMut(&str, String)) {
        let spec = self.service.spec;
        match systemd_folder(&spec.cwd) {
            Some(folder) => out.set("WorkingDirectory", folder),
            None => report("cwd", message!("{value} cannot be written in a unit (WorkingDirectory=)", value = format!("{:?}", spec.cwd))),
        }
        for (hook, key) in [
            (Hook::PreStart, "ExecStartPre"),
            (Hook::PostStart, "ExecStartPost"),
            (Hook::PreStop, "ExecStop"),
            (Hook::PostStop, "ExecStopPost"),
        ] {
            let Some(command) = spec.hooks.get(hook) else { continue };
            out.set(key, hook_line(hook, command));
        }
        let words = |word: &String| match with_numbers(word, &spec.listen, 3) {
            Ok(word) => word,
            Err(_) => word.clone(),
        };
        let argv: Vec<String> = argv(spec).iter().map(words).collect();
        let from_files: Vec<(&String, &SecretSource)> = spec.secrets.iter().collect();
        if from_files.is_empty() {
            out.set("ExecStart", systemd_command(&argv));
            return;
        }
        // systemd passes secrets as files; the app needs variables.
        out.comment("Secrets are files that only this service can read; the app still gets them as variables.");
        let mut script = String::new();
        for (name, source) in from_files {
            match source {
                SecretSource::File(from) | SecretSource::Credential(from) => {
                    out.set_plain("LoadCredential", &format!("{}:", credential(name)), from, "secrets", report);
                }
                SecretSource::Command { command, .. } => {
                    let words: Vec<String> = command.argv.iter().map(|word| sh(word)).collect();
                    script.push_str(&format!("{}=$({}) && export {0} && ", variable(name), words.join(" ")));
                    continue;
                }
            }
            script.push_str(&format!("{}=$(cat \"$CREDENTIALS_DIRECTORY/{}\") && export {0} && ", variable(name), credential(name)));
            if variable(name) != *name {
                report(
                    "secrets",
                    message!("{name} is not a valid shell variable name: it is renamed to {variable}", name, variable = variable(name)),
                );
            }
        }
        script.push_str("exec \"$@\"");
        let words = ["/bin/sh", "-c", &script, "sh"].map(str::to_owned).into_iter().chain(argv);
        out.set("ExecStart", words.map(|word| systemd_word(&word)).collect::<Vec<_>>().join(" "));
    }

    fn has_sockets(&self) -> bool {
        !self.service.spec.listen.is_empty() && !self.several
    }

    fn sockets(&self, report: &mut dyn FnMut(&str, String)) -> Option<String> {
        let spec = self.service.spec;
        if !self.has_sockets() {
            return None;
        }
        let mut out = Lines::default();
        out.section("Unit");
        out.set("Description", format!("Sockets of {}", systemd_text(&spec.name)));
        out.section("Socket");
        for listen in &spec.listen {
            let address = match &listen.at {
                ListenAt::Tcp { address: Some(address), port } => std::net::SocketAddr::new(*address, *port).to_string(),
                ListenAt::Tcp { address: None, port } => port.to_string(),
                ListenAt::TcpV6 { port } => format!("[::]:{port}"),
                ListenAt::Unix { path } => path.clone(),
            };
            out.set_plain("ListenStream", "", &address, "listen", report);
            if let Some(mode) = listen.mode {
                out.set("SocketMode", format!("{mode:04o}"));
            }
            if let Some(backlog) = listen.backlog {
                out.set("Backlog", backlog.to_string());
            }
        }
        if let [listen] = &spec.listen[..] {
            out.set("FileDescriptorName", names::label_value(&listen.name));
        }
        out.set("Service", format!("{}.service", self.name()));
        out.section("Install");
        out.set("WantedBy", "sockets.target");
        Some(out.0)
    }

    fn target(&self) -> String {
        let mut out = Lines::default();
        out.section("Unit");
        out.set("Description", format!("All instances of {}", systemd_text(&self.service.spec.name)));
        let all: Vec<String> = (0..self.service.spec.instances).map(|number| format!("{}@{number}.service", self.name())).collect();
        out.set("Wants", all.join(" "));
        out.section("Install");
        out.set("WantedBy", "multi-user.target");
        out.0
    }

    /// Returns the timer of a job, or the two units that restart an app at scheduled times.
    fn timers(&self, report: &mut dyn FnMut(&str, String)) -> Files {
        let Some(cron) = self.service.cron() else { return Files::new() };
        let key = if cron.job.is_some() { "job" } else { "cron_restart" };
        let calendar = match Fields::parse(&cron.pattern) {
            Ok(fields) => fields.calendar(cron.zone.as_deref()),
            Err(why) => {
                report(
                    key,
                    message!("{pattern} cannot be a timer: {reason}", pattern = format!("{:?}", cron.pattern), reason = translated(why)),
                );
                return Files::new();
            }
        };
        let (unit, mut files) = match cron.job {
            Some(_) => (self.name(), Files::new()),
            None => {
                let mut out = Lines::default();
                out.section("Unit");
                out.set("Description", format!("Restart of {}", systemd_text(&self.service.spec.name)));
                out.section("Service");
                out.set("Type", "oneshot");
                let which = if self.several { format!("{}@*.service", self.name()) } else { format!("{}.service", self.name()) };
                out.set("ExecStart", format!("/bin/systemctl try-restart {}", systemd_word(&which)));
                let name = format!("{}-restart", self.name());
                (name.clone(), vec![(format!("systemd/{name}.service"), out.0)])
            }
        };
        let mut out = Lines::default();
        out.section("Unit");
        out.set("Description", format!("Times of {}", systemd_text(&self.service.spec.name)));
        out.section("Timer");
        out.set("OnCalendar", calendar);
        out.set("AccuracySec", "1s");
        out.set("Persistent", if cron.catch_up { "true" } else { "false" });
        out.section("Install");
        out.set("WantedBy", "timers.target");
        files.push((format!("systemd/{unit}.timer"), out.0));
        files
    }
}

/// Returns the words of the app.
fn argv(spec: &AppSpec) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(interpreter) = &spec.interpreter {
        // A name is searched on the service's PATH, as a shell would do.
        words.extend(if interpreter.starts_with('/') {
            vec![interpreter.clone()]
        } else {
            vec!["/usr/bin/env".into(), interpreter.clone()]
        });
        words.extend(spec.interpreter_args.iter().cloned());
    }
    words.push(spec.script.clone());
    words.extend(spec.args.iter().cloned());
    words
}

/// Returns a command with its time limit. `-`: its failure does not affect the service.
fn hook_line(hook: Hook, spec: &HookSpec) -> String {
    let is_fatal = match spec.on_failure {
        Some(OnFailure::Abort) => true,
        Some(OnFailure::Continue) => false,
        None => hook == Hook::PreStart,
    };
    let seconds = format!("{}", spec.timeout_ms().div_ceil(1000));
    let mut words = vec!["/usr/bin/timeout".to_owned(), seconds];
    words.extend(spec.command.argv.iter().cloned());
    let text = words.iter().map(|word| systemd_word(word)).collect::<Vec<_>>().join(" ");
    if is_fatal { text } else { format!("-{text}") }
}

fn kind(service: &Service<'_>) -> &'static str {
    match (service.kind, service.spec.ready.proof()) {
        (Lifecycle::Job | Lifecycle::Once, _) => "oneshot",
        (Lifecycle::Server, Some(ReadyBy::Notify)) => "notify",
        (Lifecycle::Server, _) => "exec",
    }
}

fn start_limit(out: &mut Lines, spec: &AppSpec) {
    let restart = &spec.restart;
    if let Some(budget) = restart.budget {
        out.comment("restart_budget: after that, it stays stopped.");
        out.set("StartLimitBurst", budget.n.to_string());
        out.set("StartLimitIntervalSec", format!("{}ms", budget.window_ms));
    } else if restart.exp_backoff_ms > 0 && restart.max_restarts.is_none() {
        out.comment("The delay grows; there is no final stop.");
        out.set("StartLimitIntervalSec", "0");
    } else {
        let most = restart.max_restarts.unwrap_or(RESTARTS);
        let each = restart.min_uptime_ms.unwrap_or(1000).saturating_add(restart.restart_delay_ms.max(100));
        out.comment("max_restarts of runs shorter than min_uptime in a row: after that, it stays stopped.");
        out.set("StartLimitBurst", most.saturating_add(1).to_string());
        out.set("StartLimitIntervalSec", format!("{}ms", each.saturating_mul(u64::from(most) + 1)));
    }
}

fn environment(unit: &Unit<'_>, plan: &Plan<'_>, out: &mut Lines, report: &mut dyn FnMut(&str, String)) {
    let spec = unit.service.spec;
    for path in &unit.service.env_files {
        out.set_plain("EnvironmentFile", "", &format!("{}/{path}", plan.project.dir), "env_file", report);
    }
    let both: Vec<&str> = unit.service.env.keys().filter(|name| spec.env.file.contains_key(*name)).map(String::as_str).collect();
    if !both.is_empty() {
        report(
            "env_file",
            message!("in systemd a file takes precedence over Environment: remove {names} from one of them", names = both.join(", ")),
        );
    }
    for (name, value) in &unit.service.env {
        out.set("Environment", systemd(&format!("{name}={value}"), false));
    }
    if unit.several {
        let name = spec.env.instance_var.as_deref().unwrap_or("NODE_APP_INSTANCE");
        out.set("Environment", format!("\"{}=%i\"", systemd(name, false).trim_matches('"')));
    }
    let hidden: Vec<&String> = unit.service.secrets.iter().filter(|name| !spec.secrets.contains_key(*name)).collect();
    if !hidden.is_empty() {
        let list: Vec<&str> = hidden.iter().map(|name| name.as_str()).collect();
        let file = format!("/etc/{}/{}.env", unit.project, unit.service.name);
        out.comment(&format!(
            "Every user can read units, so secrets are not in them. Create a file that only root can read (mode 0600) with: {}",
            list.join(", ")
        ));
        out.set("EnvironmentFile", &file);
        report("env", message!("put {names} into {file}, mode 0600", names = list.join(", "), file));
    }
}

fn restart(out: &mut Lines, service: &Service<'_>) {
    let restart = &service.spec.restart;
    if service.kind != Lifecycle::Server {
        if let Some(job) = service.cron().and_then(|cron| cron.job.as_ref()) {
            if let Some(timeout) = job.timeout_ms {
                out.set("TimeoutStartSec", format!("{timeout}ms"));
            }
            if job.retries > 0 {
                out.comment(&format!(
                    "At most {} retries, which StartLimitBurst would count over all runs: systemd retries without a limit.",
                    job.retries
                ));
                out.set("Restart", "on-failure");
                out.set("RestartSec", format!("{}ms", job.retry_delay_ms));
            }
        }
        return;
    }
    out.set("Restart", "always");
    if restart.exp_backoff_ms > 0 {
        out.set("RestartSec", format!("{}ms", restart.exp_backoff_ms));
        out.comment("From systemd 254 on; older versions always use the first delay.");
        out.set("RestartSteps", "10");
        out.set("RestartMaxDelaySec", "15s");
    } else if restart.restart_delay_ms > 0 {
        out.set("RestartSec", format!("{}ms", restart.restart_delay_ms));
    }
    if !restart.stop_exit_codes.is_empty() {
        let codes: Vec<String> = restart.stop_exit_codes.iter().map(i32::to_string).collect();
        out.set("RestartPreventExitStatus", codes.join(" "));
    }
    if let Some(most) = restart.max_lifetime_ms {
        out.set("RuntimeMaxSec", format!("{most}ms"));
    }
    if let Some(timeout) = service.spec.ready.listen_timeout_ms {
        out.set("TimeoutStartSec", format!("{timeout}ms"));
    }
    if let Some(watchdog) = service.spec.ready.watchdog_ms {
        out.set("WatchdogSec", format!("{watchdog}ms"));
        out.set("NotifyAccess", "all");
    } else if kind(service) == "notify" {
        out.set("NotifyAccess", "all");
    }
}

fn stop(out: &mut Lines, spec: &AppSpec) {
    let stop = &spec.stop;
    // ostler's default, which is also PM2's.
    out.set("KillSignal", stop.signal.map_or_else(|| "SIGINT".to_owned(), |number| number.to_string()));
    out.set("TimeoutStopSec", format!("{}ms", stop.kill_timeout_ms.unwrap_or(1600)));
    let mode = match stop.kill_mode() {
        KillMode::Tree => "control-group",
        KillMode::Mixed => "mixed",
        KillMode::Process => "process",
    };
    out.set("KillMode", mode);
}

fn rights_and_limits(out: &mut Lines, spec: &AppSpec, report: &mut dyn FnMut(&str, String)) {
    match (&spec.uid, &spec.gid) {
        (None, None) => {
            out.comment("Runs as root unless a user is set: `uid` in the ecosystem file, or here.");
            out.comment("User=app");
            report("uid", message!("no user is set: the unit runs as root"));
        }
        (uid, gid) => {
            uid.iter().for_each(|uid| out.set_plain("User", "", uid, "uid", report));
            gid.iter().for_each(|gid| out.set_plain("Group", "", gid, "gid", report));
        }
    }
    out.set("NoNewPrivileges", "true");
    let shares_tmp = spec.sandbox.as_deref().is_some_and(|sandbox| sandbox.private_tmp == Some(false));
    out.set("PrivateTmp", if shares_tmp { "false" } else { "true" });
    for (name, value) in crate::sandbox::directives(spec, report) {
        out.set(name, value);
    }
    spec.limits.nice.iter().for_each(|nice| out.set("Nice", nice.to_string()));
    spec.limits.umask.iter().for_each(|umask| out.set("UMask", format!("{umask:04o}")));
    for (name, soft, hard) in &spec.limits.rlimits {
        let bound = |bound: &Option<u64>| bound.map_or_else(|| "infinity".to_owned(), |bound| bound.to_string());
        out.set(&format!("Limit{}", name.to_ascii_uppercase()), format!("{}:{}", bound(soft), bound(hard)));
    }
    if let Some(hard) = spec.hard_limits() {
        hard.cpu_percent.iter().for_each(|percent| out.set("CPUQuota", format!("{percent}%")));
        hard.pids.iter().for_each(|pids| out.set("TasksMax", pids.to_string()));
        hard.io_weight.iter().for_each(|weight| out.set("IOWeight", weight.to_string()));
    }
    let amount = |amount: ostler_core::health::limits::MemoryAmount| match amount {
        ostler_core::health::limits::MemoryAmount::Bytes(bytes) => bytes.to_string(),
        ostler_core::health::limits::MemoryAmount::Share(share) => format!("{}%", (share / 100).max(1)),
    };
    let hard = spec.hard_limits().and_then(|hard| hard.memory);
    let soft = spec.safeguards.as_ref().and_then(|safeguards| safeguards.memory);
    if let Some(memory) = hard.or(soft) {
        out.set("MemoryMax", amount(memory));
    }
}

fn output(out: &mut Lines, spec: &AppSpec, several: bool, report: &mut dyn FnMut(&str, String)) {
    if spec.logs.disable_logs {
        out.set("StandardOutput", "null");
        out.set("StandardError", "null");
        return;
    }
    let file = |path: &String| {
        let ending = if several && !spec.logs.merge_logs { "-%i" } else { "" };
        let path = systemd_plain(path)?;
        let (stem, extension) = path.rsplit_once('.').filter(|(_, extension)| !extension.contains('/')).unwrap_or((&path, ""));
        Some(if extension.is_empty() { format!("append:{path}{ending}") } else { format!("append:{stem}{ending}.{extension}") })
    };
    let mut set = |out: &mut Lines, key: &str, of: &str, path: &String| match file(path) {
        Some(value) => out.set(key, value),
        None => report(of, message!("{value} cannot be written in a unit ({key}=)", value = format!("{path:?}"), key)),
    };
    let is_file = |path: &&String| !path.starts_with("/dev/") && !path.starts_with("/proc/");
    let (out_file, error_file) = (spec.logs.out_file.as_ref().filter(is_file), spec.logs.error_file.as_ref().filter(is_file));
    match (out_file, error_file) {
        (None, None) => out.comment("Output goes to the journal: journalctl -u <unit>."),
        (to, error) => {
            to.iter().for_each(|path| set(out, "StandardOutput", "out_file", path));
            error.iter().for_each(|path| set(out, "StandardError", "error_file", path));
        }
    }
}

/// Returns a name of a credential.
fn credential(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' }).collect()
}

/// Returns a name of a variable that a shell accepts.
fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}
