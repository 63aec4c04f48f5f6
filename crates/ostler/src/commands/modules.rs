//! `install`, `uninstall`, `module:update`, `module:list`: PM2's modules. `package`, `publish`,
//! `module:generate`: commands for authors of modules.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_proto::control::TableRow;
use serde_json::{Map, Value, json};

use super::table;
use crate::cli::Call;
use crate::cx::{self, Cx};
use crate::error::{CliError, ModuleError, Status, UsageError};
use crate::module_conf::{self, notify_daemon};
use crate::modules::{self, BuiltIn, INSTALLED, InstallRequest, Installed, ModuleKind, Source, built_in};

/// Packages that PM2 installs into its own folder, with the alternatives in ostler.
const FOR_PM2: &[(&str, &str)] = &[
    ("deep-monitoring", marked!("ostler measures apps by itself: see `describe`")),
    ("gc-stats", marked!("ostler measures apps by itself: see `describe`")),
    ("event-loop-inspector", marked!("ostler measures apps by itself: see `describe`")),
    ("v8-profiler", marked!("`inspect <app>` opens the debugger of an app, which records profiles")),
    ("profiler", marked!("`inspect <app>` opens the debugger of an app, which records profiles")),
    ("typescript", marked!("name the interpreter of an app (`--interpreter ts-node`), or use a Node that runs TypeScript")),
    ("livescript", marked!("name the interpreter of an app (`--interpreter lsc`)")),
    ("coffee-script", marked!("name the interpreter of an app (`--interpreter coffee`)")),
    ("coffeescript", marked!("name the interpreter of an app (`--interpreter coffee`)")),
];

/// Time of `--safe` when none is given, as in PM2.
const SAFE: Duration = Duration::from_secs(3);

/// Runs `install <module>`.
pub(crate) fn install(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let mut done = Vec::new();
    let mut is_shown = false;
    for word in &call.targets {
        if let Some((_, instead)) = FOR_PM2.iter().find(|(name, _)| name == word) {
            return Err(ModuleError::PartOfPm2 { word: word.clone(), instead }.into());
        }
        match built_in(word).filter(|_| !call.has("npm") && !call.has("tarball")) {
            Some(module) => done.push(take_built_in(cx, module)?),
            None => {
                done.push(take(cx, call, &source(cx, call, word)?)?);
                is_shown = true;
            }
        }
    }
    if call.has("json") {
        crate::render::json(&mut cx.out, &done);
    } else if is_shown {
        table::after_change(cx, call)?;
    }
    Ok(Status::Ok)
}

/// Returns the source that a word means for the caller.
fn source(cx: &Cx, call: &Call, word: &str) -> Result<Source, CliError> {
    let home = cx.env().get("HOME").cloned().unwrap_or_default();
    Ok(Source::of(word, call.has("tarball"), Path::new(&cx::cwd()?), Path::new(&home))?)
}

fn take(cx: &mut Cx, call: &Call, source: &Source) -> Result<Value, CliError> {
    let attributes = call.attributes();
    let text = |key: &str| attributes.get(key).and_then(Value::as_str).map(str::to_owned);
    let request = InstallRequest {
        source: source.clone(),
        safe: safe(call)?,
        installs_dependencies: call.has("install"),
        uid: text("uid").or_else(|| text("user")),
        gid: text("gid"),
    };
    cx.out.info(message!("Installing module {name}", name = source.shown()));
    let package = modules::install(cx, &request)?;
    let version = package.version.as_deref().unwrap_or("N/A");
    cx.out.info(message!("Module {name} {version} installed and started", name = package.name, version));
    show_settings(cx, &package.name)?;
    Ok(json!({ "name": package.name, "version": package.version, "built_in": false }))
}

