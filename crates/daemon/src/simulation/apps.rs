//! Apps of an episode and commands of their user.

use ostler_core::app::hooks::{Hook, HookSpec};
use ostler_core::app::{AppSpec, EnvMap, ExecMode};
use ostler_core::cron::CronSpec;
use ostler_core::health::safeguards::Safeguards;
use ostler_core::health::{Check, CheckMethod, HealthSpec};
use ostler_core::lifecycle::command::Command;
use ostler_core::lifecycle::order::Condition;
use ostler_core::serving::{AutoscaleSettings, ReadyBy, Scheduling};
use ostler_proto::control::{Action, Change, Existing, Request, ScaleTo};
use ostler_testkit::Rng;

use super::lines::writes;
use super::probes::add_check;
use super::reach::{Extra, Reach};
use super::watched::watches;

/// Most apps of an episode; dependencies name the first app.
const APPS: usize = 3;

/// Path of a program that does not exist, so the daemon does not query its version.
const NODE: &str = "/nowhere/node";

/// Returns random descriptions.
pub(super) fn descriptions(rng: &mut Rng, reach: Reach, cwd: &str) -> Vec<AppSpec> {
    let count = 1 + rng.below(APPS);
    let mut all: Vec<AppSpec> = (0..count).map(|number| description(number, rng, cwd)).collect();
    // Drawn after everything that an ordinary episode draws.
    all.iter_mut().for_each(|spec| extend(spec, rng, reach, cwd));
    all
}

/// Adds the extras of an episode.
fn extend(spec: &mut AppSpec, rng: &mut Rng, reach: Reach, home: &str) {
    if reach.has(Extra::Autoscale) && rng.percent(60) {
        let min = 1 + rng.below(2) as u32;
        spec.autoscale = Some(AutoscaleSettings { min, max: min + rng.below(3) as u32, cpu: rng.pick(&[30, 50, 80]) });
        spec.instances = min;
        // An app whose instances are replaced all the time is not scaled.
        (spec.restart.max_lifetime_ms, spec.cron) = (None, None);
    }
    if reach.has(Extra::Cluster) && rng.percent(70) {
        (spec.mode, spec.interpreter, spec.script) = (ExecMode::Cluster, Some(NODE.into()), "/app.js".into());
        spec.no_preload = true;
        spec.scheduling = rng.pick(&[Scheduling::RoundRobin, Scheduling::RoundRobin, Scheduling::Shared]);
    }
    if reach.has(Extra::Watch) || reach.has(Extra::Probes) {
        // No other reason than the tested one may replace an instance.
        (spec.restart.max_lifetime_ms, spec.cron) = (None, None);
    }
    if reach.has(Extra::Probes) && rng.percent(80) {
        let number = spec.name.trim_start_matches('a').parse().unwrap_or_default();
        add_check(spec, number, spec.interpreter.as_deref() == Some(NODE), rng);
    }
    if reach.has(Extra::Watch) && rng.percent(70) {
        watches(spec, home, rng);
    }
    if reach.has(Extra::Handover) && spec.mode == ExecMode::Fork && rng.percent(70) {
        spec.ready.by.get_or_insert(Box::new(ReadyBy::Notify));
    }
    if reach.has(Extra::Logs) {
        writes(spec, home, rng);
    }
}

