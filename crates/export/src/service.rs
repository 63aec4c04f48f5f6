//! An app in the terms of an engine: a valid name, a port, variables, secrets, number.

use std::collections::BTreeMap;

use ostler_core::app::diff::looks_secret;
use ostler_core::app::export_settings::{ExportSettings, export_settings};
use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::health::limits::MemoryAmount;
use ostler_core::lifecycle::order::Condition;
use ostler_core::message;
use ostler_core::serving::{AutoscaleSettings, ListenAt, ReadyBy};
use serde_json::Value;

use crate::base::{self, Base};
use crate::project::Project;
use crate::{Notice, names};

/// Default grace period of an app, in milliseconds.
const GRACE_MS: u64 = 1600;

/// Kind of lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// It is kept running.
    Server,
    /// It runs once (`autorestart: false`).
    Once,
    /// It runs at scheduled times.
    Job,
}

/// Number of instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Replicas {
    /// A fixed number.
    Fixed(u32),
    /// One per CPU of the machine.
    PerCpu,
    /// A number that follows the load.
    Range(AutoscaleSettings),
}

/// An app with the values derived from it.
#[derive(Clone, Debug)]
pub(crate) struct Service<'a> {
    pub spec: &'a AppSpec,
    /// Unique DNS label.
    pub name: String,
    /// Base of its image.
    pub base: Base,
    /// Its folder in the project, or the project's own if it is outside.
    pub folder: String,
    pub kind: Lifecycle,
    /// Port at which it serves.
    pub port: Option<u16>,
    /// All its ports.
    pub ports: Vec<u16>,
    /// Variables that are not secret.
    pub env: EnvMap,
    /// Names of variables whose values are secret.
    pub secrets: Vec<String>,
    /// Files of variables, in the project.
    pub env_files: Vec<String>,
    pub replicas: Replicas,
    /// Settings of the app that only exports use.
    pub settings: ExportSettings,
    /// Labels of its dependencies, with their conditions.
    pub depends_on: Vec<(String, Condition)>,
}

impl Service<'_> {
    /// Returns the time from the polite signal to the exit of all processes, in whole seconds:
    /// drain, grace period, hooks, and one extra second.
    pub(crate) fn grace_seconds(&self) -> u64 {
        let stop = &self.spec.stop;
        let hooks = [&self.spec.hooks.pre_stop, &self.spec.hooks.post_stop];
        let hooks: u64 = hooks.into_iter().flatten().map(|hook| hook.timeout_ms()).fold(0, u64::saturating_add);
        let all = stop.kill_timeout_ms.unwrap_or(GRACE_MS).saturating_add(stop.drain_timeout_ms.unwrap_or(0)).saturating_add(hooks);
        (all.div_ceil(1000) + 1).min(86_400)
    }

    /// Returns true if it is started with the others. A job is not running between its times, but
    /// the user did not choose that.
    pub(crate) fn is_started(&self) -> bool {
        self.spec.given.open().get("autostart") != Some(&Value::Bool(false))
    }

    /// Returns the number of containers, if the CPUs of one machine do not determine it.
    pub(crate) fn count(&self) -> u32 {
        if self.is_started() { self.container_count() } else { 0 }
    }

    /// Returns the number of containers once it is started.
    pub(crate) fn container_count(&self) -> u32 {
        match &self.replicas {
            Replicas::Fixed(count) => *count,
            Replicas::PerCpu => 2,
            Replicas::Range(range) => range.min,
        }
    }

    /// Returns the hard limit of memory in bytes: its own, or else 25 % above the limit at which
    /// ostler replaces an instance.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        self.hard_memory().or_else(|| self.soft_memory().map(|bytes| bytes.saturating_add(bytes / 4)))
    }

    /// Returns `memory_max` in bytes.
    pub(crate) fn hard_memory(&self) -> Option<u64> {
        fixed(self.spec.hard_limits()?.memory?)
    }

    /// Returns `max_memory_restart` in bytes.
    pub(crate) fn soft_memory(&self) -> Option<u64> {
        fixed(self.spec.safeguards.as_ref()?.memory?)
    }

    /// Returns `cpu_quota` in percent of one core.
    pub(crate) fn cpu_percent(&self) -> Option<u32> {
        self.spec.hard_limits()?.cpu_percent
    }

    /// Returns the CPU that an engine reserves, in percent of one core: the value of `export`, or
    /// else `cpu_quota`. It is never more than the limit, because engines reject that.
    pub(crate) fn cpu_request(&self) -> Option<u32> {
        let limit = self.cpu_percent();
        let request = self.settings.cpu_request.or(limit)?;
        Some(limit.map_or(request, |limit| request.min(limit)))
    }

    /// Returns the memory that an engine reserves, in bytes: the value of `export`, or else
    /// `max_memory_restart`, or else `memory_max`. It is never more than the limit.
    pub(crate) fn memory_request(&self) -> Option<u64> {
        let request = self.settings.memory_request.or_else(|| self.soft_memory()).or_else(|| self.hard_memory())?;
        Some(self.memory_limit().map_or(request, |limit| request.min(limit)))
    }

    /// Returns the words that run it without ostler, in an image.
    pub(crate) fn command(&self, project: &Project) -> Vec<String> {
        let spec = self.spec;
        let inside = |path: &str| project.inside(path).map_or_else(|| path.to_owned(), crate::project::below_app);
        let mut words = Vec::new();
        if let Some(interpreter) = &spec.interpreter {
            words.push(interpreter.rsplit('/').next().unwrap_or(interpreter).to_owned());
            words.extend(spec.interpreter_args.iter().cloned());
        }
        let program = inside(&spec.script);
        let is_ours = project.inside(&spec.script).is_some();
        // A program of this machine has another path in an image, so only its name is used there.
        words.push(if is_ours { program } else { program.rsplit('/').next().unwrap_or_default().to_owned() });
        if spec.shell {
            // Every image has this shell.
            words.clear();
            words.push("sh".into());
        }
        words.extend(spec.args.iter().map(|word| if word.starts_with('/') { inside(word) } else { word.clone() }));
        words
    }

    /// Returns the app's folder in an image.
    pub(crate) fn workdir(&self, project: &Project) -> String {
        crate::project::below_app(project.inside(&self.spec.cwd).unwrap_or_default())
    }

    /// Returns true if it runs a program with an official image.
    pub(crate) fn has_official_image(&self) -> bool {
        matches!(self.base, Base::Official(_))
    }

    /// Returns its schedule, if any.
    pub(crate) fn cron(&self) -> Option<&ostler_core::cron::CronSpec> {
        self.spec.cron.as_deref()
    }
}

