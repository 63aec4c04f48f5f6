//! Script for the shell of a host: it finds `ostler`, prints a greeting, and replaces itself with
//! `ostler`. Every word from the caller is quoted with [`sh`].

use crate::sh;

/// First word of the greeting line. The host prints that line before it does anything else.
const HERE: &str = "ostler-fleet";

/// Second word if the host has no `ostler`.
const ABSENT: &str = "absent";

/// Maximum length of a version in the greeting.
const MAX_VERSION: usize = 40;

/// Command for a host.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoteCommand<'a> {
    /// Path of `ostler` on the host; none = the script searches for it.
    pub program: Option<&'a str>,
    /// Home of `ostler` on the host; none = the default.
    pub home: Option<&'a str>,
    /// Words of the command.
    pub words: &'a [String],
    /// Words of a second command that runs if the first one succeeds. It determines the exit code,
    /// and its output goes to standard error.
    pub then: Option<&'a [String]>,
    /// True if the command has the user's terminal; no greeting is printed then.
    pub has_terminal: bool,
}

/// Greeting of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// The host has `ostler` of this version.
    Here(String),
    /// The host has no `ostler`.
    Absent,
}

/// Returns the script. It is one line, because some login shells do not support line breaks in
/// quotes.
pub fn script(ask: &RemoteCommand<'_>) -> String {
    let mut text = format!("P={} H={}; ", sh(ask.program.unwrap_or_default()), sh(ask.home.unwrap_or_default()));
    text += "at_home() { case $1 in '~/'*) printf %s \"$HOME/${1#??}\" ;; *) printf %s \"$1\" ;; esac; }; \
             [ -z \"$H\" ] || { OSTLER_HOME=$(at_home \"$H\"); export OSTLER_HOME; }; P=$(at_home \"$P\"); \
             [ -n \"$P\" ] || P=$(command -v ostler) || for F in \"$HOME/.local/bin\" \"$HOME/.cargo/bin\" /usr/local/bin /opt/ostler/bin; do \
             [ -x \"$F/ostler\" ] && { P=$F/ostler; break; }; done; ";
    if ask.has_terminal {
        text += "command -v \"$P\" >/dev/null 2>&1 || { echo 'ostler was not found there' >&2; exit 127; }; ";
    } else {
        // Begins with a line break, because a login shell may have printed an unfinished line.
        text += &format!(
            "V=$(\"$P\" --version 2>/dev/null </dev/null) || {{ printf '\\n{HERE} {ABSENT}\\n'; exit 127; }}; printf '\\n{HERE} %s\\n' \"$V\"; "
        );
    }
    match ask.then {
        None => text += &format!("exec \"$P\" {}", quoted(ask.words)),
        Some(then) => text += &format!("\"$P\" {} || exit $?; exec \"$P\" {} >&2", quoted(ask.words), quoted(then)),
    }
    text
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| sh(word)).collect::<Vec<_>>().join(" ")
}

/// Parses the greeting. Returns `None` for other lines, such as output of the login shell.
pub fn greeting(line: &str) -> Option<Greeting> {
    let rest = line.strip_prefix(HERE)?.strip_prefix(' ')?;
    if rest == ABSENT {
        return Some(Greeting::Absent);
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-+_".contains(c);
    let version: String = rest.chars().take_while(|c| is_plain(*c)).take(MAX_VERSION).collect();
    Some(Greeting::Here(if version.is_empty() { "?".into() } else { version }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// Creates a folder with a fake `ostler` that prints its arguments.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ostler-fleet-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.join("bin")).unwrap();
        let program = folder.join("bin/ostler");
        let text = "#!/bin/sh\n[ \"$1\" = --version ] && { echo 1.2.3; exit; }\n\
                    [ \"$1\" = fail ] && exit 4\nprintf '%s\\001' \"$@\"; printf 'home=%s' \"$OSTLER_HOME\"\n";
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    fn run(folder: &Path, path: &str, ask: &RemoteCommand<'_>) -> (String, String, i32) {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script(ask)]).env_clear().env("HOME", folder).env("PATH", path);
        let output = shell.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(output.stdout), text(output.stderr), output.status.code().unwrap())
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn script_finds_ostler_and_executes_it() {
        let folder = folder("finds");
        let bin = folder.join("bin");
        let words = words("restart api --json");
        let ask = RemoteCommand { words: &words, ..RemoteCommand::default() };
        let said = "\nostler-fleet 1.2.3\nrestart\u{1}api\u{1}--json\u{1}home=";
        assert_eq!(run(&folder, bin.to_str().unwrap(), &ask), (said.into(), String::new(), 0));
        assert_eq!(run(&folder, "/nowhere", &ask), ("\nostler-fleet absent\n".into(), String::new(), 127));
        let named = RemoteCommand { program: Some("~/bin/ostler"), home: Some("~/a b"), ..ask };
        assert_eq!(run(&folder, "/nowhere", &named).0, format!("{said}{}/a b", folder.display()));
        let wrong = RemoteCommand { program: Some("/nowhere/ostler"), ..ask };
        assert_eq!(run(&folder, bin.to_str().unwrap(), &wrong).0, "\nostler-fleet absent\n", "the one that was named, or none");
        fs::create_dir_all(folder.join(".local")).unwrap();
        fs::rename(&bin, folder.join(".local/bin")).unwrap();
        assert_eq!(run(&folder, "/nowhere", &ask).2, 0, "where users install");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn exit_code_is_that_of_the_second_command() {
        let folder = folder("then");
        let path = folder.join("bin").display().to_string();
        let (first, second, fails) = (words("reload api"), words("health api"), words("fail"));
        let ask = RemoteCommand { words: &first, then: Some(&second), ..RemoteCommand::default() };
        let (out, err, code) = run(&folder, &path, &ask);
        assert!(!script(&ask).contains('\n'), "not every login shell takes it in quotes");
        assert!(out.ends_with("reload\u{1}api\u{1}home=") && err.starts_with("health\u{1}api") && code == 0, "{out:?} {err:?} {code}");
        assert_eq!(run(&folder, &path, &RemoteCommand { words: &fails, ..ask }).2, 4);
        assert_eq!(run(&folder, &path, &RemoteCommand { then: Some(&fails), ..ask }).2, 4);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn greeting_parses_version_or_absence() {
        let here = |version: &str| Some(Greeting::Here(version.into()));
        for (line, expected) in [
            ("ostler-fleet 0.1.0", here("0.1.0")),
            ("ostler-fleet absent", Some(Greeting::Absent)),
            ("ostler-fleet 1\u{1b}[2J", here("1")),
            ("ostler-fleet ", here("?")),
            ("Welcome to web1", None),
            ("ostler-fleets 1", None),
        ] {
            assert_eq!(greeting(line), expected, "{line:?}");
        }
        assert!(matches!(greeting(&format!("ostler-fleet {}", "9".repeat(99))), Some(Greeting::Here(v)) if v.len() == MAX_VERSION));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
        /// For any words, the host's `ostler` gets them unchanged, and no shell executes any part
        /// of them.
        #[test]
        fn script_passes_words_unchanged(given in prop::collection::vec("[^\0\u{1}]{0,20}", 1..4)) {
            let folder = folder("words");
            let path = folder.join("bin").display().to_string();
            let mut all = vec!["start".to_owned()];
            all.extend(given);
            let (out, _, _) = run(&folder, &path, &RemoteCommand { words: &all, ..RemoteCommand::default() });
            prop_assert_eq!(out, format!("\nostler-fleet 1.2.3\n{}\u{1}home=", all.join("\u{1}")));
        }
    }
}
