//! Words that completion offers and that only the daemon, the home or a file knows.
//!
//! A thread searches, and the caller waits a short time for it: a daemon that does not answer, or a
//! slow disk, must not block the prompt.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ostler_config::find::{DEFAULT_NAMES, is_config_name};
use ostler_config::{Context, Origin};
use ostler_core::logs::rotate::settings::{MODULE, SECTION, keys};
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_proto::control::{Request, Response, TableRow};
use serde_json::{Map, Value};

use super::outline::Outline;
use crate::cli::{Call, Fits, Question, Suggestion, fixed_words};
use crate::client::{self, Client};
use crate::cx::Cx;
use crate::home::{self, Program};
use crate::module_conf;
use crate::render::SortOrder;
use crate::render::face::{AppGroup, AppState};

/// Longest wait for all words.
const LIMIT: Duration = Duration::from_millis(700);
/// Longest wait for the daemon.
const DAEMON_LIMIT: Duration = Duration::from_millis(300);
/// Most entries of a folder that are read.
const MOST_ENTRIES: usize = 5000;

/// Names of compose files.
#[cfg(feature = "export")]
const COMPOSE_NAMES: &[&str] = super::super::project::COMPOSE_NAMES;
#[cfg(not(feature = "export"))]
const COMPOSE_NAMES: &[&str] = &[];

/// Returns the words that are found in time.
pub(super) fn found(cx: &Cx, call: &Call, question: &Question) -> Vec<Suggestion> {
    let sources = Sources {
        program: cx.program,
        typed: question.typed.clone(),
        arguments: question.arguments.clone(),
        file: question.file.clone(),
        is_beside_apps: question.fits.contains(&Fits::Apps),
        context: super::super::files::context(cx, call).ok(),
        table: OnceCell::new(),
    };
    let kinds = question.fits.clone();
    let (sender, receiver) = channel();
    let search = move || kinds.into_iter().try_for_each(|fits| sender.send(sources.words(fits)).ok());
    if std::thread::Builder::new().spawn(search).is_err() {
        return Vec::new();
    }
    let until = Instant::now() + LIMIT;
    let next = || receiver.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
    std::iter::from_fn(next).flatten().collect()
}

/// Places where words are found.
struct Sources {
    program: Program,
    typed: String,
    arguments: Vec<String>,
    file: Option<String>,
    is_beside_apps: bool,
    context: Option<Context>,
    table: OnceCell<Vec<TableRow>>,
}

impl Sources {
    fn words(&self, fits: Fits) -> Vec<Suggestion> {
        match fits {
            Fits::Apps => self.apps(),
            Fits::Ids => self.table().iter().map(|row| Suggestion::new(row.id.to_string(), instance_text(row))).collect(),
            Fits::Namespaces => self.namespaces(),
            Fits::ProjectApps => named(self.outline(true).apps, &message!("app of this project")),
            Fits::ProjectAppCounts => {
                named(self.outline(true).apps.into_iter().map(|app| format!("{app}=")).collect(), &message!("number of instances"))
            }
            Fits::ComposeProfiles => named(self.outline(true).compose_profiles, &message!("profile")),
            Fits::Profiles => named(self.outline(false).profiles, &message!("profile")),
            Fits::DeployEnvironments => named(self.outline(false).deploy_environments, &message!("environment")),
            Fits::ConfigFiles => self.config_files(),
            Fits::Signals => signals(),
            Fits::Users => accounts("/etc/passwd"),
            Fits::Groups => accounts("/etc/group"),
            Fits::Zones => zones(),
            Fits::Releases => self.releases().unwrap_or_default(),
            Fits::Actions => self.actions().unwrap_or_default(),
            Fits::Settings => self.settings(true),
            Fits::ChangedSettings => self.settings(false),
            Fits::SettingValues => self.setting_values(),
            Fits::Modules => self.modules(),
            Fits::Hosts => self.hosts().unwrap_or_default(),
            Fits::ErrorIds | Fits::ChannelTypes | Fits::Channels | Fits::Silences | Fits::Tokens => {
                self.of_dashboard(fits).unwrap_or_default()
            }
            Fits::Words(_) | Fits::All | Fits::Commands | Fits::Files | Fits::Folders => fixed_words(fits, &self.typed).unwrap_or_default(),
        }
    }