fn safe(call: &Call) -> Result<Option<Duration>, UsageError> {
    match call.value("safe") {
        None => Ok(call.has("safe").then_some(SAFE)),
        Some(text) => match text.parse() {
            Ok(ms) => Ok(Some(Duration::from_millis(ms))),
            Err(_) => Err(UsageError::BadValue {
                option: "--safe".into(),
                reason: message!("expected milliseconds, found {text}", text = format!("{text:?}")),
            }),
        },
    }
}

fn take_built_in(cx: &mut Cx, module: &BuiltIn) -> Result<Value, CliError> {
    let path = module_conf::writable(cx)?;
    if let Some(real) = modules::find(&module_conf::read(&path)?, module.name).filter(|module| module.kind != ModuleKind::BuiltIn) {
        modules::uninstall(cx, &real)?;
    }
    module_conf::change(&path, |all| {
        modules::table(all, INSTALLED).entry(module.name).or_insert_with(|| json!({}));
        let section = modules::table(all, module.name);
        for (key, value) in module.defaults {
            section.entry(*key).or_insert_with(|| (*value).into());
        }
        Ok(())
    })?;
    notify_daemon(cx)?;
    cx.out.info(message!("Module {name} is built in: {description}", name = module.name, description = translated(module.does)));
    show_settings(cx, module.name)?;
    Ok(json!({ "name": module.name, "built_in": true }))
}

fn show_settings(cx: &mut Cx, module: &str) -> Result<(), CliError> {
    let path = module_conf::path(cx)?;
    if let Some(section) = module_conf::read(&path)?.get(module).and_then(Value::as_object) {
        let program = cx.program.name();
        for (key, value) in section {
            cx.out.info(format_args!("$ {program} set {module}:{key} {}", crate::text::shown(&module_conf::shown(value))));
        }
    }
    Ok(())
}

/// Runs `uninstall <module>`. The module's settings no longer have an effect, but they are kept for
/// the next installation.
pub(crate) fn uninstall(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    for word in &call.targets {
        let settings = module_conf::read(&module_conf::path(cx)?)?;
        let name = built_in(word).map_or(word.as_str(), |module| module.name);
        let found = if word == "all" { modules::all(&settings) } else { modules::find(&settings, name).into_iter().collect() };
        if found.is_empty() && word != "all" && !stop_developed(cx, name)? {
            return Err(unknown(word, &settings).into());
        }
        for module in found {
            modules::uninstall(cx, &module)?;
            let name = &module.name;
            cx.out.info(match module.kind {
                ModuleKind::BuiltIn => {
                    message!("Module {name} uninstalled; the built-in replacement keeps running with its defaults", name)
                }
                _ => message!("Module {name} uninstalled", name),
            });
        }
    }
    Ok(Status::Ok)
}

fn unknown(word: &str, settings: &Map<String, Value>) -> ModuleError {
    let known = modules::all(settings);
    ModuleError::unknown(word, known.iter().map(|module| module.name.as_str()))
}

/// Deletes the app that `install .` has started. Returns false if no such module exists.
fn stop_developed(cx: &mut Cx, name: &str) -> Result<bool, CliError> {
    let is_there = rows(cx)?.iter().any(|row| module_conf::is_of(row, name));
    if is_there {
        modules::uninstall(cx, &Installed { name: name.into(), kind: ModuleKind::BuiltIn, uid: None, gid: None, address: None })?;
        cx.out.info(message!("Module {name} uninstalled", name));
    }
    Ok(is_there)
}

fn rows(cx: &mut Cx) -> Result<Vec<TableRow>, CliError> {
    cx.running_client()?.map_or_else(|| Ok(Vec::new()), |client| Ok(client.table()?))
}

