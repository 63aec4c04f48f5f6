//! Apps of a fictitious machine.

use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::cron::{CronSpec, JobSpec, Ticks};
use ostler_core::health::HealthState as Health;
use ostler_core::lifecycle::{ExitCause, ExitRecord, Instance, InstanceState, Origin, PolicyName, ProcessEnding};
use ostler_core::time::Now;
use ostler_proto::control::{
    AppFacts, Detail, FaultReport, Files, HealthReport, HostReport, InterfaceReport, Monit, MountReport, ReplicaReport, RolloutReport,
    RolloutState, TableRow,
};
use ostler_proto::event::{Event, EventCause, EventKind, LostProcesses};
use ostler_proto::health::LastAnswer;
use serde_json::json;

/// Time of all outputs: 2026-11-21 03:56:40 UTC.
pub(crate) const NOW_MS: u64 = 1_795_233_400_000;

/// A row of the list.
pub(crate) fn row(id: u32, name: &str) -> TableRow {
    TableRow {
        id,
        name: name.into(),
        namespace: "nsA".into(),
        version: Some("1.2.3".into()),
        mode: ExecMode::Fork,
        pid: 28414,
        status: "online".into(),
        uptime_ms: Some(28_000),
        restarts: 0,
        monit: Monit { cpu_pct: 0.0, memory_bytes: 51_904_512, processes: 1 },
        user: "root".into(),
        watching: false,
        health: None,
        trouble: None,
        last_exit: None,
        recent_exits: 0,
        exceeded: None,
        memory_limit: None,
        sandbox: None,
        module: false,
    }
}

/// A list with difficult rows: long and wide names, every state, large numbers.
pub(crate) fn rows() -> Vec<TableRow> {
    vec![
        TableRow { mode: ExecMode::Cluster, watching: true, ..row(0, "api") },
        TableRow {
            status: "waiting restart".into(),
            pid: 0,
            uptime_ms: None,
            restarts: 1234,
            monit: Monit { cpu_pct: 99.949, memory_bytes: 3 << 40, processes: 12 },
            version: None,
            ..row(1234, "日本語のとても長い名前のアプリケーション名")
        },
        TableRow { status: "errored".into(), pid: 0, uptime_ms: None, ..row(7, "🚀 rocket") },
        TableRow { status: "stopped".into(), pid: 0, uptime_ms: None, user: "deployment-user".into(), ..row(8, &"x".repeat(60)) },
        TableRow {
            status: "launching".into(),
            uptime_ms: Some(200_000_000),
            namespace: "a-long-namespace".into(),
            ..row(9, "a\u{1b}[2Jb\n")
        },
    ]
}

/// [`rows`], with a health check for one row.
pub(crate) fn rows_with_health() -> Vec<TableRow> {
    let mut rows = rows();
    rows[0].health = Some(Health::Unhealthy);
    rows
}

/// Metrics of the machine.
pub(crate) fn host() -> HostReport {
    HostReport {
        cpu_pct: 21.1,
        memory_total_bytes: 1000,
        memory_available_bytes: 974,
        interfaces: vec![
            InterfaceReport { name: "lo".into(), mb_s: (0.444, 0.444), ..InterfaceReport::default() },
            InterfaceReport { name: "eth0".into(), ..InterfaceReport::default() },
            InterfaceReport { name: "eth1".into(), mb_s: (0.0, 1.0), errors_min: (1.0, 2.0), ..InterfaceReport::default() },
        ],
        disk_mb_s: (0.006, 0.028),
        mounts: vec![
            MountReport { path: "/".into(), use_pct: 53.6, size_gb: 1.0 },
            MountReport { path: "/data".into(), use_pct: 91.0, size_gb: 1.0 },
        ],
    }
}