    fn home(&self) -> Option<PathBuf> {
        let home = home::locate(self.program).ok()?;
        home::check(&home, self.program).ok().map(|()| home)
    }

    /// Connects to the running daemon.
    fn client(&self) -> Option<Client> {
        let mut client = client::connect(&self.home()?).ok()?.read_only();
        client.set_silence_handler(None);
        client.limit(DAEMON_LIMIT);
        Some(client)
    }

    fn table(&self) -> &[TableRow] {
        self.table.get_or_init(|| self.client().and_then(|mut client| client.table().ok()).unwrap_or_default())
    }

    fn apps(&self) -> Vec<Suggestion> {
        let about = |group: &AppGroup| match group.count {
            1 => group.state.text.clone(),
            count => message!("{count} instances, {state}", count, state = group.state.text),
        };
        let groups = AppGroup::all(self.table().to_vec(), false, SortOrder::BY_NAME);
        groups.iter().map(|group| Suggestion::new(group.row.name.as_str(), about(group))).collect()
    }

    fn namespaces(&self) -> Vec<Suggestion> {
        let mut names: Vec<&str> = self.table().iter().map(|row| row.namespace.as_str()).collect();
        names.sort_unstable();
        // A namespace of everything selects what `all` does.
        if names.first() == names.last() {
            return Vec::new();
        }
        let group = |group: &[&str]| match group {
            [one] => Suggestion::new(*one, message!("namespace of 1 instance")),
            all => Suggestion::new(*all.first().unwrap_or(&""), message!("namespace of {count} instances", count = all.len())),
        };
        names.chunk_by(|one, other| one == other).map(group).collect()
    }

    /// Returns the outline of the config file: the one on the command line, or that of this folder.
    /// Files of a project may be in a folder above.
    fn outline(&self, is_project: bool) -> Outline {
        let Some(context) = &self.context else { return Outline::default() };
        let names = || DEFAULT_NAMES.iter().chain(if is_project { COMPOSE_NAMES } else { &[] });
        let in_folder = |folder: &Path| names().map(|name| folder.join(name)).find(|path| path.is_file());
        let file = match &self.file {
            Some(file) => Some((context.cwd.join(file), Origin::Named)),
            None => {
                let here = in_folder(&context.cwd).map(|file| (file, Origin::CurrentFolder));
                let above = || context.cwd.ancestors().skip(1).filter(|_| is_project).find_map(in_folder);
                here.or_else(|| above().map(|file| (file, Origin::FolderAbove)))
            }
        };
        let read = file.and_then(|(file, origin)| ostler_config::outline(&file, origin, context).ok());
        read.map(|(text, value)| Outline::of(&text, value.as_ref())).unwrap_or_default()
    }