/// Returns bytes; a part of a machine's memory is no fixed amount.
fn fixed(amount: MemoryAmount) -> Option<u64> {
    match amount {
        MemoryAmount::Bytes(bytes) => Some(bytes),
        MemoryAmount::Share(_) => None,
    }
}

/// Returns the apps of a project; reports facts about each.
pub(crate) fn services<'a>(project: &'a Project, notices: &mut Vec<Notice>) -> Vec<Service<'a>> {
    let names = names::labels(project.apps.iter().map(|app| app.name.as_str()));
    let by_name: BTreeMap<&str, &String> = project.apps.iter().map(|app| app.name.as_str()).zip(&names).collect();
    let mut all = Vec::with_capacity(names.len());
    for (spec, name) in project.apps.iter().zip(&names) {
        let mut report = |key: &str, why: String| notices.push(Notice::new(spec.name.as_str(), key, why));
        if *name != spec.name {
            report("name", message!("engines accept DNS labels only: it is renamed to {name}", name));
        }
        let folder = project.inside(&spec.cwd).map(str::to_owned);
        if folder.is_none() {
            report(
                "cwd",
                message!("{folder} is outside {project}; an image contains only that folder", folder = spec.cwd, project = project.dir),
            );
        }
        let folder = folder.unwrap_or_default();
        let base = base::of(spec, project, &folder);
        let mut depends_on = Vec::new();
        for (other, condition) in &spec.order.depends_on {
            match by_name.get(other.as_str()) {
                Some(label) => depends_on.push(((*label).clone(), *condition)),
                None => report("depends_on", message!("{app} is not among the apps that are exported", app = other)),
            }
        }
        let (mut env, mut secrets) = (EnvMap::new(), Vec::new());
        let profile = spec.env.profile.as_ref().and_then(|name| spec.env.profiles.get(name));
        for (variable, value) in spec.env.vars.iter().chain(profile.into_iter().flatten()) {
            if value.contains('\0') || variable.is_empty() || variable.contains(['=', '\0']) {
                report("env", message!("{variable} cannot be a variable of a process", variable = format!("{variable:?}")));
            } else if is_secret(variable, value) {
                env.shift_remove(variable);
                push_new(&mut secrets, variable);
            } else {
                env.insert(variable.clone(), value.clone());
            }
        }
        for variable in spec.secrets.keys() {
            env.shift_remove(variable);
            push_new(&mut secrets, variable);
        }
        if spec.listen.iter().any(|listen| matches!(listen.at, ListenAt::Unix { .. })) {
            report("listen", message!("a socket file in a container is not visible outside it"));
        }
        let is_own = |listen: &&ostler_core::serving::Listen| matches!(&listen.at, ListenAt::Tcp { address: Some(address), .. } if address.is_loopback());
        if let Some(listen) = spec.listen.iter().find(is_own) {
            report(
                "listen",
                message!("{address} is the container itself: the app must listen on all addresses in it", address = listen.at),
            );
        }
        let ports = ports(spec);
        for (variable, value) in &env {
            if let Some(port) = local_port(value)
                && !ports.contains(&port)
            {
                report(
                    "env",
                    message!(
                        "{variable} names this machine (port {port}): inside a container that is the container itself",
                        variable,
                        port
                    ),
                );
            }
        }
        let mut env_files = Vec::new();
        for (path, inside, _) in crate::project::env_files(project, spec) {
            match inside {
                Some(inside) => env_files.push(inside),
                None => report("env_file", message!("{path} is outside the project", path)),
            }
        }
        let replicas = match (&spec.autoscale, is_per_cpu(spec)) {
            (Some(range), _) => Replicas::Range(range.clone()),
            (None, true) => Replicas::PerCpu,
            (None, false) => Replicas::Fixed(spec.instances),
        };
        for (key, amount) in [
            ("memory_max", spec.hard_limits().and_then(|hard| hard.memory)),
            ("max_memory_restart", spec.safeguards.as_ref().and_then(|safeguards| safeguards.memory)),
        ] {
            if matches!(amount, Some(MemoryAmount::Share(_))) {
                report(key, message!("a percentage of the machine's memory cannot be a limit elsewhere: write bytes"));
            }
        }
        let kind = if spec.is_job() {
            Lifecycle::Job
        } else if spec.restart.autorestart {
            Lifecycle::Server
        } else {
            Lifecycle::Once
        };
        let port = ports.first().copied().or_else(|| base.port());
        let settings = spec.given.open().get("export").and_then(|value| export_settings(value).ok()).unwrap_or_default();
        let service =
            Service { spec, name: name.clone(), base, folder, kind, port, ports, env, secrets, env_files, replicas, settings, depends_on };
        if service.settings.cpu_request.is_some_and(|request| service.cpu_percent().is_some_and(|limit| request > limit)) {
            report("export", message!("requests.cpu is above cpu_quota: the request is set to the limit"));
        }
        if service.settings.memory_request.is_some_and(|request| service.memory_limit().is_some_and(|limit| request > limit)) {
            report("export", message!("requests.memory is above the memory limit: the request is set to the limit"));
        }
        all.push(service);
    }
    all
}