/// Runs `module:update <module|all>`: updates to the newest version of the installed source.
pub(crate) fn update(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let settings = module_conf::read(&module_conf::path(cx)?)?;
    for word in &call.targets {
        let found = if word == "all" { modules::all(&settings) } else { modules::find(&settings, word).into_iter().collect() };
        if found.is_empty() && word != "all" {
            return Err(unknown(word, &settings).into());
        }
        for module in found {
            if module.kind == ModuleKind::BuiltIn {
                cx.out.info(message!(
                    "Module {name} is built in: it is updated with {program}",
                    name = module.name,
                    program = cx.program.name()
                ));
                continue;
            }
            let source = modules::newest(cx, &module)?;
            take(cx, call, &source)?;
        }
    }
    table::after_change(cx, call)?;
    Ok(Status::Ok)
}

/// Runs `module:list`.
pub(crate) fn list(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let found = modules::all(&module_conf::read(&module_conf::path(cx)?)?);
    let rows = rows(cx)?;
    let status = |module: &Installed| rows.iter().find(|row| module_conf::is_of(row, &module.name)).map(|row| row.status.clone());
    let version = |cx: &mut Cx, module: &Installed| Ok::<_, CliError>(modules::version(cx.home()?, module));
    if call.has("json") {
        let mut list = Vec::new();
        for module in &found {
            let is_built_in = module.kind == ModuleKind::BuiltIn;
            list.push(json!({ "name": module.name, "built_in": is_built_in, "version": version(cx, module)?, "status": status(module) }));
        }
        crate::render::json(&mut cx.out, &list);
        return Ok(Status::Ok);
    }
    for module in &found {
        let version = version(cx, module)?.unwrap_or_default();
        let state = if module.kind == ModuleKind::BuiltIn {
            message!("built in")
        } else {
            status(module).unwrap_or_else(|| message!("not running"))
        };
        cx.out.line(format_args!("{}  {}", module.name, [version, state].join("  ").trim_start()));
    }
    if found.is_empty() {
        cx.out.info(message!("no modules are installed"));
    }
    Ok(Status::Ok)
}

/// Runs `module:generate [name]`.
pub(crate) fn generate(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let name = call.target().unwrap_or("sample-module").to_owned();
    let folder = modules::generate(&name, Path::new(&cx::cwd()?))?;
    let program = cx.program.name();
    cx.out.info(message!("Module sample created in folder: {folder}", folder = folder.display()));
    for line in [
        message!("Start module in development mode:"),
        format!("$ cd {} && npm install", folder.file_name().unwrap_or_default().to_string_lossy()),
        format!("$ {program} install ."),
        message!("Module Log:"),
        format!("$ {program} logs {name}"),
        message!("Uninstall module:"),
        format!("$ {program} uninstall {name}"),
    ] {
        cx.out.line(line);
    }
    Ok(Status::Ok)
}

/// Runs `package [folder]`.
pub(crate) fn package(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let folder = folder(call)?;
    let file = modules::pack(&folder, Path::new(&cx::cwd()?))?;
    if call.has("json") {
        crate::render::json(&mut cx.out, &json!({ "file": file }));
    } else {
        cx.out.info(message!("Module packaged in {file}", file = file.display()));
    }
    Ok(Status::Ok)
}

/// Runs `publish [folder]`: to the registry that npm is set up for.
pub(crate) fn publish(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let folder = folder(call)?;
    // A folder that is no valid module is not published.
    modules::check(&folder)?;
    let mut words = vec!["publish"];
    if call.has("dry-run") {
        words.push("--dry-run");
    }
    words.extend(call.app_args.iter().flatten().map(String::as_str));
    modules::run_npm(cx, &folder, &words)?;
    cx.out.info(if call.has("dry-run") { message!("Nothing was published: --dry-run") } else { message!("Module published") });
    Ok(Status::Ok)
}

/// Returns the named folder, without `.` and links in the path: its name becomes that of the
/// package.
fn folder(call: &Call) -> Result<PathBuf, CliError> {
    let folder = Path::new(&cx::cwd()?).join(call.target().unwrap_or("."));
    std::fs::canonicalize(&folder).map_err(|source| CliError::File { what: marked!("read"), path: folder.display().to_string(), source })
}