    /// Returns the config files of the typed folder. Beside apps, only those with usual names are
    /// offered before the user types a part of another name.
    fn config_files(&self) -> Vec<Suggestion> {
        let Some(context) = self.context.as_ref().filter(|_| !self.typed.starts_with('~')) else { return Vec::new() };
        let (folder, start) = self.typed.rfind('/').map_or(("", self.typed.as_str()), |at| self.typed.split_at(at + 1));
        let is_usual = |name: &str| !(self.is_beside_apps && self.typed.is_empty()) || DEFAULT_NAMES.contains(&name);
        let is_hidden = |name: &str| name.starts_with('.') && !start.starts_with('.');
        let entries = std::fs::read_dir(context.cwd.join(folder)).into_iter().flatten().flatten().take(MOST_ENTRIES);
        let is_file = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| !kind.is_dir());
        let names = entries.filter(is_file).filter_map(|entry| entry.file_name().into_string().ok());
        let mut files: Vec<String> = names.filter(|name| is_config_name(name) && is_usual(name) && !is_hidden(name)).collect();
        files.sort();
        named(files.into_iter().map(|name| format!("{folder}{name}")).collect(), &message!("config file"))
    }

    fn releases(&self) -> Option<Vec<Suggestion>> {
        let app = self.arguments.last()?.clone();
        let Response::Rollouts(reports) = self.client()?.request(&Request::Rollouts { app: Some(app) }, &mut |_| {}).ok()? else {
            return None;
        };
        let about = |version: Option<&str>, is_current: bool| match (version.filter(|version| *version != "N/A"), is_current) {
            (Some(version), true) => message!("version {version}, serves now", version),
            (Some(version), false) => message!("version {version}", version),
            (None, true) => message!("serves now"),
            (None, false) => message!("release"),
        };
        Some(
            reports
                .iter()
                .rev()
                .map(|report| Suggestion::new(report.release.to_string(), about(report.version.as_deref(), report.current)))
                .collect(),
        )
    }

    fn actions(&self) -> Option<Vec<Suggestion>> {
        let app = self.arguments.first()?.clone();
        let details = self.client()?.inspect_in(&[app], "/".into()).ok()?;
        let actions = details.iter().flat_map(|detail| detail.learned.axm_actions.iter());
        Some(
            actions
                .filter_map(|action| action.get("action_name")?.as_str())
                .map(|name| Suggestion::new(name, message!("action")))
                .collect(),
        )
    }

    fn conf(&self) -> Map<String, Value> {
        self.home().and_then(|home| module_conf::read(&home::paths(&home).conf).ok()).unwrap_or_default()
    }

    /// Returns the settings that are set, and with `has_known` those of rotation that are not.
    fn settings(&self, has_known: bool) -> Vec<Suggestion> {
        let all = self.conf();
        let set = module_conf::sections(&all).flat_map(|(section, keys)| keys.keys().map(move |key| (section.as_str(), key.as_str())));
        let mut found: Vec<Suggestion> = set.map(|(section, key)| setting(section, key, &message!("is set"))).collect();
        // The module's names are for users who come from it.
        let sections = [SECTION, MODULE]
            .into_iter()
            .filter(|section| *section == SECTION || !self.typed.is_empty() && MODULE.starts_with(&self.typed));
        if has_known {
            found.extend(
                sections.flat_map(|section| keys(section).into_iter().map(move |key| setting(section, key, &message!("has its default")))),
            );
        }
        found
    }

    fn setting_values(&self) -> Vec<Suggestion> {
        let Some(Ok(parts)) = self.arguments.first().map(|key| module_conf::parts(key)) else { return Vec::new() };
        let [section, key] = parts.as_slice() else { return Vec::new() };
        if ![MODULE, SECTION].contains(&section.as_str()) {
            return Vec::new();
        }
        let current =
            module_conf::get(&self.conf(), &parts).map(|value| Suggestion::new(module_conf::shown(value), message!("present value")));
        let usual: Vec<Suggestion> = match key.as_str() {
            "enabled" | "compress" | "rotateModule" => named(vec!["true".into(), "false".into()], ""),
            "retain" => named(vec!["all".into()], &message!("keep all files")),
            "interval" => named(["hourly", "daily", "weekly", "monthly"].map(str::to_owned).to_vec(), ""),
            "tz" | "TZ" => zones(),
            _ => Vec::new(),
        };
        current.into_iter().chain(usual).collect()
    }

    fn modules(&self) -> Vec<Suggestion> {
        let conf = self.conf();
        let installed = conf.get("module-db-v2").and_then(Value::as_object).into_iter().flatten();
        installed.map(|(name, _)| Suggestion::new(name.as_str(), message!("module"))).collect()
    }

    #[cfg(feature = "fleet")]
    fn hosts(&self) -> Option<Vec<Suggestion>> {
        let hosts = crate::fleet::known_hosts(&self.home()?)?;
        let (groups, names) = hosts.groups_and_hosts();
        let all = [Suggestion::new("all", message!("every host"))];
        let groups = groups.into_iter().map(|name| Suggestion::new(name, message!("group of hosts")));
        Some(all.into_iter().chain(groups).chain(names.into_iter().map(|name| Suggestion::new(name, message!("host")))).collect())
    }

    #[cfg(not(feature = "fleet"))]
    fn hosts(&self) -> Option<Vec<Suggestion>> {
        None
    }

    #[cfg(feature = "web")]
    fn of_dashboard(&self, fits: Fits) -> Option<Vec<Suggestion>> {
        use ostler_web::errors::{GroupState, read_book, read_resolved};
        let home = self.home()?;
        Some(match fits {
            Fits::ErrorIds => {
                let (book, resolved) = (read_book(&home).ok()??, read_resolved(&home).unwrap_or_default());
                let open = book.newest(|group| group.state(&resolved) != GroupState::Resolved);
                open.iter()
                    .map(|group| Suggestion::new(group.id.as_str(), format!("{}: {}: {}", group.app, group.kind, group.message)))
                    .collect()
            }
            Fits::ChannelTypes => {
                named(ostler_alerts::channel::SERVICES.iter().map(|name| (*name).to_owned()).collect(), &message!("channel"))
            }
            Fits::Channels => {
                let channels = ostler_web::alerts::Settings::of(&home).read().channels;
                channels.iter().map(|channel| Suggestion::new(channel.policy.name.as_str(), channel.service.word())).collect()
            }
            Fits::Silences => {
                let silences = ostler_web::alerts::read_overview(&home).silences;
                silences.iter().map(|silence| Suggestion::new(silence.id.as_str(), silence.app.clone().unwrap_or_default())).collect()
            }
            Fits::Tokens => {
                let mut store = ostler_web::access::Store::of(&home);
                store.get().ok()?.tokens.iter().map(|token| Suggestion::new(token.name.as_str(), message!("token"))).collect()
            }
            _ => return None,
        })
    }

    #[cfg(not(feature = "web"))]
    fn of_dashboard(&self, _: Fits) -> Option<Vec<Suggestion>> {
        None
    }
}

