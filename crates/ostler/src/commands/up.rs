//! `up`: run the apps of this folder's file as the file describes them. No other app is touched. In
//! the foreground, it shows their lines until they are stopped.

mod exits;
mod failure;
mod front;
mod unchanged;

use std::sync::Arc;
use std::time::Duration;

use ostler_core::app::AppSpec;
use ostler_core::{marked, message};
use ostler_export::{Notice, NoticeKind};
use ostler_proto::control::{Action, Detail, Existing, Failure, Request, ScaleTo};
use serde_json::json;
use unicode_width::UnicodeWidthStr as _;

use self::exits::AbortOn;
use self::front::Front;
use super::launch::share_base;
use super::project::{self, AppStep, Plan, Project, app_names, foreign, is_member, plan};
use super::request::request;
use super::wait_healthy::{StateWords, wait_until_healthy};
use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, CommandError, ProjectError, Status, UsageError};
use crate::logs::{self, LineFormat, StartPositions, StreamFormat};
use crate::render::face::Mark;
use crate::render::{self, ProjectLook, Wording, styles};
use crate::signals::Signals;
use crate::text::shown;

/// Default time limit of `--wait`.
const WAIT_TIMEOUT: Duration = Duration::from_secs(300);

/// Starts the project.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    if call.has("build") {
        let instead = marked!("add the build command as `pre_start`, or export the project: `ostler export compose`");
        return Err(CommandError::NoImages { option: "build", program: cx.program.name(), instead }.into());
    }
    let context = super::files::context(cx, call)?;
    let limit = wait_limit(call)?;
    if (call.has("detach") || limit.is_some()) && abort_on(call) != AbortOn::Nothing {
        return Err(UsageError::BadValue {
            option: "--abort-on-container-exit".into(),
            reason: message!("stops a project in the foreground; leave out --detach and --wait"),
        }
        .into());
    }
    let files = project::files(call, &context)?;
    if files.is_empty() {
        return Err(CliError::NotFound(message!("no ecosystem file or compose file in this folder or above: name one with --file")));
    }
    let project = project::read(cx, call, &files)?;
    for file in &files {
        project::name_file(cx, call, file);
    }
    report_ignored_keys(cx, call, &project);
    if project.wanted.is_empty() && project.none_of.is_empty() {
        return Err(CliError::unchanged(ProjectError::NothingToRun(project.file)));
    }
    let running = cx.client()?.inspect(&[])?;
    if let Some(error) = foreign(&project.wanted, &project.name, &project.file, &running) {
        return Err(CliError::unchanged(error));
    }
    let members: Vec<Detail> = running.into_iter().filter(|detail| is_member(detail, Some(&project.file), Some(&project.name))).collect();
    let plan = plan(&project.wanted, &project.all, &members);
    if call.has("detach") || limit.is_some() {
        let done = carry_out(cx, call, &project, &plan, &members);
        report(cx, call, &project, &plan);
        let has_changed = done.map_err(|error| explain(cx, call, &project, error))?;
        report_unchanged(cx, call, &project, &plan, has_changed);
        return limit.map_or(Ok(Status::Ok), |limit| wait(cx, call, &project, limit));
    }
    in_front(cx, call, &project, &plan, &members)
}

fn wait_limit(call: &Call) -> Result<Option<Duration>, UsageError> {
    match call.value("wait-timeout") {
        Some(text) => ostler_core::text::units::millis(text)
            .map(|ms| Some(Duration::from_millis(ms)))
            .map_err(|error| UsageError::BadValue { option: "--wait-timeout".into(), reason: error.to_string() }),
        None => Ok(call.has("wait").then_some(WAIT_TIMEOUT)),
    }
}

