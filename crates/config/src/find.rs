//! Search for config files: recognizes config file arguments and finds the default file.

use std::path::{Path, PathBuf};

use crate::context::Context;

/// Default names, tried in this order if the command has no target. PM2 knows only the first.
pub const DEFAULT_NAMES: &[&str] = &[
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
    "ecosystem.config.ts",
    "ecosystem.config.json",
    "ecosystem.json",
    "ecosystem.json5",
    "ecosystem.config.yml",
    "ecosystem.config.yaml",
    "ecosystem.yml",
    "ecosystem.yaml",
    "ecosystem.config.toml",
    "ecosystem.toml",
];

/// Kind of an argument of `start` and similar commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartArgument {
    /// A config file, absolute; it need not exist.
    Config(PathBuf),
    /// `-`: a config file on standard input.
    Stdin,
    /// Anything else: a script, command, name or id.
    Other,
}

/// Classifies an argument.
///
/// PM2 treats any name with `.json`, `.yml`, `.yaml`, `.config.js`, `.config.cjs` or `.config.mjs`
/// anywhere in it as a config file and runs it inside the client. PM2 differs: only the file name
/// counts, not its folders; and a JavaScript file like `server.config.js` that never mentions apps
/// is treated as a script.
pub fn classify(argument: &str, context: &Context) -> StartArgument {
    if argument == "-" {
        return StartArgument::Stdin;
    }
    let path = context.in_cwd(argument);
    if !is_config_name(argument) || path.is_dir() || argument.chars().any(char::is_whitespace) && !path.is_file() {
        return StartArgument::Other;
    }
    if !context.as_pm2 && is_program(argument) && !is_ecosystem(argument) && path.is_file() && !mentions_apps(&path) {
        return StartArgument::Other;
    }
    StartArgument::Config(path)
}

/// Returns the first default config file in the caller's directory.
pub fn default_file(context: &Context) -> Option<PathBuf> {
    DEFAULT_NAMES.iter().map(|name| context.cwd.join(name)).find(|path| path.is_file())
}

/// Returns true if the name looks like that of a config file.
pub fn is_config_name(argument: &str) -> bool {
    let name = file_name(argument);
    const ANYWHERE: &[&str] = &[".json", ".yml", ".yaml", ".config.js", ".config.cjs", ".config.mjs"];
    const AT_END: &[&str] = &[".toml", ".config.ts", ".config.mts", ".config.cts"];
    ANYWHERE.iter().any(|part| name.contains(part)) || AT_END.iter().any(|end| name.ends_with(end))
}

/// Endings of scripts that an interpreter runs.
const SCRIPT_ENDINGS: &[&str] =
    &[".js", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".py", ".sh", ".rb", ".php", ".pl", ".coffee", ".ls"];

/// Returns true for a regular file that is a program by its name, or by its first bytes: `#!`, or
/// those of a binary.
pub fn is_script(path: &Path) -> bool {
    let name = file_name(&path.to_string_lossy());
    path.is_file() && (SCRIPT_ENDINGS.iter().any(|end| name.ends_with(end)) || has_head_of_program(path))
}

fn has_head_of_program(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read(&mut file, &mut head));
    read.is_ok_and(|length| head.get(..length).is_some_and(|head| head.starts_with(b"#!") || head.starts_with(b"\x7fELF")))
}

fn file_name(argument: &str) -> String {
    Path::new(argument).file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

fn is_program(argument: &str) -> bool {
    file_name(argument).contains(".config.")
        && [".js", ".cjs", ".mjs", ".ts", ".mts", ".cts"].iter().any(|end| file_name(argument).ends_with(end))
}

fn is_ecosystem(argument: &str) -> bool {
    let name = file_name(argument);
    name.starts_with("ecosystem.") || name.starts_with("pm2.") || name.starts_with("ostler.")
}

/// Returns true if a file has one of the words that declare apps. The loader reports an unreadable
/// file.
fn mentions_apps(path: &Path) -> bool {
    match std::fs::read(path) {
        Ok(bytes) => [&b"apps"[..], b"pm2", b"script", b"require", b"import"].iter().any(|word| {
            // `require` and `import` count only together with an export: the apps may come from
            // another file.
            let needs_export = *word == b"require" || *word == b"import";
            contains(&bytes, word) && (!needs_export || contains(&bytes, b"module.exports") || contains(&bytes, b"export default"))
        }),
        Err(_) => true,
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::app::EnvMap;

    #[test]
    fn config_files_are_recognized_by_name() {
        for name in ["a.json", "a.json5", "x.json.bak", "p/a.yml", "a.yaml", "ecosystem.config.js", "a.config.mjs", "a.toml", "a.config.ts"]
        {
            assert!(is_config_name(name), "{name}");
        }
        for name in ["app.js", "config.js", "api", "0", "all", "x.json/app.js", "app.ts", "/regex/"] {
            assert!(!is_config_name(name), "{name}");
        }
    }

    #[test]
    fn scripts_are_recognized_by_name_or_content() {
        let dir = crate::check::tests::scratch("scripts");
        for (name, text, expected) in [
            ("app.js", "", true),
            ("app.py", "", true),
            ("tool", "#!/bin/sh\n", true),
            ("binary", "\x7fELF", true),
            ("apps.yaml", "#! no", true),
            ("apps.json", "{}", false),
            ("notes", "apps:\n", false),
        ] {
            std::fs::write(dir.join(name), text).unwrap();
            assert_eq!(is_script(&dir.join(name)), expected, "{name}");
        }
        assert!(!is_script(&dir) && !is_script(&dir.join("absent.js")));
    }

    #[test]
    fn script_with_config_file_name_is_run_as_script() {
        let dir = crate::check::tests::scratch("find");
        std::fs::write(dir.join("server.config.js"), "http.createServer().listen(3000)").unwrap();
        std::fs::write(dir.join("my.config.js"), "module.exports = {apps: []}").unwrap();
        std::fs::write(dir.join("other.config.js"), "module.exports = require('./list')").unwrap();
        let context = Context::new(dir.clone(), EnvMap::new(), 1).unwrap();
        assert_eq!(classify("server.config.js", &context), StartArgument::Other);
        // PM2 uses only the name; it treats a file that throws before it exports anything as
        // broken.
        let as_pm2 = Context { as_pm2: true, ..context.clone() };
        assert_eq!(classify("server.config.js", &as_pm2), StartArgument::Config(dir.join("server.config.js")));
        assert_eq!(classify("my.config.js", &context), StartArgument::Config(dir.join("my.config.js")));
        assert_eq!(classify("other.config.js", &context), StartArgument::Config(dir.join("other.config.js")));
        assert_eq!(classify("absent.config.js", &context), StartArgument::Config(dir.join("absent.config.js")));
        assert_eq!(classify("echo a.json", &context), StartArgument::Other);
        assert_eq!(classify("-", &context), StartArgument::Stdin);
        assert_eq!(default_file(&context), None);
        std::fs::write(dir.join("ecosystem.yaml"), "").unwrap();
        std::fs::write(dir.join("ecosystem.config.cjs"), "").unwrap();
        assert_eq!(default_file(&context), Some(dir.join("ecosystem.config.cjs")));
    }
}
