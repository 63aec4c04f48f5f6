//! `describe`: PM2's tables.

use std::fmt::Write;

use ostler_core::app::git::WorkingTree;
use ostler_core::app::hooks::{Hook, Hooks};
use ostler_core::app::secrets::Secrets;
use ostler_core::app::{CombinedLog, ExecMode};
use ostler_core::lifecycle::order::Dependencies;
use ostler_core::lifecycle::{ExitRecord, InstanceState};
use ostler_core::marked;
use ostler_core::text::language::translated;
use ostler_proto::control::Detail;
use ostler_proto::instance::OpenSocket;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::age::age;
use super::connections::connections;
use super::face::UserName;
use super::jobs::next_run;
use super::sandbox::sandbox;
use super::style::{Paint, styles};
use super::table::status_style;
use super::view::View;
use super::why::{headline, health_line};
use crate::text::{fit, shown, wrap};

/// Facts for a description, apart from the instance itself.
pub(crate) struct DescribeContext<'a> {
    /// Name to type.
    pub program: &'a str,
    /// Name of a user.
    pub user: UserName<'a>,
    /// Environment of the caller.
    pub env: &'a ostler_core::app::EnvMap,
    /// View for which the description is rendered.
    pub view: &'a View,
    /// Commit in the app's folder.
    pub versioning: Option<WorkingTree>,
}

/// Returns the tables about one instance.
pub(crate) fn describe(detail: &Detail, around: &DescribeContext<'_>) -> String {
    let view = around.view;
    let paint = view.paint;
    let name = shown(&detail.spec.name);
    let mut out = String::new();
    title(&mut out, paint, &format!(" Describing process with id {} - name {name} ", detail.id));
    table(&mut out, view, &rows(detail, view));
    if let Some(versioning) = &around.versioning {
        title(&mut out, paint, " Revision control metadata ");
        table(&mut out, view, &revision(versioning));
    }
    if let Some(exit) = detail.instance.exits.last() {
        last_exit(&mut out, view, exit);
    }
    actions(&mut out, detail, around);
    metrics(&mut out, detail, view);
    title(&mut out, paint, " Divergent env variables from local env ");
    table(&mut out, view, &divergent(detail, around));
    let _ = writeln!(
        out,
        "\n{}",
        paint.with(
            styles::GREY,
            format_args!(
                " Use `{0} logs {name} [--lines 1000]` to display logs\n Use `{0} env {1}` to display environment variables\n \
                 Use `{0} why {1}` to see its last exits",
                around.program, detail.id
            )
        )
    );
    out
}

fn title(out: &mut String, paint: Paint, text: &str) {
    let _ = writeln!(out, "{}", paint.with(styles::INVERSE.bold(), text));
}