/// Reports on stderr what does not run as the file describes.
fn report_ignored_keys(cx: &mut Cx, call: &Call, project: &Project) {
    if call.has("json") {
        return;
    }
    for (name, why) in &project.cannot {
        cx.out.warn_err(message!("{app} is skipped: {reason}", app = shown(name), reason = shown(&why.to_string())));
    }
    // Keys that change how an app behaves get one line each; all other keys share one line.
    const IMPORTANT_KEYS: &[&str] = &["depends_on", "environment", "working_dir", "command", "env_file", "restart"];
    let is_important = |told: &Notice| told.kind != NoticeKind::Other || IMPORTANT_KEYS.contains(&told.key.as_str());
    for told in project.told.iter().filter(|told| is_important(told)) {
        let of = if told.app == "-" { String::new() } else { format!("{}: ", shown(&told.app)) };
        let key = if told.kind == NoticeKind::UnknownKey { format!("{}: ", shown(&told.key)) } else { String::new() };
        cx.out.warn_err(format_args!("{of}{key}{}", shown(&told.why)));
    }
    let mut keys: Vec<&str> = project.told.iter().filter(|told| !is_important(told)).map(|told| told.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    if !keys.is_empty() {
        cx.out.warn_err(message!(
            "without effect or with a different meaning here: {keys}; `import compose --out -` shows the reasons",
            keys = shown(&keys.join(", "))
        ));
    }
}

/// Returns the names and results that the lines of the apps show.
fn look(project: &Project, plan: &Plan) -> ProjectLook {
    let results = project.wanted.iter().zip(&plan.steps).map(|(spec, step)| (spec.name.clone(), step.word())).collect();
    let own = |spec: &AppSpec| shown(project::service(&spec.name, &project.name).unwrap_or(&spec.name)).width();
    let names = project.wanted.iter().map(own).max().unwrap_or(0);
    ProjectLook { project: project.name.clone(), results, names }
}

/// Carries out the plan: first deletions, then starts, then the numbers of instances. Returns whether
/// anything changed.
fn carry_out(cx: &mut Cx, call: &Call, project: &Project, plan: &Plan, members: &[Detail]) -> Result<bool, CliError> {
    let look = look(project, plan);
    let mut has_changed = false;
    let mut gone: Vec<String> =
        members.iter().map(|member| &member.spec.name).filter(|name| project.none_of.contains(name)).cloned().collect();
    if call.has("remove-orphans") {
        gone.extend(plan.orphans.iter().cloned());
    } else if !plan.orphans.is_empty() {
        let own = |name: &String| if cx.program.is_pm2() { name.clone() } else { shown(look.own(name)) };
        let orphans: Vec<String> = plan.orphans.iter().map(own).collect();
        cx.out.warn_err(message!("no longer in this file: {names}; --remove-orphans deletes them", names = orphans.join(", ")));
    }
    gone.dedup();
    if !gone.is_empty() {
        has_changed = true;
        cx.perform_for(&look, &request(cx, Action::Delete, call, gone, None)?, Wording::Action)?;
    }
    let touched = project.wanted.iter().zip(&plan.steps).filter(|(_, step)| **step != AppStep::Leave);
    let mut apps: Vec<AppSpec> = touched.map(|(spec, _)| spec.clone()).collect();
    if !apps.is_empty() {
        has_changed = true;
        let base_env = Arc::unwrap_or_clone(share_base(&mut apps));
        let (existing, command, as_pm2) = (Existing::Restart, call.word.clone(), cx.program.is_pm2());
        let start = Request::Start { apps, base_env, existing, command, confirm: None, named_only: false, as_pm2 };
        cx.perform_for(&look, &start, Wording::Names)?;
    }
    let rows = cx.client()?.list()?;
    for spec in project.wanted.iter().filter(|spec| spec.autoscale.is_none()) {
        let count = rows.iter().filter(|row| row.name == spec.name).count();
        if count != usize::try_from(spec.instances).unwrap_or(usize::MAX) {
            has_changed = true;
            let to = ScaleTo::Exactly(spec.instances);
            let scale = Request::Scale { name: spec.name.clone(), cwd: String::new(), to, oldest_first: false, confirm: None };
            cx.perform_for(&look, &scale, Wording::Scale)?;
        }
    }
    Ok(has_changed)
}

/// Prints which apps run as the file describes them already.
fn report_unchanged(cx: &mut Cx, call: &Call, project: &Project, plan: &Plan, has_changed: bool) {
    if cx.program.is_pm2() || call.has("json") {
        return;
    }
    let steps = project.wanted.iter().zip(&plan.steps);
    let names = steps
        .filter(|(_, step)| **step == AppStep::Leave)
        .map(|(spec, _)| project::service(&spec.name, &project.name).unwrap_or(&spec.name));
    let names: Vec<String> = names.map(shown).collect();
    if let Some(line) = unchanged::line(&project.name, &names, has_changed, &cx.out.message_style().view()) {
        cx.out.info(line);
    }
}

fn report(cx: &mut Cx, call: &Call, project: &Project, plan: &Plan) {
    if call.has("json") {
        let own = |name: &str| project::service(name, &project.name).unwrap_or(name).to_owned();
        let apps: Vec<_> = project
            .wanted
            .iter()
            .zip(&plan.steps)
            .map(|(spec, step)| json!({ "app": own(&spec.name), "name": spec.name, "step": step.word(), "instances": spec.instances }))
            .collect();
        let left_out: Vec<_> = project.cannot.iter().map(|(name, why)| json!({ "app": name, "reason": why.to_string() })).collect();
        let told: Vec<_> = project.told.iter().map(|told| json!({ "app": told.app, "attribute": told.key, "reason": told.why })).collect();
        let file = project.file.display().to_string();
        let whole = json!({ "project": project.name, "file": file, "apps": apps, "left_out": left_out, "not_carried": told, "orphans": plan.orphans });
        render::json(&mut cx.out, &whole);
        return;
    }
    // ostler's own look has a line per app already.
    if cx.program.is_pm2() {
        for (spec, step) in project.wanted.iter().zip(&plan.steps) {
            cx.out.line(format_args!("{} {}", shown(&spec.name), step.word()));
        }
    }
}

/// Waits until all apps of the project are healthy.
fn wait(cx: &mut Cx, call: &Call, project: &Project, limit: Duration) -> Result<Status, CliError> {
    // An app that has finished its work counts as healthy.
    let names: Vec<String> = project.wanted.iter().map(|spec| spec.name.clone()).collect();
    let words = StateWords::in_output(cx, call);
    let (healthy, line) = wait_until_healthy(cx, &names, limit, words, &mut |_| true)?;
    if healthy && !cx.program.is_pm2() && !call.has("json") {
        let paint = cx.out.paint_err();
        let mark = paint.with(Mark::Done.style(), Mark::Done.glyph());
        cx.out.info(format_args!("{mark} {}", message!("{name} is healthy", name = paint.with(styles::BOLD, &project.name))));
    }
    if healthy {
        return Ok(Status::Ok);
    }
    cx.out.error(message!("not all apps of {project} became healthy: {state}", project = project.name, state = line));
    Ok(Status::Failed)
}

/// Stays in the foreground: shows the lines, and stops everything at the end.
fn in_front(cx: &mut Cx, call: &Call, project: &Project, plan: &Plan, members: &[Detail]) -> Result<Status, CliError> {
    let (abort_on, from) = abort(call, project)?;
    let past = StartPositions::now(cx)?;
    let mut signals = Signals::take()?;
    cx.interrupt_on(signals.stop_fd())?;
    // Only a new connection reacts to the signals.
    cx.disconnect();
    let done = carry_out(cx, call, project, plan, members);
    cx.clear_interrupt();
    let names: Vec<String> = project.wanted.iter().map(|spec| spec.name.clone()).collect();
    match done {
        Ok(has_changed) => report_unchanged(cx, call, project, plan, has_changed),
        Err(CliError::Client(ClientError::Interrupted)) => {
            // The code below stops the started apps. This connection still has a response in
            // transit, so it is closed.
            cx.disconnect();
            signals.receive();
        }
        Err(error) => return Err(explain(cx, call, project, error)),
    }
    let started = project_details(cx, project)?;
    let targets = app_names(&started, &[])?.into_iter().filter(|name| names.contains(name)).collect::<Vec<_>>();
    let stop = request(cx, Action::Stop, call, targets.clone(), None)?;
    let form = match () {
        () if call.has("json") => LineFormat::Json,
        () if call.has("raw") => LineFormat::Raw,
        () => LineFormat::Project,
    };
    let timestamp = call.has("timestamp").then(|| call.value("timestamp").unwrap_or_default());
    let mut front = Front::new(project, targets.clone(), stop, abort_on, cx.program, call.has("json"));
    front.add_missed(&started);
    let show = StreamFormat { form, timestamp, names: Some(targets) };
    cx.disconnect();
    logs::stream_as(cx, past, &show, Some(&mut signals), &mut front)?;
    if signals.count() > 0 {
        return Ok(ended_by(&signals));
    }
    let members = project_details(cx, project)?;
    front.add_missed(&members);
    front.print(&mut cx.out);
    if abort_on != AbortOn::Nothing {
        return Ok(Status::of_app(exits::code_of(&members, from.as_deref(), abort_on == AbortOn::Failure, &front.completed)));
    }
    // All apps have exited by themselves, or another command stopped them.
    let has_failed = members.iter().any(|member| member.instance.status() == "errored" || exits::has_failed(member));
    Ok(if has_failed { Status::Failed } else { Status::Ok })
}

/// Returns the exits that stop the project, and the app whose exit code the command returns.
fn abort(call: &Call, project: &Project) -> Result<(AbortOn, Option<String>), CliError> {
    let Some(word) = call.value("exit-code-from") else { return Ok((abort_on(call), None)) };
    let named = project.wanted.iter().find(|spec| project::is_named(&spec.name, &project.name, word));
    let spec = named.ok_or_else(|| {
        let known = project.wanted.iter().map(|spec| project::service(&spec.name, &project.name).unwrap_or(&spec.name));
        let text = message!("--exit-code-from: {app} is not an app of this project; nothing was changed", app = crate::text::shown(word));
        CliError::unknown(text, word, known, "")
    })?;
    Ok((AbortOn::Exit, Some(spec.name.clone())))
}

fn abort_on(call: &Call) -> AbortOn {
    match () {
        () if ["abort-on-container-exit", "abort-on-exit", "exit-code-from"].iter().any(|name| call.has(name)) => AbortOn::Exit,
        () if call.has("abort-on-container-failure") => AbortOn::Failure,
        () => AbortOn::Nothing,
    }
}

/// Prints why the project did not start. Returns an error that prints nothing more.
fn explain(cx: &mut Cx, call: &Call, project: &Project, error: CliError) -> CliError {
    let CliError::Daemon(failure @ Failure::Some { .. }) = &error else { return error };
    if call.has("json") {
        return error;
    }
    let members = project_details(cx, project).unwrap_or_default();
    cx.out.error(failure);
    failure::report(cx, call, project, &members);
    CliError::Reported(error.status())
}

/// Returns the status of a project that a signal stopped: the exit code that a shell gives.
fn ended_by(signals: &Signals) -> Status {
    if signals.is_interrupt() { Status::Interrupted } else { Status::Terminated }
}

fn project_details(cx: &mut Cx, project: &Project) -> Result<Vec<Detail>, CliError> {
    let details = match cx.running_client()? {
        Some(client) => client.inspect(&[])?,
        None => Vec::new(),
    };
    Ok(details.into_iter().filter(|detail| is_member(detail, Some(&project.file), Some(&project.name))).collect())
}
