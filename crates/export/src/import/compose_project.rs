//! A compose file as the apps of a project: `ostler up` runs it and `ostler import compose` writes
//! it. Each service reports whether it can run here.

use ostler_core::{marked, message};
use serde_json::{Map, Value};

use super::compose_build::{CannotRun, NoCommand, ServiceInputs, built, from_stage};
use super::compose_files::{ComposeContext, joined, load};
use super::dotenv::EnvFileError;
use super::{ImportError, Imported, compose, dotenv};
use crate::base::OFFICIAL;
use crate::{Notice, NoticeKind};

/// A parsed compose file.
#[derive(Clone, Debug, PartialEq)]
pub struct ComposeProject {
    /// `name` of the file.
    pub name: Option<String>,
    /// Its services, in their order.
    pub services: Vec<ComposeService>,
    /// Values that were not converted.
    pub notices: Vec<Notice>,
}

/// A service.
#[derive(Clone, Debug, PartialEq)]
pub struct ComposeService {
    /// Its name.
    pub name: String,
    /// Profiles, one of which must be chosen; empty: it always runs.
    pub profiles: Vec<String>,
    /// App as in an ecosystem file, or the reason why it cannot run here.
    pub app: Result<Map<String, Value>, CannotRun>,
}

/// Returns the variables of Compose's `.env` file. `variable` returns the value of a variable of
/// the caller.
///
/// # Errors
/// Returns an error that names a malformed line.
pub fn compose_variables(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, EnvFileError> {
    dotenv::parse(text, variable)
}

pub(super) fn read(text: &str) -> Result<Imported, ImportError> {
    let around =
        ComposeContext { variable: &|_| None, has_program: &|_| false, runs_as: &|_| false, read: &|_| Ok(None), keeps_references: true };
    import_compose(&[("compose.yaml".to_owned(), text.to_owned())], &around)
}

/// Converts compose files, each with its name, to an ecosystem file.
///
/// # Errors
/// Same as [`compose_project`].
pub fn import_compose(files: &[(String, String)], around: &ComposeContext<'_>) -> Result<Imported, ImportError> {
    let project = compose_project(files, &ComposeContext { keeps_references: true, ..*around })?;
    let mut imported = Imported { apps: Vec::new(), notices: project.notices };
    for service in project.services {
        match service.app {
            Ok(mut app) => {
                if !service.profiles.is_empty() {
                    app.entry("autostart").or_insert(false.into());
                }
                imported.apps.push(app);
            }
            Err(why) => imported.notices.push(Notice::new(service.name, "command", why.to_string())),
        }
    }
    Ok(imported)
}

/// Reads compose files, each with its name, to run them here. Later files are merged over the first
/// one.
///
/// # Errors
/// Returns an error if a file is not a compose file, or if a required variable is unset.
pub fn compose_project(files: &[(String, String)], around: &ComposeContext<'_>) -> Result<ComposeProject, ImportError> {
    let (mut file, missing) = load(files, around)?;
    let mut notices: Vec<Notice> = missing
        .into_iter()
        .map(|name| Notice {
            kind: NoticeKind::UnsetVariable,
            ..Notice::new("-", name.as_str(), message!("the variable {name} is not set: it is empty", name))
        })
        .collect();
    let name = file.get("name").and_then(Value::as_str).map(str::to_owned);
    let mut services = match file.get_mut("services").map(Value::take) {
        Some(Value::Object(services)) if !services.is_empty() => services,
        _ => return Err(ImportError::NoApps(marked!("service"))),
    };
    let mut befores = Vec::new();
    for (name, service) in &mut services {
        let Some(service) = service.as_object_mut() else {
            return Err(ImportError::Malformed(message!("services.{name}: expected a table", name)));
        };
        befores.push(read_inputs(name, service, around, &mut notices)?);
    }
    let names: Vec<String> = services.keys().cloned().collect();
    let mut read = Vec::new();
    for (name, before) in names.iter().zip(befores) {
        let service = services.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        let app = match &before.cannot {
            Some(why) => Err(why.clone()),
            None => compose::app(name, &service, &services, around.keeps_references, &mut notices).ok_or(CannotRun::NoProgram),
        };
        let app = app.map(|app| finish_app(name, app, &service, &before, &names, around, &mut notices));
        read.push(ComposeService { name: name.clone(), profiles: before.profiles, app });
    }
    compose::report_file_keys(&file, &mut notices);
    Ok(ComposeProject { name, services: read, notices })
}

/// Removes the keys that are read here, and completes the command from the Dockerfile or the name
/// of a server.
fn read_inputs(
    name: &str,
    service: &mut Map<String, Value>,
    around: &ComposeContext<'_>,
    notices: &mut Vec<Notice>,
) -> Result<ServiceInputs, ImportError> {
    let texts =
        |value: Value| -> Vec<String> { value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect() };
    let mut before =
        ServiceInputs { profiles: service.shift_remove("profiles").map(texts).unwrap_or_default(), ..ServiceInputs::default() };
    if let Some(Value::Object(own)) = service.shift_remove("x-ostler") {
        before.own = own;
    }
    before.published = service.get("ports").and_then(published);
    env_files(name, service, around, &mut before)?;
    let is_empty = |value: &Value| {
        value.is_null() || value.as_array().is_some_and(Vec::is_empty) || value.as_str().is_some_and(|text| text.trim().is_empty())
    };
    let has_command =
        |service: &Map<String, Value>| ["entrypoint", "command"].iter().any(|key| service.get(*key).is_some_and(|value| !is_empty(value)));
    let image = service.get("image").and_then(Value::as_str).map(str::to_owned);
    let mut stage = None;
    let mut why_no_command = None;
    if let Some(build) = service.get("build").filter(|build| !build.is_null()) {
        let context = build.as_str().or_else(|| build.get("context")?.as_str()).unwrap_or(".").to_owned();
        match built(build, &context, around) {
            Ok(found) => {
                why_no_command = Some(NoCommand::NoCmd { context: context.clone(), image: crate::quote::line(&found.image) });
                stage = Some((found, context));
            }
            Err(cause) => why_no_command = Some(cause.into()),
        }
    }
    let folder = service.get("working_dir").and_then(Value::as_str).or_else(|| stage.as_ref().map(|(stage, _)| stage.workdir.as_str()));
    before.folder = folder.and_then(|folder| local_path(folder, service)).or_else(|| {
        let (stage, context) = stage.as_ref()?;
        Some(joined(context, &folder.and_then(|folder| stage.local_path(folder)).unwrap_or_else(|| ".".to_owned())))
    });
    if before.folder.is_some() {
        service.shift_remove("working_dir");
    }
    if let Some((stage, context)) = &stage {
        from_stage(name, service, stage, context, &mut before, notices, around.runs_as);
    }
    match (before.own.get("script"), &image) {
        (Some(script), _) => {
            service.insert("entrypoint".into(), Value::Null);
            service.insert("command".into(), Value::from(vec![script.clone()]));
        }
        (None, Some(image)) if !service.contains_key("build") => match substitute_program(image) {
            // The words after the server's name are its arguments, as in its image.
            Some(program) if (around.has_program)(program) => insert_program(service, program),
            Some(program) => before.cannot = Some(CannotRun::MissingProgram { image: image.clone(), program }),
            None if !has_command(service) => before.cannot = Some(CannotRun::CommandInImage(image.clone())),
            None => {}
        },
        _ if !has_command(service) => {
            before.cannot = Some(CannotRun::NoCommand(why_no_command.unwrap_or(NoCommand::NoImage)));
        }
        _ => {}
    }
    if let Some(file) = compose::ecosystem_file(service) {
        before.cannot = Some(CannotRun::EcosystemFile(file.to_string()));
    }
    if before.cannot.is_some() {
        service.shift_remove("entrypoint");
        service.shift_remove("command");
    }
    Ok(before)
}

/// Reads env files. Files that ostler reads in the same way stay files. If one differs, the
/// variables of all files become variables of the app.
fn env_files(
    name: &str,
    service: &mut Map<String, Value>,
    around: &ComposeContext<'_>,
    before: &mut ServiceInputs,
) -> Result<(), ImportError> {
    let files = match service.get("env_file") {
        Some(Value::Array(files)) => files.clone(),
        Some(file @ Value::String(_)) => vec![file.clone()],
        _ => return Ok(()),
    };
    let is_off = |value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("false"));
    let (mut kept, mut variables, mut differs) = (Vec::new(), Vec::<(String, String)>::new(), false);
    for file in files {
        let Some(path) = file.as_str().or_else(|| file.get("path")?.as_str()) else { continue };
        let place = format!("services.{name}.env_file: {path}");
        match (around.read)(path).map_err(|cause| ImportError::Unreadable { place: place.clone(), cause })? {
            Some(text) => {
                let is_raw = file.get("format").and_then(Value::as_str) == Some("raw");
                differs |= is_raw || dotenv::differs_from_ostler(&text);
                let of_earlier = |name: &str| variables.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.clone());
                let lookup = |name: &str| of_earlier(name).or_else(|| (around.variable)(name));
                let found = if is_raw {
                    dotenv::raw(&text)
                } else {
                    dotenv::parse(&text, &lookup).map_err(|error| ImportError::Malformed(format!("{place}: {error}")))?
                };
                variables.extend(found);
                kept.push(Value::from(path));
            }
            None if file.get("required").is_some_and(is_off) => {}
            // The error appears when the app is read.
            None => kept.push(Value::from(path)),
        }
    }
    before.of_files = variables.iter().map(|(name, _)| name.clone()).collect();
    if differs {
        before.env = variables;
        service.shift_remove("env_file");
    } else if kept.is_empty() {
        service.shift_remove("env_file");
    } else {
        service.insert("env_file".into(), kept.into());
    }
    Ok(())
}

