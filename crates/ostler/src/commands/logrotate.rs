//! `logrotate`: hand the logs to the system's logrotate.
//!
//! PM2 has logrotate copy and truncate, so lines that are written in between are lost. Here
//! logrotate renames the files, and `reloadLogs` has each writer reopen its path. No line is lost,
//! and a file is compressed only when no process writes to it any more.

use std::path::{Path, PathBuf};

use ostler_core::message;
use ostler_sys::users::user::{User, group_by_id};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::home::Program;
use crate::startup::steps::{self, SetupStep};
use crate::startup::{self, print_root_command, sh};

/// Writes the configuration for logrotate; nothing is rotated now. Without root, prints the command
/// line to run.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    if !rustix::process::geteuid().is_root() {
        print_root_command(cx, call, &["logrotate"])?;
        return Ok(Status::Failed);
    }
    let (user, home) = startup::whose(cx, call)?;
    let exe = startup::own_program(cx.program)?;
    let path = PathBuf::from("/etc/logrotate.d").join(format!("{}-{}", cx.program.name(), startup::name_part(&user.name)));
    let group = group_by_id(user.gid)?;
    let log = crate::home::paths(Path::new(&home)).log;
    let text =
        rules(&Rules { program: cx.program, exe: &exe, user: &user, group: group.as_deref(), home: &home, log: &log.to_string_lossy() });
    let installed = path.parent().is_some_and(Path::is_dir);
    let write = SetupStep::Write { path: path.clone(), text, mode: 0o644 };
    steps::perform(&[write], &mut |_| {}).map_err(CliError::unchanged)?;
    cx.out.info(message!("Logs in {home} are rotated by logrotate: {path}", home, path = path.display()));
    if !installed {
        cx.out.warn(message!("logrotate does not seem to be installed on this machine: nothing will happen until it is"));
    }
    let name = cx.program.name();
    cx.out.info(message!(
        "{name} already rotates logs; use only one of the two: `{name} set log_rotate:enabled false`, or `log_rotate: false` \
         of an app, leaves it to logrotate",
        name
    ));
    Ok(Status::Ok)
}

/// Facts for the text.
struct Rules<'a> {
    program: Program,
    exe: &'a str,
    user: &'a User,
    /// Name of the user's group, if it has a name.
    group: Option<&'a str>,
    home: &'a str,
    /// Log of the daemon.
    log: &'a str,
}

/// Returns the text of the configuration. "Weekly" and twelve files are PM2's values.
fn rules(of: &Rules<'_>) -> String {
    let own_user = if of.user.uid == 0 { String::new() } else { format!("    su {}\n", owner(of.user, of.group)) };
    format!(
        "# Written by `{name} logrotate` for {home}\n{patterns}{{\n{own_user}    weekly\n    rotate 12\n    missingok\n    notifempty\n    \
         compress\n    delaycompress\n    create\n    sharedscripts\n    postrotate\n        {script}\n    endscript\n}}\n",
        name = of.program.name(),
        home = of.home,
        patterns = patterns(of.home, of.log).iter().map(|pattern| format!("{pattern}\n")).collect::<String>(),
        script = script(of),
    )
}

/// Most digits of an instance number in the patterns.
const DIGITS: usize = 5;

/// Returns the patterns of the logs. They leave out files of the built-in rotation, whose names end
/// with the digits of a date.
fn patterns(home: &str, log: &str) -> Vec<String> {
    let numbered = |kind: &'static str| (1..=DIGITS).map(move |digits| format!("logs/*-{kind}-{}.log", "[0-9]".repeat(digits)));
    let names = std::iter::once("logs/*[!0-9].log".to_owned()).chain(numbered("out")).chain(numbered("error"));
    let of_apps = names.map(|name| format!("{}/{name}", without_wildcards(home)));
    std::iter::once(without_wildcards(log)).chain(of_apps).map(|pattern| in_quotes(&pattern)).collect()
}

/// Escapes a path so that a glob matches it literally. logrotate cannot escape a brace, so `?`
/// replaces it.
fn without_wildcards(path: &str) -> String {
    let mut glob = String::new();
    for c in path.chars() {
        match c {
            '*' | '?' | '[' | ']' | '\\' => glob.extend(['\\', c]),
            '{' | '}' => glob.push('?'),
            c => glob.push(c),
        }
    }
    glob
}

/// Quotes one name in a list of logrotate. Within double quotes a backslash is literal, unless a
/// quote follows.
fn in_quotes(glob: &str) -> String {
    format!("\"{}\"", glob.replace('"', "\\\""))
}

/// Returns the names for `su`, which accepts no quotes. Names that are not one plain word become
/// numbers, which older versions do not accept.
fn owner(user: &User, group: Option<&str>) -> String {
    let plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    let name = if plain(&user.name) { user.name.clone() } else { user.uid.to_string() };
    let group = group.filter(|name| plain(name)).map_or_else(|| user.gid.to_string(), str::to_owned);
    format!("{name} {group}")
}