fn rows(detail: &Detail, view: &View) -> Vec<(String, String)> {
    let spec = &detail.spec;
    let counters = &detail.instance.counters;
    let given = |key: &str| spec.given.open().get(key).map(plain);
    let or_none = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "N/A".into());
    let online = matches!(detail.instance.state, InstanceState::Running { .. });
    let uptime = counters.last_start.filter(|_| online).map_or_else(|| "0".into(), |start| age(view.since(start.wall_ms)));
    let combined = spec.logs.log_file.as_ref().and_then(|log| match log {
        CombinedLog::Path(path) => detail.files.combined.clone().or_else(|| Some(path.clone())),
        CombinedLog::Default => detail.files.combined.clone(),
    });
    let env = spec.env.merged();
    let mode = if spec.mode == ExecMode::Fork { "fork_mode" } else { "cluster_mode" };
    let sockets = &detail.learned.sockets;
    let listens = || sockets.iter().map(open_socket).collect::<Vec<_>>();
    let all = [
        ("status", Some(detail.instance.status().to_owned())),
        ("name", Some(shown(&spec.name))),
        ("namespace", Some(shown(&spec.namespace))),
        ("version", Some(or_none(spec.version.clone()))),
        ("restarts", Some(counters.restarts.to_string())),
        ("health", detail.health.as_ref().map(|health| health_line(health, view))),
        ("max memory restart", given("max_memory_restart")),
        ("cron restart", given("cron_restart").filter(|_| !spec.is_job())),
        ("job", spec.cron.as_ref().filter(|cron| cron.job.is_some()).map(|cron| shown(&cron.pattern))),
        ("next run", spec.cron.is_some().then(|| next_run(detail, view).unwrap_or_else(|| "none, it was stopped".into()))),
        ("uptime", Some(uptime)),
        ("entire log path", combined),
        ("script path", Some(shown(&spec.script))),
        ("script args", Some(or_none(Some(shown(&spec.args.join(" ")))))),
        ("error log path", Some(or_none(detail.files.error.clone()))),
        ("out log path", Some(or_none(detail.files.out.clone()))),
        ("pid path", Some(detail.files.pid.clone())),
        ("listens at", (!sockets.is_empty()).then(|| listens().join(", "))),
        ("says", detail.learned.status.as_deref().map(shown)),
        ("depends on", (!spec.order.depends_on.is_empty()).then(|| dependencies(&spec.order))),
        ("waits for", (!detail.waits_for.is_empty()).then(|| shown(&detail.waits_for.join(", ")))),
        ("hooks", hooks(&spec.hooks)),
        ("secrets", (!spec.secrets.is_empty()).then(|| secrets(&spec.secrets))),
        ("interpreter", Some(spec.interpreter.clone().unwrap_or_else(|| "none".into()))),
        ("interpreter args", Some(or_none(Some(spec.interpreter_args.join(" "))))),
        ("script id", Some(detail.id.to_string())),
        ("exec cwd", Some(shown(&spec.cwd))),
        ("exec mode", Some(mode.into())),
        ("connections", connections(detail)),
        ("sandbox", sandbox(detail)),
        ("node.js version", Some(or_none(detail.learned.node_version.clone()))),
        ("node env", Some(or_none(env.get("NODE_ENV").cloned()))),
        ("watch & reload", Some(if watches(spec.given.open().get("watch")) { "✔" } else { "✘" }.into())),
        ("unstable restarts", Some(counters.unstable.to_string())),
        ("created at", Some(counters.created.map_or_else(|| "N/A".into(), |now| iso(now.wall_ms)))),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// Describes a socket that processes of the app got.
pub(super) fn open_socket(socket: &OpenSocket) -> String {
    let address = shown(&socket.address);
    // A socket that a program opened by itself has no name.
    if socket.name.is_empty() { address } else { format!("{address} ({})", shown(&socket.name)) }
}

/// Returns the TCP port of a socket's address.
pub(super) fn port_of(address: &str) -> Option<u16> {
    let is_path = address.starts_with(['/', '@']);
    address.rsplit([':', ' ']).next().filter(|_| !is_path)?.parse().ok()
}

/// Returns the rows about the commit in the app's folder.
pub(super) fn revision(of: &WorkingTree) -> Vec<(String, String)> {
    let or_none = |text: &Option<String>| text.as_deref().map_or_else(|| "N/A".into(), shown);
    let all = [
        (marked!("revision control"), "git".to_owned()),
        (marked!("remote url"), or_none(&of.url)),
        (marked!("repository root"), shown(&of.root.to_string_lossy())),
        (marked!("revision"), of.revision.clone()),
        (marked!("branch"), or_none(&of.branch)),
    ];
    all.into_iter().map(|(key, value)| (translated(key).to_owned(), value)).collect()
}

/// Formats dependencies as `db (healthy), cache (ready)`.
pub(super) fn dependencies(order: &Dependencies) -> String {
    let shown = order.depends_on.iter().map(|(name, condition)| format!("{} ({})", shown(name), condition.as_str()));
    shown.collect::<Vec<_>>().join(", ")
}

/// Formats hooks as `pre_start, on_crash`.
pub(super) fn hooks(hooks: &Hooks) -> Option<String> {
    let names: Vec<&str> = Hook::ALL.into_iter().filter(|hook| hooks.get(*hook).is_some()).map(Hook::name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Formats secrets as `DB_PASSWORD (file), TOKEN (command)`.
pub(super) fn secrets(secrets: &Secrets) -> String {
    let shown = secrets.iter().map(|(name, source)| format!("{} ({})", shown(name), source.kind()));
    shown.collect::<Vec<_>>().join(", ")
}

fn watches(value: Option<&Value>) -> bool {
    !matches!(value, None | Some(Value::Null | Value::Bool(false)))
}

/// Formats text unchanged, and every other value as JSON.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Formats a time as `2026-11-21T03:55:45.535Z`.
fn iso(ms: u64) -> String {
    let stamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| "N/A".into(), |stamp| format!("{stamp:.3}"))
}

fn last_exit(out: &mut String, view: &View, exit: &ExitRecord) {
    title(out, view.paint, " Last exit ");
    let mut rows = vec![("how".to_owned(), headline(exit, view))];
    rows.extend(exit.last_lines.iter().rev().take(3).rev().map(|line| ("line".to_owned(), shown(line))));
    table(out, view, &rows);
}

fn actions(out: &mut String, detail: &Detail, around: &DescribeContext<'_>) {
    let names = detail.learned.axm_actions.iter().filter_map(|action| action.get("action_name")?.as_str());
    let rows: Vec<(String, String)> = names.map(|name| (shown(name), String::new())).collect();
    if rows.is_empty() {
        return;
    }
    title(out, around.view.paint, " Actions available ");
    table(out, around.view, &rows);
    let hint = format!(" Trigger via: {} trigger {} <action_name>\n", around.program, shown(&detail.spec.name));
    let _ = writeln!(out, "{}", around.view.paint.with(styles::GREY, hint));
}

fn metrics(out: &mut String, detail: &Detail, view: &View) {
    let rows = metric_rows(detail);
    if !rows.is_empty() {
        title(out, view.paint, " Code metrics value ");
        table(out, view, &rows);
    }
}

/// Returns the metrics that the app reports, with their units.
pub(super) fn metric_rows(detail: &Detail) -> Vec<(String, String)> {
    let metric = |(name, metric): (&String, &Value)| {
        let unit = metric.get("unit").map(plain).unwrap_or_default();
        let value = metric.get("value").map(plain).unwrap_or_default();
        (shown(name), shown(format!("{value} {unit}").trim_end()))
    };
    detail.learned.axm_monitor.iter().map(metric).collect()
}

/// Returns the variables for which the caller has another value.
pub(super) fn divergent(detail: &Detail, around: &DescribeContext<'_>) -> Vec<(String, String)> {
    let most = around.view.width.map_or(240, |width| width.saturating_sub(60).max(20));
    let app = detail.spec.env.merged();
    let differs = |(key, value): (String, String)| {
        let ours = around.env.get(&key).filter(|ours| **ours != value && key != "_" && key != "SHLVL")?;
        let _ = ours;
        let value = shown(&value);
        let value = if value.width() > most { fit(&value, most) } else { value };
        Some((shown(&key), value))
    };
    app.into_iter().filter_map(differs).collect()
}

/// Prints two columns, as wide as needed or as there is room. Longer text continues on the next
/// line. Without rows it prints an empty line, as PM2 does.
fn table(out: &mut String, view: &View, rows: &[(String, String)]) {
    if rows.is_empty() {
        out.push('\n');
        return;
    }
    let paint = view.paint;
    let (keys, values) = widths(rows, view.width);
    let rule = |[left, cross, right]: [char; 3]| {
        paint.with(styles::BORDER, format!("{left}{}{cross}{}{right}", "─".repeat(keys + 2), "─".repeat(values + 2)))
    };
    let bar = paint.with(styles::BORDER, '│').to_string();
    let _ = writeln!(out, "{}", rule(['┌', '┬', '┐']));
    for (key, value) in rows {
        let style = if key == "status" { status_style(value) } else { anstyle::Style::new() };
        let (key, value) = (wrap(key, keys), wrap(value, values));
        for line in 0..key.len().max(value.len()) {
            let part = |lines: &[String], width: usize| fit(lines.get(line).map_or("", String::as_str), width);
            let cell = part(&value, values);
            let text = cell.trim_end();
            let head = paint.with(styles::HEADER, format!(" {} ", part(&key, keys)));
            let _ = writeln!(out, "{bar}{head}{bar} {}{} {bar}", paint.with(style, text), &cell[text.len()..]);
        }
    }
    let _ = writeln!(out, "{}", rule(['└', '┴', '┘']));
}

/// Returns the widths of keys and values, without the blanks beside them.
fn widths(rows: &[(String, String)], room: Option<usize>) -> (usize, usize) {
    /// Borders and blanks.
    const FRAME: usize = 7;
    let widest = |pick: fn(&(String, String)) -> &String| rows.iter().map(|row| pick(row).width()).max().unwrap_or(0);
    let (keys, values) = (widest(|row| &row.0), widest(|row| &row.1));
    let Some(room) = room.map(|room| room.saturating_sub(FRAME)).filter(|room| keys + values > *room) else { return (keys, values) };
    let keys = keys.min(room / 2).max(1);
    (keys, room.saturating_sub(keys).max(2).min(values))
}