/// Inserts the program before the command, unless the command already names a program.
fn insert_program(service: &mut Map<String, Value>, program: &str) {
    let words = match service.get("command") {
        Some(Value::String(text)) => ostler_core::app::args::split(text),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let is_option = words.first().is_none_or(|word| word.starts_with('-'));
    if is_option && service.get("entrypoint").is_none_or(Value::is_null) {
        let words: Vec<String> = std::iter::once(program.to_owned()).chain(words).collect();
        service.insert("command".into(), words.into());
    }
}

/// Returns the program of an image that serves without further software.
fn substitute_program(image: &str) -> Option<&'static str> {
    let bare = |image: &str| {
        image.split(['@']).next().unwrap_or(image).rsplit('/').next().unwrap_or(image).split(':').next().unwrap_or(image).to_owned()
    };
    let name = bare(image);
    OFFICIAL
        .iter()
        .filter(|official| official.password.is_none() && official.program != "nginx")
        .find(|official| bare(official.image) == name)
        .map(|official| official.program)
}

/// Returns the local folder for a folder of the container: a relative one, or the source of a bind
/// mount.
fn local_path(folder: &str, service: &Map<String, Value>) -> Option<String> {
    if !folder.starts_with('/') {
        return Some(folder.to_owned());
    }
    let mounts = service.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let pair = |mount: &Value| match mount {
        Value::String(text) => text.split_once(':').map(|(from, to)| (from.to_owned(), to.split(':').next().unwrap_or(to).to_owned())),
        Value::Object(mount) => Some((mount.get("source")?.as_str()?.to_owned(), mount.get("target")?.as_str()?.to_owned())),
        _ => None,
    };
    let is_path = |(from, _): &(String, String)| from.starts_with(['.', '/', '~']);
    let below = |(from, to): (String, String)| {
        let rest = folder.strip_prefix(to.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| (to.len(), format!("{}{rest}", from.trim_end_matches('/'))))
    };
    mounts.filter_map(pair).filter(is_path).filter_map(below).max().map(|(_, path)| if path.is_empty() { "/".to_owned() } else { path })
}

