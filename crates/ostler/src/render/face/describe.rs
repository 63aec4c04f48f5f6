//! `describe` in ostler's own look: facts in groups, in the words of the ecosystem file.

use std::fmt::Write as _;

use ostler_client::words::span;
use ostler_core::app::{CombinedLog, ExecMode};
use ostler_core::lifecycle::InstanceState;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_proto::control::Detail;
use unicode_width::UnicodeWidthStr as _;

use super::why::{headline, last_exit};
use super::{WhyContext, memory};
use crate::render::connections::connections;
use crate::render::describe::{
    DescribeContext, dependencies, divergent, hooks, metric_rows, open_socket, plain, port_of, revision, secrets,
};
use crate::render::jobs::next_run;
use crate::render::sandbox::sandbox;
use crate::render::style::styles;
use crate::render::why::health_line;
use crate::text::{shown, wrap, wrap_commands};

/// A group of facts: names and values.
type Facts = Vec<(&'static str, String)>;

/// Describes one instance.
pub(crate) fn describe_own(detail: &Detail, context: &DescribeContext<'_>) -> String {
    let view = context.view;
    let why = WhyContext { program: context.program, events: &[], source: None, is_one_of_many: true, user: context.user, view };
    let mut out = headline(detail, &why);
    let groups = [program(detail), state(detail, context), files(detail), settings(detail)];
    let width = groups.iter().flatten().map(|(key, _)| key.width()).max().unwrap_or(0);
    for group in groups.iter().filter(|group| !group.is_empty()) {
        out.push('\n');
        for (key, value) in group {
            row(&mut out, key, value, width, context);
        }
    }
    let named = [
        (message!("Revision"), context.versioning.as_ref().map(revision).unwrap_or_default()),
        (message!("Metrics of the app"), metric_rows(detail)),
        (message!("Variables that differ from this shell"), divergent(detail, context)),
    ];
    for (title, rows) in named.iter().filter(|(_, rows)| !rows.is_empty()) {
        let _ = writeln!(out, "\n{}", view.paint.with(styles::BOLD, title));
        let width = rows.iter().map(|(key, _)| key.width()).max().unwrap_or(0).min(28);
        for (key, value) in rows {
            row(&mut out, key, value, width, context);
        }
    }
    let (program, name) = (context.program, shown(&detail.spec.name));
    let actions: Vec<String> =
        detail.learned.axm_actions.iter().filter_map(|action| action.get("action_name")?.as_str()).map(shown).collect();
    if !actions.is_empty() {
        let _ = writeln!(out, "\n{}", view.paint.with(styles::BOLD, message!("Actions")));
        let key = message!("names");
        row(&mut out, &key, &actions.join(", "), key.width(), context);
        let _ = writeln!(out, "  {}", view.paint.with(styles::DIM, format_args!("`{program} trigger {name} <action>`")));
    }
    let more = message!("more: `{program} logs {name}`, `{program} env {id}`, `{program} why {name}`", program, name, id = detail.id);
    out.push('\n');
    for line in wrap_commands(&more, view.width.unwrap_or(usize::MAX)) {
        let _ = writeln!(out, "{}", view.paint.with(styles::DIM, line));
    }
    out
}

/// Adds one fact. A long value continues below its first line.
fn row(out: &mut String, key: &str, value: &str, width: usize, context: &DescribeContext<'_>) {
    let view = context.view;
    let room = view.width.unwrap_or(usize::MAX).saturating_sub(width + 4).max(8);
    let pad = width.saturating_sub(key.width());
    for (place, line) in wrap(value, room).iter().enumerate() {
        let head = if place == 0 { format!("{}{:pad$}", view.paint.with(styles::DIM, key), "") } else { " ".repeat(width) };
        let _ = writeln!(out, "  {head}  {}", line.trim_end());
    }
}

fn collect(all: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Facts {
    all.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?))).collect()
}

fn program(detail: &Detail) -> Facts {
    let spec = &detail.spec;
    let interpreter = spec.interpreter.as_ref().map(|interpreter| match &detail.learned.node_version {
        Some(version) => format!("{} ({})", shown(interpreter), shown(version)),
        None => shown(interpreter),
    });
    collect([
        ("script", Some(shown(&spec.script))),
        ("args", Some(shown(&spec.args.join(" ")))),
        ("interpreter", interpreter),
        ("interpreter_args", Some(shown(&spec.interpreter_args.join(" ")))),
        ("cwd", Some(shown(&spec.cwd))),
        ("exec_mode", Some(if spec.mode == ExecMode::Fork { "fork".into() } else { "cluster".into() })),
        ("user", Some(shown(&detail.user))),
        ("namespace", Some(shown(&spec.namespace)).filter(|namespace| namespace != "default")),
        ("version", spec.version.as_deref().filter(|version| *version != "N/A").map(shown)),
    ])
}

