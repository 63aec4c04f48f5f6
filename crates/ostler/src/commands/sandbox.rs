//! `sandbox learn`: proposes a sandbox from the behaviour of a running app. It reads `/proc` and traces
//! nothing, so the app does not notice it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ostler_core::app::sandbox::Profile;
use ostler_core::app::sandbox::learn::{Observed, propose};
use ostler_core::app::sandbox::own_folder::{installation_of, is_shared, project_of};
use ostler_core::message;
use ostler_proto::control::{Detail, Failure};
use ostler_sys::net::{connected, listening};
use ostler_sys::process::descriptors::descriptor;
use ostler_sys::process::tree::with_descendants;

use crate::cli::{Call, missing_argument};
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};
use crate::render::json;
use crate::text::shown;

/// Default duration of the observation.
const MS: u64 = 30_000;
/// Time between two looks. Files that are open for a shorter time may be missed.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs `learn <app>`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    match call.targets.as_slice() {
        [word, target] if word == "learn" => learn(cx, call, target),
        [word] if word == "learn" => Err(missing_argument("name".into(), "sandbox").into()),
        [other, ..] => Err(UsageError::unknown_value("sandbox", other, &["learn"]).into()),
        [] => Err(missing_argument("learn".into(), "sandbox").into()),
    }
}

fn learn(cx: &mut Cx, call: &Call, target: &str) -> Result<Status, CliError> {
    let ms = length(call)?;
    let details = cx.find(&[target.to_owned()])?;
    let Some(first) = details.first() else { return Ok(Status::Ok) };
    let pids: Vec<i32> =
        details.iter().filter(|detail| detail.spec.name == first.spec.name).filter_map(|detail| detail.instance.pid()).collect();
    if pids.is_empty() {
        let text =
            message!("{app} does not run; start it without a sandbox and use it while `sandbox learn` observes", app = first.spec.name);
        return Err(Failure::Other(text).into());
    }
    if !call.has("json") {
        cx.out.info(message!(
            "observing {app} for {seconds} s; use it in the meantime",
            app = shown(&first.spec.name),
            seconds = ms / 1000
        ));
    }
    let observed = observe(&pids, Duration::from_millis(ms));
    let homes = homes(first);
    let is_several = |folder: &Path| is_shared(folder, homes.iter().map(PathBuf::as_path));
    let has = |folder: &Path, file: &str| folder.join(file).symlink_metadata().is_ok();
    let program = pids.first().and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
    let mut covered: Vec<PathBuf> = project_of(Path::new(&first.spec.script), has, is_several).into_iter().collect();
    covered.extend(Some(PathBuf::from(&first.spec.cwd)).filter(|cwd| !is_several(cwd)));
    covered.extend(program.iter().flat_map(|program| installation_of(program, is_several)));
    covered.push(PathBuf::from(&first.spec.script));
    let profile = if call.has("strict") { Profile::Strict } else { Profile::Web };
    let proposal = propose(&first.spec, &observed, profile, &covered, &homes);
    if call.has("json") {
        json(&mut cx.out, &serde_json::json!({ "app": first.spec.name, "observed_ms": ms, "sandbox": proposal }));
        return Ok(Status::Ok);
    }
    let text = serde_json::to_string_pretty(&proposal).unwrap_or_default();
    cx.out.line(format_args!("\"sandbox\": {text}"));
    cx.out.hint(message!(
        "check it, add it to {app} in the ecosystem file, and restart the app; it names only what was observed",
        app = shown(&first.spec.name)
    ));
    Ok(Status::Ok)
}

fn length(call: &Call) -> Result<u64, UsageError> {
    let bad = |reason: String| UsageError::BadValue { option: "--for".into(), reason };
    let ms = match call.value("for") {
        Some(text) => ostler_core::text::units::millis(text).map_err(|error| bad(error.to_string()))?,
        None => MS,
    };
    if (1..=86_400_000).contains(&ms) { Ok(ms) } else { Err(bad(message!("expected a time up to a day"))) }
}

/// Returns the homes of the app's user and of the caller, and ostler's home, which is the last.
fn homes(detail: &Detail) -> Vec<PathBuf> {
    let of_user = ostler_sys::users::user::identity(Some(&detail.user), detail.spec.gid.as_deref()).ok().flatten();
    let home = of_user.and_then(|identity| identity.user).map(|user| PathBuf::from(user.home));
    home.into_iter().chain(std::env::var_os("HOME").map(PathBuf::from)).chain([PathBuf::from(&detail.home)]).collect()
}

/// Observes processes and their descendants. Processes that exit are no longer observed, and those of a
/// restart are not.
fn observe(leaders: &[i32], period: Duration) -> Observed {
    let (began, mut observed) = (Instant::now(), Observed::default());
    loop {
        let pids: Vec<i32> = leaders.iter().flat_map(|pid| with_descendants(*pid)).collect();
        for pid in &pids {
            look(*pid, &mut observed);
        }
        observed.listening.extend(listening::tcp_ports_of(&pids));
        let remote = connected::remote_ports_of(&pids, &observed.listening);
        observed.connected.extend(remote);
        let left = period.saturating_sub(began.elapsed());
        if left.is_zero() {
            return observed;
        }
        std::thread::sleep(left.min(PAUSE));
    }
}

fn look(pid: i32, observed: &mut Observed) {
    let is_there = |path: &PathBuf| !path.to_string_lossy().ends_with(" (deleted)");
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(open) = number.and_then(|number| descriptor(pid, number)) else { continue };
        let Some(path) = open.path.filter(is_there) else { continue };
        if open.writes {
            observed.written.insert(path)
        } else {
            observed.read.insert(path)
        };
    }
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mapped: BTreeSet<&str> = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])).collect();
    observed.read.extend(mapped.into_iter().map(PathBuf::from).filter(is_there));
    observed.read.extend(std::fs::read_link(format!("/proc/{pid}/cwd")).ok());
}
