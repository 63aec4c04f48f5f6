//! A compose file as the apps of a project: what `ostler up` runs. Variables are resolved, and each service says whether it can run here.
//!
//! The services are read as `import compose` reads them ([`super::compose`]); what is done before and after is what only matters where they run at once:
//! variables, profiles, the folder of a bind mount, the port outside, a server that is installed here.

use serde_json::{Map, Value};

use super::compose::{self, Dollars};
use super::interpolate::{Variables, interpolate};
use super::{ImportError, MOST_BYTES};
use crate::Told;
use crate::base::OFFICIAL;

/// Facts that the file depends on.
pub struct Surroundings<'a> {
    /// The value of a variable: of the caller, or of the file `.env`.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a program is on the `PATH`.
    pub has_program: &'a dyn Fn(&str) -> bool,
    /// Whether a file is there, by its path from the folder of the compose file.
    pub has_file: &'a dyn Fn(&str) -> bool,
}

/// A compose file, read.
#[derive(Clone, Debug, PartialEq)]
pub struct ComposeProject {
    /// `name` of the file.
    pub name: Option<String>,
    /// Its services, in their order.
    pub services: Vec<ComposeService>,
    /// What was not carried over.
    pub told: Vec<Told>,
}

/// A service.
#[derive(Clone, Debug, PartialEq)]
pub struct ComposeService {
    /// Its name.
    pub name: String,
    /// Profiles of which one has to be chosen; empty: it always runs.
    pub profiles: Vec<String>,
    /// The app, as an ecosystem file has it; or why it cannot run here and what to do, in one line.
    pub app: Result<Map<String, Value>, String>,
}