/// Returns the first published port.
fn published(ports: &Value) -> Option<u64> {
    ports.as_array()?.iter().find_map(|port| match port {
        Value::String(text) => {
            let mut parts = text.split('/').next().unwrap_or(text).rsplit(':');
            let inside = parts.next()?;
            parts.next().unwrap_or(inside).parse().ok()
        }
        Value::Object(port) => {
            let of = |key: &str| port.get(key).and_then(|port| port.as_str()?.parse().ok());
            of("published").or_else(|| of("target"))
        }
        _ => None,
    })
}

/// Adds values that matter only if the service runs here.
fn finish_app(
    name: &str,
    mut app: Map<String, Value>,
    service: &Map<String, Value>,
    before: &ServiceInputs,
    names: &[String],
    around: &ComposeContext<'_>,
    notices: &mut Vec<Notice>,
) -> Map<String, Value> {
    let mut report = |key: &str, why: String| notices.push(Notice::new(name, key, why));
    if let Some(folder) = &before.folder {
        app.insert("cwd".into(), folder.as_str().into());
    }
    let is_expanded = app.contains_key("env_expand");
    // With `env_expand`, a dollar sign must be doubled.
    let escaped = |text: &str| if is_expanded { text.replace('$', "$$") } else { text.to_owned() };
    let mut env: Map<String, Value> = before.env.iter().map(|(name, value)| (name.clone(), escaped(value).into())).collect();
    let own = app.shift_remove("env");
    let own = own.as_ref().and_then(Value::as_object);
    let is_set = own.is_some_and(|own| own.contains_key("PORT")) || before.of_files.iter().any(|name| name == "PORT");
    match (before.published, before.exposed) {
        (Some(port), _) if !is_set => drop(env.insert("PORT".into(), port.into())),
        (None, Some(port)) if !is_set => drop(env.entry("PORT").or_insert(port.into())),
        _ => {}
    }
    env.extend(own.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
    for name in inherited_variables(service) {
        match (around.variable)(&name) {
            // The app inherits it from its caller.
            Some(_) if around.keeps_references => {}
            Some(value) => drop(env.insert(name, value.into())),
            None => {}
        }
    }
    app.insert("env".into(), Value::Object(env));
    if let Some(env) = app.get_mut("env").and_then(Value::as_object_mut) {
        for (variable, value) in env.iter() {
            let host = value.as_str().and_then(|value| names.iter().find(|other| names_host(value, other)));
            if let Some(host) = host.filter(|host| *host != name) {
                report(
                    "environment",
                    message!(
                        "{variable} names the host {host}, which does not exist here: apps reach each other at localhost",
                        variable,
                        host
                    ),
                );
            }
        }
        if env.is_empty() {
            app.shift_remove("env");
        }
    }
    for (key, value) in &before.own {
        match (app.get_mut(key), value) {
            (Some(Value::Object(env)), Value::Object(own)) if key == "env" => env.extend(own.clone()),
            _ => drop(app.insert(key.clone(), value.clone())),
        }
    }
    // Its `script` is a complete command: the words were only a placeholder.
    if before.own.contains_key("script") {
        for key in ["args", "interpreter"].into_iter().filter(|key| !before.own.contains_key(*key)) {
            app.shift_remove(key);
        }
    }
    app.insert("name".into(), name.into());
    app
}

/// Returns the names of variables without a value.
fn inherited_variables(service: &Map<String, Value>) -> Vec<String> {
    match service.get("environment") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).filter(|word| !word.contains('=')).map(str::to_owned).collect(),
        Some(Value::Object(map)) => map.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()).collect(),
        _ => Vec::new(),
    }
}

