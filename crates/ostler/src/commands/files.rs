//! Config files among the targets.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ostler_config::find::{self, StartArgument, classify};
use ostler_config::keys::{closest, did_you_mean};
use ostler_config::{AccountError, Context, Loaded, Normalized, Origin, Problem, ProblemKind, Problems, RawApp, load, load_stdin, select};
use ostler_core::app::AppSpec;
use ostler_core::message;
use ostler_sys::users::user::{UserError, identity};

use crate::cli::Call;
use crate::cx::{self, Cx};
use crate::error::{AccountProblem, CliError, CommandError, Status, UsageError};
use crate::near_file::{near_file, near_one_of};
use crate::text::shown;

/// Most bytes on standard input; more is no config file.
const MAX_STDIN_BYTES: u64 = 64 << 20;

/// Source of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `-`.
    Stdin,
    /// A file: absolute, and as the user named it.
    File(PathBuf, String),
}

impl Source {
    /// Returns the source that this target names, if it is a config file.
    pub(super) fn of(target: &str, context: &Context) -> Option<Self> {
        match classify(target, context) {
            StartArgument::Stdin => Some(Self::Stdin),
            StartArgument::Config(path) => Some(Self::File(path, target.to_owned())),
            StartArgument::Other => None,
        }
    }

    /// Returns the name that the user gave to the source.
    pub(super) fn shown(&self) -> &str {
        match self {
            Self::Stdin => "-",
            Self::File(_, shown) => shown,
        }
    }

    /// Returns the source to use if no target is given.
    ///
    /// # Errors
    /// Returns an error if other users can change the file.
    pub(super) fn default(context: &Context) -> Result<Option<Self>, CliError> {
        find::default_file(context).map(|path| Self::in_folder(path, context)).transpose()
    }

    /// Works like [`Source::default`], for a command that needs a file.
    ///
    /// # Errors
    /// Returns an error if no default file exists, or if other users can change it.
    pub(super) fn required(cx: &Cx, context: &Context) -> Result<Self, CliError> {
        if let Some(source) = Self::default(context)? {
            return Ok(source);
        }
        if cx.program.is_pm2() {
            return Err(CliError::NotFound("File ecosystem.config.js not found".into()));
        }
        let program = cx.program.name();
        let hint = near_one_of(&context.cwd, find::DEFAULT_NAMES);
        Err(CliError::Unknown {
            text: message!(
                "no config file is in {folder}: it would be named ecosystem.config.js{more}",
                folder = context.cwd.display(),
                more = cx.changed_words()
            ),
            hint: hint.unwrap_or_else(|| message!("name a file, or write one with `{program} ecosystem`", program)),
        })
    }

    /// Returns a file of the caller's folder that the command line does not name.
    ///
    /// # Errors
    /// Returns an error if other users can change the file.
    pub(super) fn in_folder(path: PathBuf, context: &Context) -> Result<Self, CliError> {
        let shown = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        context.open(&path, Origin::CurrentFolder).map_err(|source| CliError::Opened { file: shown.clone(), source: source.into() })?;
        Ok(Self::File(path, shown))
    }
}

/// Returns the environment and working directory of this call.
pub(super) fn context(cx: &Cx, call: &Call) -> Result<Context, CliError> {
    if cx.program.is_pm2() && call.has("sandbox") {
        return Err(UsageError::UnknownOption { word: "--sandbox".into(), closest: None }.into());
    }
    static CPUS: OnceLock<u32> = OnceLock::new();
    let cpus = *CPUS.get_or_init(ostler_sys::machine::cpus::available);
    let mut context = Context::new(PathBuf::from(cx::cwd()?), cx.env(), cpus)?;
    context.argv = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    context.strict = call.has("strict");
    context.as_pm2 = cx.program.is_pm2();
    // The image of a container chooses the file that it runs. A mounted file has an owner from
    // another machine.
    context.caller.as_pm2 = context.as_pm2 || call.command.name == "runtime";
    context.caller.is_allowed = call.has("allow-foreign-file");
    context.user_id = |uid| Some(identity(Some(uid), Some("0")).ok()??.credentials.uid);
    context.check_account = check_account;
    #[cfg(feature = "serve")]
    {
        let program = std::env::current_exe().ok().and_then(|program| program.into_os_string().into_string().ok());
        context.file_server = program.map(|program| (program, ostler_serve::ROLE.to_owned()));
    }
    Ok(context)
}

