//! `dev` and `pm2-dev`: apps in the foreground, watched, in a home of their own that lives as long
//! as this command.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_config::{Context, Overlay, from_options, merge, normalize};
use ostler_core::app::AppSpec;
use ostler_core::message;
use ostler_proto::control::{Event, Existing, Failure, Request, Response, Summary};
use ostler_proto::event::EventKind;
use serde_json::{Map, Value, json};

use super::change::EnvChoice;
use super::files::{self, Source};
use super::foreground::{self, kill_everything, stopping_line};
use super::launch;
use crate::cli::{self, Call};
use crate::client::{self, ClientError};
use crate::cx::Cx;
use crate::error::{CliError, CommandError, Status};
use crate::home::{self, Program};
use crate::logs::{self, LineFormat, Observer, StartPositions, StreamFormat};
use crate::render::Out;
use crate::signals::Signals;
use crate::text::fit;

/// Most sessions at a time; more are a mistake.
const MAX_SESSIONS: u32 = 32;
/// Delay after a crash, as in PM2.
const RESTART_DELAY_MS: u64 = 1000;
/// Time between two checks of `--auto-exit`; two checks in a row must find no running app.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// Starts the targets, shows their logs and restarts them when files change. A signal stops
/// everything.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    // `pm2-dev start app.js` is `pm2-dev app.js`.
    let mut targets = call.targets.as_slice();
    if let [word, rest @ ..] = targets
        && cx.program == Program::Pm2Dev
        && word == "start"
    {
        targets = rest;
    }
    if targets.is_empty() && cx.program == Program::Pm2Dev {
        let text = cli::command_help(cx.program.name(), call.command, cx.out.width());
        cx.out.data(text.as_bytes());
        return Ok(Status::Ok);
    }
    choose_home(cx)?;
    let context = files::context(cx, call)?;
    let apps = describe(cx, call, targets, context)?;
    let past = StartPositions::now(cx)?;
    if call.has("test-mode") {
        return begin(cx, call, &apps);
    }
    let mut session = Session::new(cx, call);
    let show =
        StreamFormat { form: if call.has("raw") { LineFormat::Raw } else { LineFormat::Session }, timestamp: timestamp(call), names: None };
    let status =
        foreground::own(cx, &mut |cx| begin(cx, call, &apps), &mut |cx, signals| follow(cx, past.clone(), &show, signals, &mut session))?;
    Ok(if session.gave_up { Status::Failed } else { status })
}

fn timestamp(call: &Call) -> Option<&str> {
    call.has("timestamp").then(|| call.value("timestamp").unwrap_or_default())
}

/// Chooses the first session home that no other process uses.
fn choose_home(cx: &mut Cx) -> Result<(), CliError> {
    for number in 1..=MAX_SESSIONS {
        let path = home::session_home(cx.program, number)?;
        if matches!(client::connect(&path), Err(ClientError::NotRunning { .. })) {
            return cx.use_home(path);
        }
    }
    Err(CommandError::TooManySessions(MAX_SESSIONS).into())
}

/// Describes the apps as they run in a session.
fn describe(cx: &mut Cx, call: &Call, targets: &[String], mut context: Context) -> Result<Vec<AppSpec>, CliError> {
    let mut sources: Vec<(Option<Source>, &str)> = targets.iter().map(|target| (Source::of(target, &context), target.as_str())).collect();
    if sources.is_empty() {
        let source = Source::required(cx, &context)?;
        sources.push((Some(source), ""));
    }
    let choice = EnvChoice::of(call)?;
    let overlay = Overlay { profile: choice.profile, vars: choice.vars, attributes: call.attributes(), ..Overlay::default() };
    let mut apps = Vec::new();
    for (source, target) in sources {
        let Some(source) = source else {
            let args = call.app_args.as_deref().unwrap_or_default();
            let overlay = Overlay { attributes: Map::new(), ..overlay.clone() };
            let found = from_options(target, &call.attributes(), args, &context, &overlay);
            let app = found.map_err(|problems| files::report(cx, None, &problems))?;
            files::warn(cx, &app.warnings);
            apps.push(app.spec);
            continue;
        };
        for app in &files::read(cx, call, &source, &mut context)?.apps {
            let app = normalize(app, &context, &overlay).map_err(|problems| files::report(cx, Some(&source), &problems))?;
            files::warn(cx, &app.warnings);
            apps.push(app.spec);
        }
    }
    apps.into_iter().map(|app| for_development(cx, call, &app, &context)).collect()
}

/// Adapts the description to development, unless the app sets something else: files are watched,
/// and the app restarts with a delay after a crash.
fn for_development(cx: &mut Cx, call: &Call, app: &AppSpec, context: &Context) -> Result<AppSpec, CliError> {
    let mut attributes = Map::from_iter([("autorestart".to_owned(), Value::Bool(true))]);
    if !app.watch.on {
        attributes.insert("watch".into(), Value::Bool(true));
    }
    let mut ignored = app.watch.ignore.clone().unwrap_or_else(|| vec!["node_modules".into()]);
    ignored.extend(named(call));
    attributes.insert("ignore_watch".into(), json!(ignored));
    if app.restart.restart_delay_ms == 0 && app.restart.exp_backoff_ms == 0 {
        attributes.insert("restart_delay".into(), RESTART_DELAY_MS.into());
    }
    merge(app, &attributes, None, context).map(|merged| merged.spec).map_err(|problems| files::report(cx, None, &problems))
}

