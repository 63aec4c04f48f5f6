//! `report`: the first facts that a supporter needs, without secrets.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use ostler_core::logs::masking::{mask, masked, secrets};
use ostler_core::message;
use serde_json::{Map, Value, json};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::json as print_json;

/// Lines of the daemon's log.
const LINES: usize = 20;
/// Bytes at the end of the log that are searched for these lines.
const LOG_BYTES: u64 = 64 << 10;

/// Prints the report, even if no daemon answers. Nothing is started.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    let (mut peer, mut apps, mut details) = (None, Vec::new(), Value::Null);
    if let Ok(Some(client)) = cx.running_client() {
        apps = client.table()?;
        let text = serde_json::to_vec(&client.inspect(&[])?).unwrap_or_default();
        details = serde_json::from_slice(&text).unwrap_or_default();
        peer = client.peer().cloned();
    }
    let secrets = secrets(&details);
    let log: Vec<String> = last_lines(&cx.paths()?.log).iter().map(|line| masked(line, &secrets)).collect();
    mask(&mut details, &secrets);
    let daemon = peer.map(|peer| {
        let memory = ["daemon", "keeper"].into_iter().zip([peer.pid, peer.keeper_pid]);
        let memory: Map<String, Value> =
            memory.map(|(who, pid)| (format!("{who}_memory_bytes"), ostler_sys::process::sample::memory(pid).ok().into())).collect();
        json!({ "version": peer.version, "pid": peer.pid, "keeper_pid": peer.keeper_pid, "memory": memory })
    });
    let report = json!({
        "date": jiff::Timestamp::now().to_string(),
        "ostler": { "version": env!("CARGO_PKG_VERSION"), "program": std::env::current_exe().ok(), "called_as": cx.program.name(), "home": home },
        "daemon": daemon,
        "system": system(),
        "apps": details,
        "log": log,
    });
    if call.has("json") {
        print_json(&mut cx.out, &report);
        return Ok(Status::Ok);
    }
    let fence = "=".repeat(79);
    cx.out.line(format_args!("\n\n\n{fence}"));
    section(cx, "ostler report", &json!({ "Date": report["date"] }));
    section(cx, "Daemon", if daemon.is_some() { &report["daemon"] } else { &Value::Null });
    section(cx, "CLI", &report["ostler"]);
    section(cx, "System info", &report["system"]);
    heading(cx, "Apps");
    if daemon.is_some() {
        let table = crate::render::list_table(&apps, &cx.out.view());
        cx.out.line(table.trim_end_matches('\n'));
    }
    heading(cx, "Daemon logs");
    log.iter().for_each(|line| cx.out.line(line));
    cx.out.line(&fence);
    cx.out.line(message!("Put this into an issue. Values that look like secrets are masked; read the report before you share it."));
    Ok(Status::Ok)
}

fn heading(cx: &mut Cx, title: &str) {
    cx.out.line(format_args!("--- {title} {}", "-".repeat(74_usize.saturating_sub(title.len()))));
}

/// Prints a section of names and values.
fn section(cx: &mut Cx, title: &str, values: &Value) {
    heading(cx, title);
    match values {
        Value::Object(values) => lines(cx, "", values),
        _ => cx.out.line("not running"),
    }
}

fn lines(cx: &mut Cx, prefix: &str, values: &Map<String, Value>) {
    for (name, value) in values {
        match value {
            Value::Object(inner) => lines(cx, &format!("{prefix}{name} "), inner),
            Value::String(text) => cx.out.line(format_args!("{:<22}: {}", format!("{prefix}{name}"), crate::text::shown(text))),
            other => cx.out.line(format_args!("{:<22}: {other}", format!("{prefix}{name}"))),
        }
    }
}

/// Describes this machine.
fn system() -> Value {
    let line = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| Some(text.lines().next()?.trim().to_owned()));
    let field = |path: &str, name: &str, mark: char| {
        let text = std::fs::read_to_string(path).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(mark))?;
        Some(value.trim().trim_matches('"').to_owned())
    };
    let files = ostler_sys::process::rlimit::nofile().soft;
    json!({
        "kernel": line("/proc/sys/kernel/osrelease"),
        "distribution": field("/etc/os-release", "PRETTY_NAME", '='),
        "architecture": std::env::consts::ARCH,
        "cpus": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory": field("/proc/meminfo", "MemTotal", ':'),
        "uptime_s": line("/proc/uptime").and_then(|text| text.split('.').next()?.parse::<u64>().ok()),
        "cgroup_v2": Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        "open_files": (files != u64::MAX).then_some(files),
        "uid": rustix::process::getuid().as_raw(),
        "in_container": Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists(),
    })
}

/// Returns the last lines of a file, or none if the file does not exist.
fn last_lines(path: &Path) -> Vec<String> {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let text = read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| crate::text::shown(line).to_string()).collect()
}