fn description(number: usize, rng: &mut Rng, cwd: &str) -> AppSpec {
    let mut spec = AppSpec {
        name: format!("a{number}"),
        script: "/bin/true".into(),
        cwd: cwd.into(),
        instances: 1 + rng.below(2) as u32,
        instances_given: true,
        ..AppSpec::default()
    };
    if rng.percent(20) {
        // Two instances can serve side by side.
        (spec.mode, spec.interpreter, spec.script) = (ExecMode::Cluster, Some("/bin/true".into()), "/app.js".into());
    }
    spec.restart.max_restarts = rng.pick(&[None, Some(2), Some(5)]);
    spec.restart.min_uptime_ms = rng.pick(&[None, Some(100), Some(5000)]);
    spec.restart.restart_delay_ms = rng.pick(&[0, 0, 100, 3000]);
    spec.restart.exp_backoff_ms = rng.pick(&[0, 0, 0, 50]);
    spec.restart.autorestart = !rng.percent(15);
    spec.restart.max_lifetime_ms = rng.pick(&[None, None, None, Some(20_000)]);
    spec.stop.kill_timeout_ms = rng.pick(&[None, Some(50), Some(4000)]);
    spec.stop.shutdown_with_message = rng.percent(10);
    spec.ready.wait_ready = rng.percent(40);
    spec.ready.accept_timeout = rng.percent(30);
    spec.ready.listen_timeout_ms = rng.pick(&[None, Some(200)]);
    for hook in Hook::ALL {
        if rng.percent(15) {
            let timeout_ms = rng.pick(&[None, Some(500)]);
            spec.hooks.set(hook, Some(HookSpec { command: Command::shell("true"), timeout_ms, on_failure: None }));
        }
    }
    if number > 0 && rng.percent(30) {
        spec.order.depends_on.insert("a0".into(), rng.pick(&[Condition::Started, Condition::Healthy]));
        spec.order.timeout_ms = rng.pick(&[None, Some(2000)]);
    }
    if rng.percent(15) {
        spec.cron = Some(Box::new(CronSpec::restarts("*/1 * * * *".into())));
    }
    if rng.percent(20) {
        let check = Check {
            method: CheckMethod::Command(vec!["true".into()]),
            interval_ms: 1000,
            timeout_ms: 500,
            failures: 2,
            successes: 1,
            delay_ms: 0,
        };
        let health = HealthSpec { liveness: Some(check), ..HealthSpec::default() };
        spec.safeguards = Some(Box::new(Safeguards { health, ..Safeguards::default() }));
    }
    spec
}

/// Command of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserCommand {
    Start,
    Stop,
    Restart,
    Reload,
    Delete,
    Reset,
    Scale(u32),
    /// `stop --watch`, and `restart --watch`, which turns file watching on again.
    StopWatch,
    RestartWatch,
}

impl UserCommand {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let scale = Self::Scale(1 + rng.below(3) as u32);
        rng.pick(&[
            Self::Start,
            Self::Start,
            Self::Start,
            Self::Stop,
            Self::Stop,
            Self::Restart,
            Self::Restart,
            Self::Reload,
            Self::Delete,
            Self::Reset,
            scale,
        ])
    }

    pub(super) fn request(self, spec: &AppSpec) -> Request {
        let act = |action| Request::Act {
            action,
            targets: vec![spec.name.clone()],
            cwd: String::new(),
            change: None,
            parallel: 0,
            gentle: false,
            canary_ms: None,
            command: format!("{action:?}").to_lowercase(),
            named_only: false,
            confirm: None,
            namespace: None,
            together: false,
        };
        match self {
            Self::Start => Request::Start {
                apps: vec![spec.clone()],
                base_env: EnvMap::from([("APP".to_owned(), spec.name.clone()), ("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
                existing: Existing::Restart,
                command: "start".into(),
                confirm: None,
                named_only: false,
                as_pm2: false,
            },
            Self::Stop => act(Action::Stop),
            Self::Restart => act(Action::Restart),
            Self::Reload => act(Action::Reload),
            Self::Delete => act(Action::Delete),
            Self::Reset => act(Action::Reset),
            Self::StopWatch => with_watch(act(Action::Stop), spec, false),
            Self::RestartWatch => with_watch(act(Action::Restart), spec, true),
            Self::Scale(to) => {
                Request::Scale { name: spec.name.clone(), cwd: String::new(), to: ScaleTo::Exactly(to), oldest_first: false, confirm: None }
            }
        }
    }
}

/// Returns the same request with file watching on or off.
fn with_watch(mut request: Request, spec: &AppSpec, on: bool) -> Request {
    if let Request::Act { change, .. } = &mut request {
        let mut spec = spec.clone();
        spec.watch.on = on;
        *change = Some(Box::new(Change { specs: vec![spec], ..Change::default() }));
    }
    request
}
