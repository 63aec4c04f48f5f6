//! Programs that run an app in a child process.

use crate::app::AppSpec;

/// Programs that run the app in a child process: the first Node process is the program itself, not
/// the app.
const LAUNCHERS: [&str; 11] = ["npm", "npx", "yarn", "pnpm", "bunx", "tsx", "nodemon", "ts-node-dev", "tsnd", "cross-env", "env-cmd"];

/// Returns the name of the program that runs the app in a child process, if the app has one.
pub fn launcher(spec: &AppSpec) -> Option<&'static str> {
    let programs = spec.interpreter.iter().chain([&spec.script]);
    let names = programs.filter_map(|path| path.rsplit('/').next());
    names.filter_map(|name| LAUNCHERS.into_iter().find(|launcher| *launcher == name.strip_suffix(".js").unwrap_or(name))).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launcher_is_recognized_as_interpreter_and_as_script() {
        let spec = |interpreter: Option<&str>, script: &str| AppSpec {
            interpreter: interpreter.map(str::to_owned),
            script: script.into(),
            ..AppSpec::default()
        };
        assert_eq!(launcher(&spec(Some("node"), "/usr/bin/npm")), Some("npm"));
        assert_eq!(launcher(&spec(Some("/srv/node_modules/.bin/tsx"), "/srv/app.ts")), Some("tsx"));
        assert_eq!(launcher(&spec(Some("node"), "/srv/tsx/app.js")), None);
    }
}