/// An instance that was added and never started.
pub(crate) fn stopped() -> Detail {
    let mut spec = AppSpec {
        name: "web".into(),
        script: "/srv/app.js".into(),
        cwd: "/srv".into(),
        interpreter: Some("node".into()),
        ..AppSpec::default()
    };
    spec.args = vec!["one".into(), "two words".into()];
    spec.env.vars = [("PORT".to_owned(), "80".to_owned()), ("HOME".to_owned(), "/root".to_owned())].into_iter().collect();
    Detail {
        ticks: Ticks::default(),
        id: 0,
        index: 0,
        unique_id: "u".into(),
        spec,
        instance: Instance::new(Now::at(NOW_MS - 54_465)),
        learned: AppFacts::default(),
        monit: Monit::default(),
        files: Files {
            out: Some("/h/logs/web-out.log".into()),
            error: Some("/h/logs/web-error.log".into()),
            combined: None,
            pid: "/h/pids/web-0.pid".into(),
        },
        user: "root".into(),
        home: "/h".into(),
        waits_for: Vec::new(),
        health: None,
        cause: None,
        kept: Default::default(),
        observations: Vec::new(),
    }
}

/// Events that led to the state of [`troubled`], and unrelated events.
pub(crate) fn events() -> Vec<Event> {
    let crash = || EventCause::policy(PolicyName::Autorestart, "exited with code 1".to_owned());
    let measured = EventCause::policy(PolicyName::Autoscale, "uses 171 % of a core with 2 instances".to_owned());
    let by_user = EventCause::User { command: "start".into(), uid: 1000, pid: 70, on_behalf_of: None };
    let exit = |pid| EventKind::Exit { pid, ending: ProcessEnding::Code(1), uptime_ms: 850 };
    let recovered = |lost| EventKind::Recovered { lost, running: 3, ended: 0 };
    let happened = [
        (None, None, recovered(LostProcesses::Keeper), EventCause::policy(PolicyName::Recovery, None)),
        (Some("checkout-service"), Some(3), EventKind::Online { pid: 4711 }, by_user),
        (Some("checkout-service"), Some(4), EventKind::Stopped, EventCause::App),
        (Some("checkout-service"), Some(3), exit(4712), EventCause::App),
        (Some("checkout-service"), Some(3), EventKind::Restarting { delay_ms: 100 }, crash()),
        (None, None, recovered(LostProcesses::Daemon), EventCause::policy(PolicyName::Recovery, None)),
        (Some("checkout-service"), Some(3), EventKind::Online { pid: 4713 }, crash()),
        (None, None, EventKind::ListSaved { instances: 4 }, EventCause::App),
        (Some("checkout-service"), None, EventKind::LogRotated { file: "/x".into() }, EventCause::App),
        (Some("checkout-service"), None, EventKind::Scaled { from: 2, to: 4 }, measured),
        (Some("other"), Some(3), EventKind::Stopped, EventCause::App),
    ];
    let event = |(seq, (app, id, what, cause)): (u64, (Option<&str>, _, _, _))| Event {
        epoch: 1,
        seq,
        at_ms: NOW_MS - 200_000 + seq * 1_000,
        app: app.map(str::to_owned),
        id,
        kind: what,
        cause,
        before: None,
        after: None,
    };
    (1..).zip(happened).map(event).collect()
}

/// An instance with a history: it runs, is unhealthy, and exited twice before.
pub(crate) fn troubled() -> Detail {
    let mut detail = stopped();
    detail.id = 3;
    detail.spec.name = "checkout-service".into();
    detail.spec.script = "/srv/shop/releases/2026-11-20T18-00-00Z/services/checkout/dist/server.js".into();
    detail.spec.mode = ExecMode::Cluster;
    detail.spec.env.vars.insert("DATABASE_URL".into(), format!("postgres://db.internal:5432/{}", "shop".repeat(20)));
    detail.instance.state = InstanceState::Running { inc: 3, pid: 4713, since: Now::at(NOW_MS - 180_000) };
    detail.instance.counters.restarts = 2;
    detail.instance.counters.last_start = Some(Now::at(NOW_MS - 180_000));
    detail.instance.exits.push(exit(
        1,
        400_000,
        ProcessEnding::Signal { signal: 15, core: false },
        ExitCause::Requested(Origin::User { command: "restart".into(), uid: 1000, pid: 77, on_behalf_of: Some("alice".into()) }),
    ));
    let lines =
        ["Error: \u{1b}[31mconnect ECONNREFUSED 10.0.0.5:5432", "    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1607:16)"];
    detail
        .instance
        .exits
        .push(ExitRecord { last_lines: lines.map(str::to_owned).into(), ..exit(2, 181_000, ProcessEnding::Code(1), ExitCause::Itself) });
    detail.learned.node_version = Some("22.11.0".into());
    detail.learned.axm_actions.push(json!({ "action_name": "km:heapdump" }));
    detail.learned.axm_monitor.insert("Heap Usage".into(), json!({ "value": 59.94, "unit": "%" }));
    detail.health = Some(HealthReport {
        state: Health::Unhealthy,
        since: Now::at(NOW_MS - 170_000),
        failures: 5,
        last: Some(LastAnswer { at: Now::at(NOW_MS - 2_000), good: false, words: "HTTP request to localhost:80: 503".into() }),
    });
    detail
}