/// Returns the script. It runs as root, even if the logs belong to another user. If the daemon does
/// not run, it has no files to reopen, and the script does not start it.
fn script(of: &Rules<'_>) -> String {
    let (home, exe) = (sh(&format!("{}={}", crate::home::variable(of.program), of.home)), sh(of.exe));
    let pid_file = sh(&format!("{}/pm2.pid", of.home));
    // logrotate reports what a script prints.
    let quiet = if of.program.is_pm2() { ">/dev/null" } else { "--silent" };
    let words = format!("{{ kill -0 \"$(cat {pid_file})\"; }} 2>/dev/null || exit 0; exec env {home} {exe} reloadLogs {quiet}");
    if of.user.uid == 0 { words } else { format!("su -s /bin/sh -c {} -- {}", sh(&words), sh(&of.user.name)) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn user(name: &str, uid: u32) -> User {
        User { uid, gid: uid, name: name.into(), home: format!("/home/{name}"), shell: "/bin/sh".into() }
    }

    fn text(user: &User, home: &str) -> String {
        rules(&Rules { program: Program::Pm2, exe: "/usr/bin/pm2", user, group: Some("staff"), home, log: &format!("{home}/pm2.log") })
    }

    #[test]
    fn config_switches_to_the_owner_and_reloads_logs() {
        let text = text(&user("deploy", 1500), "/home/deploy/.pm2");
        let (names, rest) = text.split_once('{').unwrap();
        assert!(names.contains("\"/home/deploy/.pm2/pm2.log\"\n\"/home/deploy/.pm2/logs/*[!0-9].log\"\n"), "{names}");
        assert!(names.contains("\"/home/deploy/.pm2/logs/*-out-[0-9][0-9].log\"\n"), "{names}");
        assert_eq!(
            rest,
            "\n    su deploy staff\n    weekly\n    rotate 12\n    missingok\n    notifempty\n    compress\n    delaycompress\n    create\n    \
             sharedscripts\n    postrotate\n        su -s /bin/sh -c '{ kill -0 \"$(cat /home/deploy/.pm2/pm2.pid)\"; } 2>/dev/null || exit 0; exec \
             env PM2_HOME=/home/deploy/.pm2 /usr/bin/pm2 reloadLogs >/dev/null' -- deploy\n    endscript\n}\n"
        );
    }

    #[test]
    fn config_of_root_does_not_switch_user() {
        assert!(!text(&user("root", 0), "/root/.pm2").contains("su "));
    }

    #[test]
    fn unsafe_user_names_are_written_as_ids() {
        for (name, owner) in
            [("deploy", "deploy"), ("web-1", "web-1"), ("j.doe", "j.doe"), ("a b", "7"), ("12", "7"), ("-x", "7"), ("", "7")]
        {
            assert_eq!(super::owner(&user(name, 7), Some(name)), format!("{owner} {owner}"));
            assert_eq!(super::owner(&user(name, 7), None), format!("{owner} 7"));
        }
    }

    /// The logs that a glob of this home matches. A shell matches it, without logrotate's own
    /// quotes.
    #[test]
    fn globs_match_logs_but_not_rotated_files() {
        let home = std::env::temp_dir().join(format!("ostler-logrotate-{}", std::process::id()));
        std::fs::create_dir_all(home.join("logs")).unwrap();
        let logs = ["api-out.log", "api-error.log", "api-out-0.log", "api-error-17.log", "v2-out.log", "own.log"];
        let old = [
            "api-out__2026-11-21_00-00-00.log",
            "api-out-0__2026-11-21_00-00-00.log",
            "api-out__2026-11-21_00-00-00-2.log",
            "api-out.log.1",
        ];
        for name in logs.iter().chain(&old) {
            std::fs::write(home.join("logs").join(name), "x").unwrap();
        }
        let globs: Vec<String> =
            patterns(home.to_str().unwrap(), "/nowhere/pm2.log").iter().map(|glob| glob.trim_matches('"').to_owned()).collect();
        let found = Command::new("sh").args(["-c", &format!("ls -d {}", globs.join(" "))]).output().unwrap().stdout;
        let mut found: Vec<String> =
            String::from_utf8(found).unwrap().lines().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect();
        found.sort();
        let mut wanted = logs.to_vec();
        wanted.sort_unstable();
        std::fs::remove_dir_all(&home).unwrap();
        assert_eq!(found, wanted);
    }

    proptest! {
        /// A shell reads the script back as words, and no part of a name ends a line of the file.
        #[test]
        fn hostile_names_stay_quoted(name in "[^\0-\u{1f}\u{7f}]{1,20}") {
            let (home, user) = (format!("/home/{name}"), user(&name, 1500));
            let text = text(&user, &home);
            prop_assert_eq!(text.lines().filter(|line| line.trim() == "endscript").count(), 1);
            let list = text.split_once('\n').unwrap().1.split_once('{').unwrap().0;
            prop_assert!(list.ends_with("[0-9].log\"\n"));
            let has_brace = list.contains('}');
            prop_assert!(!has_brace);
            let script = text.lines().find_map(|line| line.trim_start().strip_prefix("su -s ")).unwrap();
            let read = Command::new("sh").args(["-c", &format!("set -- {script}\nprintf %s \"$5\"")]).output().unwrap();
            prop_assert_eq!(String::from_utf8(read.stdout).unwrap(), name);
        }
    }
}