/// Checks that the `uid` and the `gid` of an app exist.
fn check_account(uid: Option<&str>, gid: Option<&str>) -> Result<(), AccountError> {
    let Err(error) = identity(uid, gid) else { return Ok(()) };
    let is_group = match &error {
        UserError::NoGroup(_) => true,
        UserError::Lookup { name, .. } => gid == Some(name),
        UserError::NoUser(_) | UserError::NoGroupOf(_) => false,
    };
    let problem = Box::new(AccountProblem::from(error));
    Err(if is_group { AccountError::Group(problem) } else { AccountError::User(problem) })
}

/// Reads and checks a config, and applies `--only`. Afterwards the context contains the changes
/// that the file made to `process.env`.
///
/// # Errors
/// Returns an error if the config has a problem. Every problem was reported to the user, and
/// nothing was done.
pub(super) fn read(cx: &mut Cx, call: &Call, source: &Source, context: &mut Context) -> Result<Loaded, CliError> {
    let result = match source {
        Source::Stdin => load_stdin(&stdin()?, context),
        Source::File(path, shown) => load(path, shown, context),
    };
    let mut loaded = result.map_err(|problems| report(cx, Some(source), &problems))?;
    context.apply_env_changes(&loaded.env_changes);
    warn(cx, &loaded.warnings);
    if let Some(only) = call.value("only") {
        warn_of_unknown(cx, &loaded.apps, only);
        loaded.apps = select(&loaded.apps, only);
    }
    Ok(loaded)
}

/// Warns of words of `--only` that are no app of the file. PM2 ignores them.
pub(super) fn warn_of_unknown(cx: &mut Cx, apps: &[RawApp], only: &str) {
    let words = only.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    let unknown: Vec<&str> = words.filter(|word| select(apps, word).is_empty()).collect();
    // A name may itself contain a blank or comma.
    if cx.program.is_pm2() || unknown.is_empty() || !select(apps, only).is_empty() && apps.iter().any(|app| app.name() == only.trim()) {
        return;
    }
    let names: Vec<String> = apps.iter().map(RawApp::name).collect();
    for word in unknown {
        let near = did_you_mean(word, names.iter().map(String::as_str)).map(|question| format!(", {question}")).unwrap_or_default();
        cx.out.warn_err(message!("--only: the file has no app {app}{near}", app = shown(word), near));
    }
}