/// Reads a compose file to run it here.
///
/// # Errors
/// It is none, or a variable that has to be there is not.
pub fn compose_project(text: &str, around: &Surroundings<'_>) -> Result<ComposeProject, ImportError> {
    if text.len() > MOST_BYTES {
        return Err(ImportError::TooLarge(text.len()));
    }
    let mut file = super::yaml::parse(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let mut variables = Variables { lookup: around.variable, missing: Vec::new() };
    interpolate(&mut file, "", &mut variables)?;
    let mut told: Vec<Told> = variables
        .missing
        .into_iter()
        .map(|name| Told { app: "-".into(), key: name.clone(), why: format!("the variable {name} is not set: it is empty") })
        .collect();
    let name = file.get("name").and_then(Value::as_str).map(str::to_owned);
    let mut services = match file.get_mut("services").map(Value::take) {
        Some(Value::Object(services)) if !services.is_empty() => services,
        _ => return Err(ImportError::NoApps("service")),
    };
    let mut befores = Vec::new();
    for (name, service) in &mut services {
        let Some(service) = service.as_object_mut() else {
            return Err(ImportError::Malformed(format!("services.{name}: expected a table")));
        };
        befores.push(before(service, around));
    }
    let names: Vec<String> = services.keys().cloned().collect();
    let mut read = Vec::new();
    for (name, before) in names.iter().zip(befores) {
        let service = services.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        let app = match &before.cannot {
            Some(why) => Err(why.clone()),
            None => compose::app(name, &service, &services, Dollars::Resolved, &mut told)
                .ok_or_else(|| "its command names nothing that could run: give it a `command`, or `x-ostler: {script: …}`".to_owned()),
        };
        let app = app.map(|app| after(name, app, &service, &before, &names, around, &mut told));
        read.push(ComposeService { name: name.clone(), profiles: before.profiles, app });
    }
    Ok(ComposeProject { name, services: read, told })
}

/// What a service says that `import` takes otherwise.
struct Before {
    profiles: Vec<String>,
    /// Folder, where it is one here.
    folder: Option<String>,
    port: Option<u64>,
    own: Map<String, Value>,
    cannot: Option<String>,
}

/// Takes out what is meant otherwise here, and gives a service of an image the command by which it runs here.
fn before(service: &mut Map<String, Value>, around: &Surroundings<'_>) -> Before {
    let texts =
        |value: Value| -> Vec<String> { value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect() };
    let profiles = service.shift_remove("profiles").map(texts).unwrap_or_default();
    let own = match service.shift_remove("x-ostler") {
        Some(Value::Object(own)) => own,
        _ => Map::new(),
    };
    let folder = service.get("working_dir").and_then(Value::as_str).and_then(|folder| here(folder, service));
    if folder.is_some() {
        service.shift_remove("working_dir");
    }
    let port = service.get("ports").and_then(published);
    let is_empty = |value: &Value| {
        value.is_null() || value.as_array().is_some_and(Vec::is_empty) || value.as_str().is_some_and(|text| text.trim().is_empty())
    };
    let has_command =
        |service: &Map<String, Value>| ["entrypoint", "command"].iter().any(|key| service.get(*key).is_some_and(|value| !is_empty(value)));
    let image = service.get("image").and_then(Value::as_str).map(str::to_owned);
    let mut cannot = None;
    let builds = service.contains_key("build");
    match (own.get("script"), &image) {
        (Some(script), _) => {
            service.insert("entrypoint".into(), Value::Null);
            service.insert("command".into(), Value::from(vec![script.clone()]));
        }
        (None, Some(image)) if !builds => match stand_in(image) {
            // The words after the name of the server are its arguments, as in its image.
            Some(program) if (around.has_program)(program) => give_program(service, program),
            Some(program) => {
                cannot = Some(format!(
                    "the image {image} would run here as `{program}`, which is not on the PATH: install it, run the image by an engine, or add `x-ostler: {{script: …}}`"
                ))
            }
            None if !has_command(service) => {
                cannot = Some(format!(
                    "its command is in the image {image}: run that by an engine, or add `x-ostler: {{script: …}}` to the service"
                ));
            }
            None => {}
        },
        _ if !has_command(service) => {
            cannot =
                Some("its command is in its Dockerfile: write it as `command`, or add `x-ostler: {script: …}` to the service".to_owned())
        }
        _ => {}
    }
    if let Some(Value::Array(files)) = service.get_mut("env_file") {
        let is_needed = |file: &Value| {
            !file.get("required").and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case("false"))
                || file.get("path").and_then(Value::as_str).is_none_or(|path| (around.has_file)(path))
        };
        files.retain(is_needed);
    }
    if cannot.is_some() {
        service.shift_remove("entrypoint");
        service.shift_remove("command");
    }
    Before { profiles, folder, port, own, cannot }
}