/// An instance that crashed until its policy gave up.
pub(crate) fn crashed() -> Detail {
    let mut detail = stopped();
    detail.spec.name = "mailer".into();
    detail.instance.state = InstanceState::Errored;
    detail.instance.counters.unstable = 3;
    for (inc, ago_ms) in [(1, 903_000), (2, 902_000), (3, 901_000)] {
        let last_lines = ["TypeError: Cannot read properties of undefined (reading 'url')", "    at Timeout._onTimeout (/srv/app.js:7:31)"];
        let ended = exit(inc, ago_ms, ProcessEnding::Code(1), ExitCause::Itself);
        detail.instance.exits.push(ExitRecord { last_lines: last_lines.map(str::to_owned).into(), ..ended });
    }
    detail
}

/// An instance that waits for another app.
pub(crate) fn waiting() -> Detail {
    let mut detail = stopped();
    detail.instance.state = InstanceState::Waiting { since: Now::at(NOW_MS - 1_000), deadline_ms: NOW_MS, automatic: false };
    detail.waits_for = vec!["db is not healthy yet".into()];
    detail
}

fn exit(inc: u32, ago_ms: u64, ending: ProcessEnding, cause: ExitCause) -> ExitRecord {
    let ended = NOW_MS - ago_ms;
    ExitRecord {
        inc,
        pid: 4710 + inc.cast_signed(),
        started: Now::at(ended - 850),
        ended: Now::at(ended),
        ending,
        cause,
        last_lines: vec![],
    }
}

/// A job that ran once, and a job that never ran.
pub(crate) fn jobs() -> Vec<Detail> {
    let job = |id, name: &str, next_ms| {
        let mut detail = stopped();
        detail.id = id;
        detail.spec.name = name.into();
        detail.spec.cron = Some(Box::new(CronSpec::job("0 3 * * *".into(), JobSpec::default())));
        detail.ticks = Ticks { armed: true, next_ms: Some(next_ms), ..Ticks::default() };
        detail
    };
    let mut ran = job(4, "nightly-report", NOW_MS + 82_800_000);
    ran.instance.exits.push(exit(1, 3_400_000, ProcessEnding::Code(1), ExitCause::Itself));
    vec![ran, job(5, "cleanup", NOW_MS + 600_000)]
}

/// A failed reload, and the release that served before and serves again.
pub(crate) fn rollouts() -> [RolloutReport; 2] {
    let failed = RolloutReport {
        app: "api".into(),
        release: 3,
        version: Some("1.2.0".into()),
        script: "/srv/api/current/app.js".into(),
        command: "reload".into(),
        started_ms: NOW_MS - 9_500,
        ended_ms: Some(NOW_MS - 8_000),
        state: RolloutState::Failed,
        current: false,
        replicas: vec![ReplicaReport { id: 0, state: "failed".into() }, ReplicaReport { id: 1, state: "waiting".into() }],
        fault: Some(FaultReport { id: 0, reason: "exited with code 1 before it was ready".into(), last_lines: vec!["Error: no".into()] }),
        cut: 2,
    };
    let serving = RolloutReport { release: 2, state: RolloutState::Done, current: true, fault: None, cut: 0, ..failed.clone() };
    [serving, failed]
}

/// Names that are hard to lay out: wide, long, from right to left, with sequences of a terminal.
pub(crate) fn hostile_names() -> Vec<String> {
    vec![
        "订单服务".repeat(50),
        "👨\u{200d}👩\u{200d}👧\u{200d}👦".repeat(40),
        "\u{2764}\u{fe0f}".repeat(60),
        "חנות\u{202e}".repeat(40),
        "\u{1b}[31m\u{1b}[2Jred\u{7}\n\t".repeat(10),
        "x".repeat(200),
        "two words ".repeat(20),
        "e\u{301}".repeat(90),
        String::new(),
    ]
}