/// Reports every problem, the fatal ones last. Returns the error that the command fails with.
pub(super) fn report(cx: &mut Cx, source: Option<&Source>, problems: &Problems) -> CliError {
    let (errors, warnings): (Vec<&Problem>, Vec<&Problem>) = problems.0.iter().partition(|problem| problem.is_error());
    for warning in warnings {
        if cx.program.is_pm2() { cx.out.warn(warning) } else { cx.out.warn(warning.named()) }
    }
    let shown = source.map_or("-", Source::shown);
    let count = errors.len();
    for (place, error) in errors.into_iter().enumerate() {
        let changed = if place + 1 == count { cx.changed_words() } else { String::new() };
        match error.kind {
            ProblemKind::NotFound if !cx.program.is_pm2() => {
                cx.out.error(message!("cannot read {file}: no such file{more}", file = shown, more = changed));
                hint_of_near_file(cx, Path::new(shown));
            }
            ProblemKind::NotFound => cx.out.error(format_args!("File {shown} not found")),
            // PM2's words, without place and key, because scripts search for them.
            ProblemKind::ScriptNotFound | ProblemKind::InterpreterNotFound if source.is_some() && cx.program.is_pm2() => {
                cx.out.error(format_args!("Error: {}", error.message));
            }
            ProblemKind::ScriptNotFound | ProblemKind::InterpreterNotFound if source.is_none() => {
                cx.out.error(format_args!("{}{changed}", error.message));
            }
            ProblemKind::Malformed if !cx.program.is_pm2() => {
                cx.out.error(message!("cannot parse {problem}{more}", problem = error, more = changed))
            }
            ProblemKind::Malformed => cx.out.error(format_args!("File {shown} malformated: {error}")),
            _ if cx.program.is_pm2() => cx.out.error(error),
            _ => cx.out.error(format_args!("{}{changed}", error.named())),
        }
        if let Some(path) = &error.missing {
            hint_of_missing(cx, path);
        }
        if let Some(hint) = error.hint() {
            cx.out.hint(hint);
        }
    }
    CliError::Reported(status_of(problems))
}

/// Suggests a file in the same folder whose name is close to that of a missing file.
pub(super) fn hint_of_near_file(cx: &mut Cx, missing: &Path) {
    if let Some(question) = near_file(missing) {
        cx.out.hint(question);
    }
}

/// Suggests an app with the name of a missing file, a file with a similar name, or an app with a
/// similar name.
pub(super) fn hint_of_missing(cx: &mut Cx, missing: &Path) {
    let name = |name: Option<&OsStr>| name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (word, stem) = (name(missing.file_name()), name(missing.file_stem()));
    let rows = cx.running_client().ok().flatten().and_then(|client| client.table().ok()).unwrap_or_default();
    let program = cx.program.name();
    match rows.iter().find(|row| row.name == stem) {
        Some(row) => cx.out.hint(message!("{app} is an app: `{program} restart {app}` restarts it", app = shown(&row.name), program)),
        None => {
            let near_app = || did_you_mean(&word, rows.iter().map(|row| row.name.as_str()));
            if let Some(question) = near_file(missing).or_else(near_app) {
                cx.out.hint(question);
            }
        }
    }
}

/// Returns true if the only problem of an app is a missing script, program or directory.
pub(super) fn is_missing(problems: &Problems) -> bool {
    let is_missing = |kind| matches!(kind, ProblemKind::ScriptNotFound | ProblemKind::InterpreterNotFound | ProblemKind::DirectoryNotFound);
    problems.0.iter().filter(|problem| problem.is_error()).all(|problem| is_missing(problem.kind))
}

/// Returns the exit code of a failed check.
pub(super) fn status_of(problems: &Problems) -> Status {
    match problems.kind() {
        Some(ProblemKind::NotFound | ProblemKind::ScriptNotFound) => Status::NotFound,
        _ => Status::Failed,
    }
}

/// Rejects `--env NAME` if no app has this profile but other profiles exist (`by_name`: in any
/// case).
///
/// Called as `pm2`, ostler starts a file with an unknown profile and warns, as PM2 does. By name,
/// it rejects a misspelt profile too: PM2 would keep the app's variables, and a restart here would
/// use those of the base.
///
/// # Errors
/// Returns an error that names the existing profiles.
pub(super) fn check_profile(cx: &Cx, profile: Option<&str>, apps: &[Normalized], by_name: bool) -> Result<(), CliError> {
    let lacks = |app: &Normalized| app.warnings.iter().any(|warning| warning.kind == ProblemKind::UnknownProfile);
    let Some(profile) = profile.filter(|_| !apps.is_empty() && apps.iter().all(lacks)) else { return Ok(()) };
    let known: BTreeSet<&str> = apps.iter().flat_map(|app| app.spec.env.profiles.keys()).map(String::as_str).collect();
    let is_rejected = match cx.program.is_pm2() {
        true => by_name && closest(profile, known.iter().copied()).is_some(),
        false => by_name || !known.is_empty(),
    };
    if !is_rejected {
        return Ok(());
    }
    let names: Vec<&str> = known.iter().copied().collect();
    let profile_shown = format!("{profile:?}");
    let reason = match names.as_slice() {
        [] => message!("no app of this command has a profile {profile}, and no profile exists", profile = profile_shown),
        names => {
            message!("no app of this command has a profile {profile}, only {names}", profile = profile_shown, names = names.join(", "))
        }
    };
    Err(UsageError::UnknownValue { option: "--env".into(), reason, closest: closest(profile, known).map(str::to_owned) }.into())
}