fn state(detail: &Detail, context: &DescribeContext<'_>) -> Facts {
    let (spec, view) = (&detail.spec, context.view);
    let counters = &detail.instance.counters;
    let runs = matches!(detail.instance.state, InstanceState::Running { .. });
    let sockets = &detail.learned.sockets;
    let has_socket = |port: &u16| sockets.iter().any(|socket| port_of(&socket.address) == Some(*port));
    let mut listens: Vec<String> = sockets.iter().map(open_socket).collect();
    listens.extend(detail.learned.ports.iter().filter(|port| !has_socket(port)).map(|port| format!(":{port}")));
    let restarts = match counters.unstable {
        0 => counters.restarts.to_string(),
        unstable => message!("{count}, {unstable} unstable in a row", count = counters.restarts, unstable),
    };
    collect([
        ("cpu", runs.then(|| format!("{:.1}%", detail.monit.cpu_pct))),
        (translated(marked!("memory")), runs.then(|| memory(detail.monit.memory_bytes))),
        (translated(marked!("uptime")), counters.last_start.filter(|_| runs).map(|start| span(view.since(start.wall_ms)))),
        (translated(marked!("restarts")), Some(restarts)),
        (translated(marked!("listening on")), Some(listens.join(", "))),
        (translated(marked!("connections")), connections(detail)),
        (translated(marked!("sandbox")), sandbox(detail)),
        (translated(marked!("health")), detail.health.as_ref().map(|health| health_line(health, view))),
        (translated(marked!("status")), detail.learned.status.as_deref().map(shown)),
        (translated(marked!("waits for")), Some(shown(&detail.waits_for.join(", ")))),
        (translated(marked!("last exit")), detail.instance.exits.last().map(|exit| last_exit(exit, context.user, view))),
        (
            translated(marked!("next run")),
            spec.cron.is_some().then(|| next_run(detail, view).unwrap_or_else(|| message!("none, it was stopped"))),
        ),
        (translated(marked!("created")), counters.created.map(|at| view.local(at.wall_ms))),
    ])
}

fn files(detail: &Detail) -> Facts {
    let combined = detail.spec.logs.log_file.as_ref().and_then(|log| match log {
        CombinedLog::Path(path) => detail.files.combined.clone().or_else(|| Some(path.clone())),
        CombinedLog::Default => detail.files.combined.clone(),
    });
    collect([
        ("out_file", detail.files.out.as_deref().map(shown)),
        ("error_file", detail.files.error.as_deref().map(shown)),
        ("log_file", combined.as_deref().map(shown)),
        ("pid_file", Some(shown(&detail.files.pid))),
    ])
}

fn settings(detail: &Detail) -> Facts {
    let spec = &detail.spec;
    let given = |key: &str| spec.given.open().get(key).map(plain).map(|text| shown(&text));
    collect([
        ("watch", given("watch").filter(|watch| watch != "false" && watch != "null")),
        ("autorestart", given("autorestart")),
        ("max_restarts", given("max_restarts")),
        ("min_uptime", given("min_uptime")),
        ("restart_delay", given("restart_delay")),
        ("exp_backoff_restart_delay", given("exp_backoff_restart_delay")),
        ("max_memory_restart", given("max_memory_restart").map(|text| text.parse().map_or(text, memory))),
        ("kill_timeout", given("kill_timeout")),
        ("wait_ready", given("wait_ready")),
        ("listen_timeout", given("listen_timeout")),
        ("cron_restart", given("cron_restart").filter(|_| !spec.is_job())),
        ("job", spec.cron.as_ref().filter(|cron| cron.job.is_some()).map(|cron| shown(&cron.pattern))),
        ("depends_on", (!spec.order.depends_on.is_empty()).then(|| dependencies(&spec.order))),
        ("hooks", hooks(&spec.hooks)),
        ("secrets", (!spec.secrets.is_empty()).then(|| secrets(&spec.secrets))),
    ])
}