fn named(words: Vec<String>, about: &str) -> Vec<Suggestion> {
    words.into_iter().map(|word| Suggestion::new(word, about)).collect()
}

fn instance_text(row: &TableRow) -> String {
    format!("{}, {}", row.name, AppState::of(row).text)
}

/// Returns a setting as `set` takes it.
fn setting(section: &str, key: &str, about: &str) -> Suggestion {
    let quoted = |part: &str| if part.contains(':') { format!("\"{part}\"") } else { part.to_owned() };
    Suggestion::new(format!("{}:{}", quoted(section), quoted(key)), about)
}

fn signals() -> Vec<Suggestion> {
    let about = |name: &str| -> &'static str {
        match name {
            "SIGHUP" => marked!("often: read the configuration again"),
            "SIGINT" => marked!("stop, as Ctrl-C does"),
            "SIGTERM" => marked!("stop"),
            "SIGKILL" => marked!("kill at once"),
            "SIGSTOP" => marked!("pause"),
            "SIGCONT" => marked!("continue after a pause"),
            "SIGUSR1" | "SIGUSR2" => marked!("has the meaning that the app gives it"),
            _ => "",
        }
    };
    let names = (1..32).map(ostler_sys::process::signal::name).filter(|name| name.starts_with("SIG"));
    names.map(|name| Suggestion::new(name.as_str(), translated(about(&name)))).collect()
}

/// Returns the names of a file such as `/etc/passwd`.
fn accounts(file: &str) -> Vec<Suggestion> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let account = |line: &str| {
        let mut parts = line.split(':');
        Some(Suggestion::new(parts.next()?, format!("id {}", parts.nth(1)?)))
    };
    text.lines().filter_map(account).collect()
}

fn zones() -> Vec<Suggestion> {
    jiff::tz::db().available().map(|zone| Suggestion::new(zone.as_str(), "")).collect()
}