/// Prints PM2's line about a schedule. PM2 prints it for an invalid schedule too; here an invalid
/// schedule is an error before anything is printed.
pub(super) fn print_cron(cx: &mut Cx, spec: &AppSpec) {
    if !cx.program.is_pm2() {
        return print_schedule(cx, spec);
    }
    match &spec.cron {
        Some(cron) if cron.job.is_none() => cx.out.info(message!("cron restart at {pattern}", pattern = shown(&cron.pattern))),
        None if spec.given.open().contains_key("cron_restart") => cx.out.info(message!("disabling cron restart")),
        _ => {}
    }
}

/// Prints the schedule of restarts of an app, or that it has none any more.
fn print_schedule(cx: &mut Cx, spec: &AppSpec) {
    let app = shown(&spec.name);
    match &spec.cron {
        Some(cron) if cron.job.is_none() => {
            cx.out.info(message!("{app} restarts on the schedule {pattern}", app, pattern = shown(&cron.pattern)));
        }
        None if spec.given.open().contains_key("cron_restart") => cx.out.info(message!("{app} has no scheduled restarts", app)),
        _ => {}
    }
}

/// Prints the warnings of several apps. The apps without the chosen profile share one line.
pub(super) fn warn_all(cx: &mut Cx, profile: Option<&str>, apps: &[Normalized]) {
    let Some(profile) = profile.filter(|_| !cx.program.is_pm2()) else {
        return apps.iter().for_each(|app| warn(cx, &app.warnings));
    };
    let (mut without, mut others) = (Vec::new(), Vec::new());
    for app in apps {
        let (lacks, rest): (Vec<&Problem>, Vec<&Problem>) =
            app.warnings.iter().partition(|warning| warning.kind == ProblemKind::UnknownProfile);
        without.extend(lacks.first().map(|_| shown(&app.spec.name)));
        others.push(rest.into_iter().cloned().collect::<Vec<Problem>>());
    }
    others.iter().for_each(|warnings| warn(cx, warnings));
    if !without.is_empty() {
        cx.out.warn(message!("no env_{profile} for {apps}: only `env` applies", profile = shown(profile), apps = without.join(", ")));
    }
}

/// Prints warnings. Keys that are accepted without effect share one line.
pub(super) fn warn(cx: &mut Cx, warnings: &[Problem]) {
    let mut without_effect: Vec<&str> = Vec::new();
    for warning in warnings {
        match warning.kind {
            ProblemKind::NoEffect => {
                let key = warning.key.rsplit('.').next().unwrap_or(&warning.key);
                if !without_effect.contains(&key) {
                    without_effect.push(key);
                }
            }
            ProblemKind::UnknownProfile => cx.out.warn(&warning.message),
            _ if cx.program.is_pm2() => cx.out.warn(warning),
            _ => cx.out.warn(warning.named()),
        }
    }
    if !without_effect.is_empty() {
        cx.out.warn(message!("accepted, no effect yet in this version: {keys}", keys = without_effect.join(", ")));
    }
}

/// All of standard input.
pub(super) fn stdin() -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::File { what: "read", path: message!("standard input"), source };
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_STDIN_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_STDIN_BYTES {
        return Err(CommandError::LongInput.into());
    }
    Ok(bytes)
}