fn push_new(list: &mut Vec<String>, name: &str) {
    if !list.iter().any(|own| own == name) {
        list.push(name.to_owned());
    }
}

/// Returns true for a secret value: by its name, or an address with a password.
pub(crate) fn is_secret(name: &str, value: &str) -> bool {
    let has_password = || {
        let (_, rest) = value.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let (user, _) = authority.rsplit_once('@')?;
        user.split_once(':').filter(|(_, password)| !password.is_empty())
    };
    looks_secret(name) || has_password().is_some()
}

/// Returns the ports at which it serves: declared sockets, or else `PORT`, or else that of a check.
fn ports(spec: &AppSpec) -> Vec<u16> {
    let mut all: Vec<u16> = Vec::new();
    for listen in &spec.listen {
        if let ListenAt::Tcp { port, .. } = listen.at
            && port > 0
            && !all.contains(&port)
        {
            all.push(port);
        }
    }
    let profile = spec.env.profile.as_ref().and_then(|name| spec.env.profiles.get(name));
    let of_env = || {
        [profile, Some(&spec.env.vars), Some(&spec.env.file)].into_iter().flatten().find_map(|vars| vars.get("PORT")?.trim().parse().ok())
    };
    let of_checks = || {
        let checks = spec.health().into_iter().flat_map(|health| [&health.readiness, &health.liveness, &health.startup]).flatten();
        let checked = checks.filter_map(|check| match &check.method {
            ostler_core::health::CheckMethod::Http(probe) => Some(probe.port),
            ostler_core::health::CheckMethod::Tcp { port, .. } => Some(*port),
            ostler_core::health::CheckMethod::Command(_) => None,
        });
        let ready = spec.ready.proof().and_then(|proof| match proof {
            ReadyBy::Http(probe) => Some(probe.port),
            ReadyBy::Tcp { port, .. } => Some(port),
            _ => None,
        });
        checked.chain(ready).next()
    };
    if all.is_empty() {
        all.extend(of_env().or_else(of_checks).filter(|port| *port > 0));
    }
    all
}

/// Returns true for `max`, 0 and negative numbers.
fn is_per_cpu(spec: &AppSpec) -> bool {
    match spec.given.open().get("instances") {
        Some(Value::String(text)) => text == "max" || text.parse::<i64>().is_ok_and(|count| count <= 0),
        Some(value) => value.as_i64().is_some_and(|count| count <= 0),
        None => false,
    }
}

/// Returns the port in `localhost:port` and similar values.
fn local_port(value: &str) -> Option<u16> {
    let after = ["localhost:", "127.0.0.1:", "[::1]:"].iter().find_map(|host| value.split_once(host).map(|(_, after)| after))?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_detected_by_name_and_in_urls() {
        for (name, value, secret) in [
            ("DB_PASSWORD", "x", true),
            ("DATABASE_URL", "postgres://u:p@db/x", true),
            ("DATABASE_URL", "postgres://db:5432/x", false),
            ("DATABASE_URL", "postgres://u@db:5432/x", false),
            ("URL", "http://a/b?x=y:z@c", false),
            ("PORT", "3000", false),
        ] {
            assert_eq!(is_secret(name, value), secret, "{name} {value}");
        }
    }

    #[test]
    fn local_port_reads_port_of_local_address() {
        assert_eq!(local_port("redis://localhost:6379/0"), Some(6379));
        assert_eq!(local_port("127.0.0.1:80"), Some(80));
        assert_eq!(local_port("http://localhost/"), None);
        assert_eq!(local_port("db:5432"), None);
    }
}