/// Puts the program in front of the command, unless that names it or another one already.
fn give_program(service: &mut Map<String, Value>, program: &str) {
    let words = match service.get("command") {
        Some(Value::String(text)) => ostler_core::args::split(text),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let is_option = words.first().is_none_or(|word| word.starts_with('-'));
    if is_option && service.get("entrypoint").is_none_or(Value::is_null) {
        let words: Vec<String> = std::iter::once(program.to_owned()).chain(words).collect();
        service.insert("command".into(), words.into());
    }
}

/// The program of an image that needs nothing but itself to serve.
fn stand_in(image: &str) -> Option<&'static str> {
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

/// The folder here of a folder of the container: a relative one, or what a bind mount puts there.
fn here(folder: &str, service: &Map<String, Value>) -> Option<String> {
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

/// The first port outside.
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

/// Adds what only matters where it runs here.
fn after(
    name: &str,
    mut app: Map<String, Value>,
    service: &Map<String, Value>,
    before: &Before,
    names: &[String],
    around: &Surroundings<'_>,
    told: &mut Vec<Told>,
) -> Map<String, Value> {
    let mut tell = |key: &str, why: String| told.push(Told { app: name.to_owned(), key: key.to_owned(), why });
    if let Some(folder) = &before.folder {
        app.insert("cwd".into(), folder.as_str().into());
    }
    // What the caller has is inherited; what `.env` has is not.
    let passed = service.get("environment").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let passed = passed.filter(|word| !word.contains('=')).map(str::to_owned).collect::<Vec<_>>();
    let nulls = service.get("environment").and_then(Value::as_object).into_iter().flatten().filter(|(_, value)| value.is_null());
    let passed = passed.into_iter().chain(nulls.map(|(name, _)| name.clone()));
    let given: Vec<(String, String)> = passed.filter_map(|name| (around.variable)(&name).map(|value| (name, value))).collect();
    let env = app.entry("env").or_insert_with(|| Value::Object(Map::new()));
    if let Some(env) = env.as_object_mut() {
        for (name, value) in given {
            env.entry(name).or_insert(value.into());
        }
        if let Some(port) = before.port.filter(|_| !env.contains_key("PORT")) {
            env.insert("PORT".into(), port.into());
        }
        for (variable, value) in env.iter() {
            let host = value.as_str().and_then(|value| names.iter().find(|other| names_host(value, other)));
            if let Some(host) = host.filter(|host| *host != name) {
                tell("environment", format!("{variable} names the host {host}, which is none here: apps reach each other at localhost"));
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
    // Its script is a whole one: the command was only in its place.
    if before.own.contains_key("script") {
        for key in ["args", "interpreter"].into_iter().filter(|key| !before.own.contains_key(*key)) {
            app.shift_remove(key);
        }
    }
    app.insert("name".into(), name.into());
    app
}

/// True if a value is this host, or an address at it.
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
        let around =
            Surroundings { variable: &variable, has_program: &|program| program == "redis-server", has_file: &|file| file == "there.env" };
        compose_project(text, &around).unwrap_or_else(|error| panic!("{error}"))
    }

    fn app(text: &str) -> Value {
        let project = read(&format!("services:\n  a: {text}\n  redis: {{command: 'true'}}\n"));
        project.services[0].app.clone().map_or_else(Value::from, Value::from)
    }

    /// The app without the defaults of Compose, which have a test of their own.
    fn app_without_defaults(text: &str) -> Value {
        let mut app = app(text);
        let defaults = [("kill_signal", json!("SIGTERM")), ("kill_timeout", json!(10_000)), ("exp_backoff_restart_delay", json!(100))];
        if let Some(app) = app.as_object_mut() {
            app.retain(|key, value| !defaults.iter().any(|(own, default)| own == key && default == value));
        }
        app
    }

    #[test]
    fn services_as_apps() {
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
        ] {
            assert_eq!(app_without_defaults(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_run_here_says_what_to_do() {
        for (text, why) in [
            ("{image: postgres}", "x-ostler"),
            ("{image: valkey/valkey}", "`valkey-server`, which is not on the PATH"),
            ("{build: .}", "its Dockerfile"),
            ("{build: ., command: []}", "its Dockerfile"),
        ] {
            let app = app(text);
            assert!(app.as_str().is_some_and(|text| text.contains(why)), "{app}");
        }
    }

    #[test]
    fn what_is_told() {
        let text = "name: shop\nservices:\n  a: {command: [x], profiles: [dev], depends_on: [db], environment: {URL: 'redis://redis:6379/0', DB: db, OTHER: 'http://redis.example', N: $NONE}}\n  redis: {image: redis}\n  db: {image: postgres}\n";
        let project = read(text);
        assert_eq!((project.name.as_deref(), &project.services[0].profiles), (Some("shop"), &vec!["dev".to_owned()]));
        let keys: Vec<(&str, &str)> = project.told.iter().map(|told| (told.app.as_str(), told.key.as_str())).collect();
        assert_eq!(keys, [("-", "NONE"), ("a", "depends_on"), ("a", "environment"), ("a", "environment")]);
        let around = Surroundings { variable: &|_| None, has_program: &|_| false, has_file: &|_| false };
        for text in ["", "services: {}", "services: [a]", "services: {a: 1}", "services: {a: {command: '${X:?no}'}}"] {
            assert!(compose_project(text, &around).is_err(), "{text}");
        }
    }
}
