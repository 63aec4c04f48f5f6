//! Positions of mistakes, in each format: nested keys, items of lists, and apps in other files.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use ostler_config::{Context, Overlay, Problem, add_new, attempt, examine};
use ostler_core::app::EnvMap;

/// Mark before the place at which a mistake is reported.
const MARK: char = '«';

/// A folder of one test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ostler-positions-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder.canonicalize().unwrap())
    }

    /// Writes a file without its marks. Returns `file:line:column` of each mark.
    fn write(&self, name: &str, text: &str) -> Vec<String> {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.replace(MARK, "")).unwrap();
        let marks = text.match_indices(MARK).map(|(at, _)| {
            let before = text[..at].replace(MARK, "");
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("{name}:{line}:{column}")
        });
        marks.collect()
    }

    /// Returns all problems of a file.
    fn problems(&self, name: &str) -> Vec<Problem> {
        let context = Context::new(self.0.clone(), EnvMap::from_iter([("PATH".into(), "/usr/bin:/bin".into())]), 2).unwrap();
        let examined = examine(Path::new(name), name, &context).unwrap();
        let mut problems = examined.problems;
        for app in &examined.apps {
            add_new(&mut problems, app, attempt(app, &context, &Overlay::default()).1);
        }
        problems
    }

    #[track_caller]
    fn assert_found_at_marks(&self, name: &str, text: &str) {
        let mut marks = self.write(name, text);
        let mut found: Vec<String> = self.problems(name).iter().map(|problem| problem.place("")).collect();
        marks.sort();
        found.sort();
        assert_eq!(found, marks, "{:#?}", self.problems(name));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The same mistakes in each format.
#[test]
fn mistakes_have_positions_in_every_format() {
    let place = Place::new("formats");
    place.write("app.js", "");
    let json = r#"{"apps": [
  {"name": "a", "script": "app.js",
   "listen": [80, {"port": 81, «"modes": "0600"}],
   "stop_exit_codes": [0, «999],
   "health": {"liveness": {"http": {"port": 1, «"pathh": "/"}, "interval": "1s"}},
   "depends_on": {"b": "ready", «"c": "raedy"},
   «"unknown_key": 1},
  {"name": "b", "script": "app.js",
   "args": ["x", «{}],
   "log_rotate": {«"max_size": "huge"},
   "hooks": 1, "pre_start": {"command": "true", «"on_failure": "ignore"}}
]}"#;
    // `hooks` is no key.
    let json = json.replace("\"hooks\": 1", "«\"hooks\": 1");
    place.assert_found_at_marks("apps.json", &json);
    place.assert_found_at_marks("apps.json5", &json.replace("\"name\"", "/* the name */ name").replace("}\n]", "},\n]"));
    place.assert_found_at_marks("apps.config.js", &format!("// apps\nmodule.exports = {json};\n"));
    place.assert_found_at_marks(
        "apps.yaml",
        "apps:\n  - name: a\n    script: app.js\n    listen: [80, {port: 81, «modes: \"0600\"}]\n    stop_exit_codes:\n      - 0\n      - «999\n    \
         health:\n      liveness:\n        http: {port: 1, «pathh: /}\n    depends_on:\n      b: ready\n      «c: raedy\n    «unknown_key: 1\n",
    );
    place.assert_found_at_marks(
        "apps.toml",
        "[[apps]]\nname = 'a'\nscript = 'app.js'\nlisten = [80, {port = 81, «modes = '0600'}]\nstop_exit_codes = [0, «999]\n\
         health.liveness.http = {port = 1, «pathh = '/'}\ndepends_on = {b = 'ready', «c = 'raedy'}\n«unknown_key = 1\n",
    );
}

#[test]
fn parts_beside_the_apps_have_positions() {
    let place = Place::new("parts");
    let context = Context::new(place.0.clone(), EnvMap::new(), 2).unwrap();
    for (name, text) in [
        ("text.json", "{\n  «\"apps\": \"api\"}"),
        ("item.json", "{\"apps\": [{\"script\": \"x\"},\n  «7]}"),
        ("item.yaml", "apps:\n  - script: x\n  - «7\n"),
        ("item.toml", "apps = [{script = 'x'},\n  «7]\n"),
        ("app.config.js", "module.exports = {\n  «app: [{script: 'x'}]}"),
        ("jobs.json", "{\"apps\": [],\n \"jobs\": [«1]}"),
        ("static.json", "{\"apps\": [],\n \"static\": [{}, «1]}"),
    ] {
        let marks = place.write(name, text);
        let problem = examine(Path::new(name), name, &context).unwrap_err();
        assert_eq!([problem.place("")], *marks, "{problem}");
    }
}

#[test]
fn apps_of_loaded_files_are_reported_there() {
    let place = Place::new("loaded");
    place.write("app.js", "");
    let mut marks = place.write("apps/api.js", "module.exports = {\n  name: 'api',\n  script: 'app.js',\n  «max_restart: 1 };\n");
    marks.extend(place.write("web.json", "{\"name\": \"web\", \"script\": \"app.js\",\n \"listen\": [{«\"prot\": 1}]}"));
    place.write(
        "conf.config.js",
        "const own = {name: 'own', script: 'app.js'};\nmodule.exports = {apps: [require('./apps/api'), require('./web.json'), own]};\n",
    );
    let problems = place.problems("conf.config.js");
    assert_eq!(problems.iter().map(|problem| problem.place("")).collect::<Vec<_>>(), marks, "{problems:#?}");
    assert_eq!(problems.iter().map(|problem| problem.app.as_deref().unwrap()).collect::<Vec<_>>(), ["api", "web"]);
}