/// Returns true if a value is this host, or an address at it.
fn names_host(value: &str, host: &str) -> bool {
    if value == host {
        return true;
    }
    value.match_indices(host).any(|(at, _)| {
        let (before, after) = (&value[..at], &value[at + host.len()..]);
        let begins =
            before.ends_with("//") || before.contains("//") && before.ends_with('@') || before.is_empty() && after.starts_with(':');
        begins && (after.is_empty() || after.starts_with([':', '/', '?']))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> ComposeProject {
        let variable = |name: &str| match name {
            "TAG" => Some("7".to_owned()),
            "N" => Some("3".to_owned()),
            "PASSED" => Some("$x".to_owned()),
            _ => None,
        };
        let files = |file: &str| {
            match file {
            "there.env" => Ok(Some("T=1\n".to_owned())),
            "refs.env" => Ok(Some("V=1\nW=${V}${X:-d}\nL='${V}'\n".to_owned())),
            "Dockerfile" => Ok(Some("FROM node\nWORKDIR /app\nCOPY . .\nENV NODE_ENV=production T=2\nEXPOSE 3000\nENTRYPOINT [\"node\"]\nCMD [\"/app/dist/a.js\"]\n".to_owned())),
            "checked" => Ok(Some("FROM x\nUSER app\nHEALTHCHECK --interval=5s --retries=2 CMD curl -f localhost\nCMD run\n".to_owned())),
            "stranger" => Ok(Some("FROM x\nUSER node\nCMD run\n".to_owned())),
            "sub/other.docker" => Ok(Some("FROM x AS one\nCMD run one\nFROM y\n".to_owned())),
            _ => Ok(None),
        }
        };
        let around = ComposeContext {
            variable: &variable,
            has_program: &|program| program == "redis-server",
            runs_as: &|user| user == "app",
            read: &files,
            keeps_references: false,
        };
        compose_project(&[("compose.yaml".to_owned(), text.to_owned())], &around).unwrap_or_else(|error| panic!("{error}"))
    }

    fn app(text: &str) -> Value {
        let project = read(&format!("services:\n  a: {text}\n  redis: {{command: 'true'}}\n"));
        project.services[0].app.clone().map_or_else(|why| why.to_string().into(), Value::from)
    }

    /// Returns the app without the defaults of Compose, which have a separate test.
    fn app_without_defaults(text: &str) -> Value {
        let mut app = app(text);
        let defaults = [("kill_signal", json!("SIGTERM")), ("kill_timeout", json!(10_000)), ("exp_backoff_restart_delay", json!(100))];
        if let Some(app) = app.as_object_mut() {
            app.retain(|key, value| !defaults.iter().any(|(own, default)| own == key && default == value));
        }
        app
    }

    #[test]
    fn services_become_apps() {
        for (text, expected) in [
            (
                r#"{command: "node a.js $$x ${N}"}"#,
                json!({"name": "a", "script": "a.js", "interpreter": "node", "args": ["$x", "3"], "autorestart": false}),
            ),
            (r#"{command: [x], restart: always, deploy: {replicas: "${N}"}}"#, json!({"name": "a", "script": "x", "instances": 3})),
            (
                r#"{command: [x], restart: always, environment: [PASSED, "B=$$c"]}"#,
                json!({"name": "a", "script": "x", "env": {"B": "$c", "PASSED": "$x"}}),
            ),
            (
                r#"{command: [x], restart: always, environment: {PASSED: null, NONE: }}"#,
                json!({"name": "a", "script": "x", "env": {"PASSED": "$x"}}),
            ),
            (
                r#"{command: [x], restart: always, ports: ["127.0.0.1:8080:3000/tcp"]}"#,
                json!({"name": "a", "script": "x", "env": {"PORT": 8080}}),
            ),
            (
                r#"{command: [x], restart: always, ports: [{target: 80, published: "81"}], environment: {PORT: 5}}"#,
                json!({"name": "a", "script": "x", "env": {"PORT": "5"}}),
            ),
            (
                r#"{command: [x], restart: always, working_dir: /app/web, volumes: ["data:/app/web", ".:/app"]}"#,
                json!({"name": "a", "script": "x", "cwd": "./web"}),
            ),
            (r#"{command: [x], restart: always, working_dir: sub}"#, json!({"name": "a", "script": "x", "cwd": "sub"})),
            (
                r#"{image: "redis:${TAG}", restart: always, command: --port 1}"#,
                json!({"name": "a", "script": "redis-server", "args": ["--port", "1"]}),
            ),
            (r#"{image: docker.io/library/redis@sha256:1, restart: always}"#, json!({"name": "a", "script": "redis-server"})),
            (
                r#"{image: postgres, restart: always, command: [p, -q], x-ostler: {script: pg.js, env: {A: 1}, watch: true}}"#,
                json!({"name": "a", "script": "pg.js", "env": {"A": 1}, "watch": true}),
            ),
            (
                r#"{command: [x], restart: always, env_file: [{path: no.env, required: false}, {path: there.env, required: false}]}"#,
                json!({"name": "a", "script": "x", "env_file": ["there.env"]}),
            ),
            (
                r#"{command: [x], restart: always, env_file: [there.env, refs.env], environment: {V: 5}}"#,
                json!({"name": "a", "script": "x", "env": {"T": "1", "V": "5", "W": "1d", "L": "${V}"}}),
            ),
            (
                r#"{command: [x], restart: always, env_file: [{path: refs.env, format: raw}]}"#,
                json!({"name": "a", "script": "x", "env": {"V": "1", "W": "${V}${X:-d}", "L": "'${V}'"}}),
            ),
            (
                r#"{build: ., restart: always, env_file: there.env}"#,
                json!({"name": "a", "cwd": ".", "env_file": ["there.env"], "script": "dist/a.js", "interpreter": "node",
                    "env": {"NODE_ENV": "production", "PORT": 3000}}),
            ),
            (
                r#"{build: {context: .}, restart: always, command: b.js -x, ports: ["80:3000"], environment: [T=3]}"#,
                json!({"name": "a", "cwd": ".", "script": "b.js", "interpreter": "node", "args": ["-x"],
                    "env": {"NODE_ENV": "production", "T": "3", "PORT": 80}}),
            ),
            (
                r#"{build: {context: sub, dockerfile: other.docker, target: one}, restart: always}"#,
                json!({"name": "a", "cwd": "sub", "script": "run", "args": ["one"]}),
            ),
        ] {
            assert_eq!(app_without_defaults(text), expected, "{text}");
        }
    }

    #[test]
    fn user_and_health_check_come_from_dockerfile() {
        let check = |more: &str| app_without_defaults(&format!("{{build: {{dockerfile: checked}}, restart: always{more}}}"));
        let health = |ms: u64, command: &[&str]| json!({"action": "none", "liveness": {"command": command, "interval": ms, "timeout": 30_000, "failures": 2}});
        let of_image = ["sh", "-c", "curl -f localhost"];
        for (more, user, expected) in [
            ("", "app", Some(health(5000, &of_image))),
            (", user: other", "other", Some(health(5000, &of_image))),
            (", healthcheck: {interval: 9s}", "app", Some(health(9000, &of_image))),
            (", healthcheck: {test: [CMD, own]}", "app", Some(health(5000, &["own"]))),
            (", healthcheck: {disable: true}", "app", None),
            (", healthcheck: {test: [NONE]}", "app", None),
        ] {
            let found = check(more);
            assert_eq!((&found["uid"], found.get("health")), (&json!(user), expected.as_ref()), "{more}");
        }
        let project = read("services: {a: {build: {dockerfile: stranger}}}");
        assert!(project.services[0].app.as_ref().is_ok_and(|app| !app.contains_key("uid")));
        assert!(project.notices.iter().any(|notices| notices.why.contains("USER node exists only in the image")), "{:?}", project.notices);
    }

    #[test]
    fn service_that_cannot_run_reports_a_remedy() {
        for (text, why) in [
            ("{image: postgres}", "x-ostler"),
            ("{image: valkey/valkey}", "`valkey-server`, which is not on the PATH"),
            ("{build: other}", "its Dockerfile other/Dockerfile does not exist"),
            ("{build: 'https://example.org/x.git'}", "not cloned"),
            ("{build: {context: sub, dockerfile: other.docker}}", "no CMD"),
            ("{build: {context: sub, dockerfile: other.docker, target: two}}", "no build stage"),
            ("{command: [pm2-runtime, ecosystem.config.js]}", "ostler start ecosystem.config.js"),
            ("{}", "neither a command nor an image"),
        ] {
            let app = app(text);
            assert!(app.as_str().is_some_and(|text| text.contains(why)), "{app}");
        }
    }

    #[test]
    fn unsupported_settings_are_reported() {
        let text = "name: shop\nservices:\n  a: {command: [x], profiles: [dev], depends_on: [db], environment: {URL: 'redis://redis:6379/0', DB: db, OTHER: 'http://redis.example', N: $NONE}}\n  redis: {image: redis}\n  db: {image: postgres}\n";
        let project = read(text);
        assert_eq!((project.name.as_deref(), &project.services[0].profiles), (Some("shop"), &vec!["dev".to_owned()]));
        let keys: Vec<(&str, &str)> = project.notices.iter().map(|notices| (notices.app.as_str(), notices.key.as_str())).collect();
        assert_eq!(keys, [("-", "NONE"), ("a", "depends_on"), ("a", "environment"), ("a", "environment")]);
        let around = ComposeContext {
            variable: &|_| None,
            has_program: &|_| false,
            runs_as: &|_| false,
            read: &|_| Ok(None),
            keeps_references: false,
        };
        for text in ["", "services: {}", "services: [a]", "services: {a: 1}", "services: {a: {command: '${X:?no}'}}"] {
            assert!(compose_project(&[("f".to_owned(), text.to_owned())], &around).is_err(), "{text}");
        }
    }
}