/// Returns the names in `--ignore`.
fn named(call: &Call) -> Vec<String> {
    let names = call.values("ignore").flat_map(|list| list.split(','));
    names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Starts them, and prints that.
fn begin(cx: &mut Cx, call: &Call, apps: &[AppSpec]) -> Result<Status, CliError> {
    let mut apps = apps.to_vec();
    let base_env = launch::share_base(&mut apps);
    let request = Request::Start {
        apps,
        base_env: Arc::unwrap_or_clone(base_env),
        existing: Existing::Restart,
        command: call.command.name.into(),
        confirm: None,
        named_only: false,
        as_pm2: cx.program.is_pm2(),
    };
    cx.out.hush(true);
    let connected = cx.client().map(|_| ());
    cx.out.hush(false);
    connected?;
    let (out, client) = cx.parts()?;
    match client.request(&request, &mut drop) {
        // A developer's app may exit at once. Its output is shown, and a change of its files starts
        // it again.
        Ok(Response::Done { .. }) | Err(ClientError::Refused(Failure::Some { .. })) => {}
        Ok(_) => return Err(ClientError::Unexpected.into()),
        Err(error) => return Err(error.into()),
    }
    let list = client.list()?;
    head(out, call, &list);
    out.flush();
    Ok(Status::Ok)
}

/// Prints the head, in PM2's words.
fn head(out: &mut Out, call: &Call, list: &[Summary]) {
    let names: Vec<&str> = list.iter().map(|row| row.name.as_str()).collect();
    let title = message!("--- {program} development mode ", program = out.label());
    out.line(format!("{title:-<79}"));
    out.line(format_args!("{}: {}", fit(&message!("Apps started"), 21), names.join(",")));
    out.line(format_args!("{}: {}", fit(&message!("Processes started"), 21), list.len()));
    out.line(format_args!("{}: {}", fit(&message!("Watch and Restart"), 21), message!("Enabled")));
    let ignored: Vec<String> = named(call).into_iter().chain(["node_modules".to_owned()]).collect();
    out.line(format_args!("{}: {}", fit(&message!("Ignored folder"), 21), ignored.join(",")));
    if let Some(command) = call.value("post-exec") {
        out.line(format_args!("{}: {command}", fit(&message!("Post restart cmd"), 21)));
    }
    out.line("=".repeat(79));
}

/// Shows the logs until the daemon has exited.
fn follow(
    cx: &mut Cx,
    past: StartPositions,
    show: &StreamFormat<'_>,
    signals: Option<&mut Signals>,
    session: &mut Session,
) -> Result<Status, CliError> {
    cx.disconnect();
    if let Some(keeper) = logs::stream_as(cx, past, show, signals, session)? {
        crate::cx::wait_for_exit(keeper)?;
    }
    Ok(Status::Ok)
}

/// Session: handles everything except log lines.
struct Session {
    label: &'static str,
    is_pm2: bool,
    post: Option<PostExec>,
    /// `--auto-exit`: time of the next check, and whether the last check found no running app.
    exit_check: Option<(Instant, bool)>,
    gave_up: bool,
}

impl Session {
    fn new(cx: &Cx, call: &Call) -> Self {
        let post =
            call.value("post-exec").map(|text| PostExec { text: text.into(), silent: call.has("silent-exec"), running: BTreeMap::new() });
        let exit_check = call.has("auto-exit").then(|| (Instant::now() + POLL_INTERVAL, false));
        Self { label: cx.program.label(), is_pm2: cx.program.is_pm2(), post, exit_check, gave_up: false }
    }
}

impl Observer for Session {
    fn on_event(&mut self, out: &mut Out, event: &Event) {
        if let (EventKind::Online { .. }, Some(app)) = (&event.kind, &event.app) {
            out.line(message!("[rundev] App {app} restarted", app));
            out.flush();
            if let Some(Err(error)) = self.post.as_mut().map(PostExec::run) {
                out.error(message!("cannot run the command of --post-exec: {error}", error));
            }
        }
    }

    fn on_stopping(&mut self, out: &mut Out, list: &[Summary]) {
        out.line(message!(">>>>> [{program} DEV] Stopping current development session", program = self.label.to_uppercase()));
        if !self.is_pm2 {
            out.line(stopping_line(list, None));
        }
        out.flush();
    }

    fn stops(&self, nth: u32, list: &[Summary]) -> Option<Vec<Request>> {
        (nth > 1).then(|| kill_everything(list))
    }

    fn due(&self) -> Option<Instant> {
        self.exit_check.map(|(at, _)| at)
    }

    fn observe(&mut self, list: &[Summary]) -> bool {
        let Some((_, found_nothing)) = self.exit_check else { return false };
        let nothing = !list.iter().any(|row| matches!(row.status.as_str(), "online" | "launching"));
        self.gave_up = nothing && found_nothing;
        self.exit_check = (!self.gave_up).then(|| (Instant::now() + POLL_INTERVAL, nothing));
        self.gave_up
    }
}

/// Command of `--post-exec`.
struct PostExec {
    text: String,
    silent: bool,
    running: BTreeMap<u32, Child>,
}

impl PostExec {
    /// Runs the command; does not wait for an earlier run that is still active.
    fn run(&mut self) -> std::io::Result<()> {
        // The session may already have reaped processes that exited.
        self.running.retain(|_, child| matches!(child.try_wait(), Ok(None)));
        let stream = || if self.silent { Stdio::null() } else { Stdio::inherit() };
        let child = Command::new("sh").arg("-c").arg(&self.text).stdin(Stdio::null()).stdout(stream()).stderr(stream()).spawn()?;
        self.running.insert(child.id(), child);
        Ok(())
    }
}
