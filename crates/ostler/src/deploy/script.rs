//! Text for the shell of a host. Every value of the config is quoted by [`sh`]; the rest of the
//! text contains nothing from outside.

use std::fmt::Write as _;

use ostler_core::text::fnv::fnv_64;

use super::action::Action;
use super::target::Target;
use crate::text::sh;

/// Functions of a job, which use its variables.
const JOB: &str = include_str!("job.sh");
/// Script that starts a job and follows it.
const FOLLOW: &str = include_str!("follow.sh");

/// Returns the whole script of a setup, update or revert, as `sh` reads it. `apps` are the names of
/// the apps that must be healthy afterwards, `file` is the config file in the repository. Returns
/// none for other actions.
pub(super) fn job(target: &Target, action: &Action, file: &str, apps: &[String]) -> Option<String> {
    let mut text = String::from("R=$1 D=$2 STALE=$3\n");
    let post_deploy = target.hooks.post_deploy.clone().unwrap_or_else(|| default_post_deploy(&target.name, file));
    let (reference, back, begin) = match action {
        Action::Setup => ("", 0, "setup"),
        Action::Update(name) => (name.as_deref().unwrap_or(&target.reference), 0, "deploy"),
        Action::Revert(back) => ("", *back, "deploy"),
        Action::Current | Action::Previous | Action::Exec(_) | Action::List => return None,
    };
    // `master` means the branch of the repository, not the branch that the clone once created. HEAD
    // means that of the clone, as in PM2.
    let is_remote = !reference.is_empty() && !reference.starts_with("HEAD") && !reference.starts_with("origin/");
    let back = if back == 0 { String::new() } else { back.to_string() };
    let fast = |option: &'static str| if target.fetch_fast { option } else { "" };
    let hook = |hook: &Option<String>| hook.clone().unwrap_or_default();
    for (name, value) in [
        ("P", target.path.as_str()),
        ("REPO", &target.repo),
        ("REF", reference),
        ("REMOTE", if is_remote { "1" } else { "" }),
        ("BACK", &back),
        ("CLONE", fast("--depth=5 --no-single-branch")),
        ("FETCH", fast("--depth=5")),
        ("HEALTH", &format!("{}s", target.health_seconds)),
        ("PRE_SETUP", &hook(&target.hooks.pre_setup)),
        ("POST_SETUP", &hook(&target.hooks.post_setup)),
        ("PRE_DEPLOY", &hook(&target.hooks.pre_deploy)),
        ("POST_DEPLOY", &post_deploy),
    ] {
        assign(&mut text, name, value);
    }
    text += "variables() {\n";
    for (name, value) in &target.env {
        let _ = writeln!(text, "  export {name}={}", sh(value));
    }
    text += "  :\n}\nnames() {\n";
    // A name that begins with a dash would be an option, and a name with a line end would be two
    // names.
    for name in apps.iter().filter(|name| !name.starts_with('-') && !name.chars().any(char::is_control)) {
        let _ = writeln!(text, "  printf '%s\\n' {}", sh(name));
    }
    text += "  :\n}\n";
    text += JOB;
    let _ = writeln!(text, "{begin}\nexit 0");
    Some(text)
}

fn assign(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name}={}", sh(value));
}

/// Returns the command that reloads the apps if the config names none. If the host only has PM2, it
/// is PM2's command.
fn default_post_deploy(environment: &str, file: &str) -> String {
    let (file, environment) = (sh(file), sh(environment));
    format!(
        "if command -v ostler >/dev/null 2>&1; then ostler startOrReload {file} --env {environment}; else pm2 startOrRestart {file} --env {environment}; fi"
    )
}

/// Wrapper that makes the script of [`job`] a separate job. It records its pid first and its exit
/// code last.
const DETACHED: &str = r#"(set -C; printf '%s\n' $$ > "$R/pid") 2>/dev/null || exit 0
ended() { printf '%s\n' "$1" > "$R/code.part" && mv "$R/code.part" "$R/code"; rm -f "$D/owner"; }
trap 'ended $?' EXIT
"#;

/// Run of a job on a host, with the state that its connections share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobRun {
    /// Name of the run on the host. If another run is in progress there, it is followed instead.
    pub id: String,
    /// Bytes of output that have arrived.
    pub received: u64,
    /// Whether the job may be started: false once it is known to have started.
    pub may_start: bool,
    /// Whether the followed run is a different deployment that was already in progress.
    pub is_other: bool,
}

/// Returns the text that starts the job, or follows it from the position of this run.
pub(super) fn follow(target: &Target, run: &JobRun, job: &str) -> String {
    let mut text = String::new();
    let (head, rest) = job.split_once('\n').unwrap_or((job, ""));
    for (name, value) in [
        ("NAME", format!("{:016x}", fnv_64(target.path.bytes()))),
        ("ID", run.id.clone()),
        ("WHAT", format!("{:016x}", fnv_64(job.bytes()))),
        ("FROM", run.received.to_string()),
        ("START", if run.may_start { "1" } else { "" }.to_owned()),
        ("JOB", format!("{head}\n{DETACHED}{rest}")),
    ] {
        assign(&mut text, name, &value);
    }
    text + FOLLOW
}

/// Returns the script of an action that changes nothing itself and whose end is awaited; none for
/// jobs.
pub(super) fn query(target: &Target, action: &Action) -> Option<String> {
    let mut text = String::new();
    assign(&mut text, "P", &target.path);
    text += "case $P in '~/'*) P=$HOME/${P#'~/'} ;; /*) ;; *) P=$HOME/$P ;; esac\n";
    match action {
        Action::Current => text += "cd \"$P/source\" && git rev-parse --short HEAD",
        Action::Previous => {
            text += "[ \"$(($(wc -l < \"$P/.deploys\")))\" -gt 1 ] || { echo 'there is no earlier deployment' >&2; exit 1; }\ntail -n 2 \"$P/.deploys\" | head -n 1"
        }
        Action::List => {
            text += "awk '{ all[NR] = $0 } END { for (n = NR; n > 0; n--) printf \"%d\\t%s\\n\", NR - n, all[n] }' \"$P/.deploys\"";
        }
        Action::Exec(command) => {
            assign(&mut text, "C", command);
            text += "cd \"$P/current\" || exit 1\ncommand -v bash >/dev/null 2>&1 && exec bash -c \"$C\"\nexec sh -c \"$C\"";
        }
        Action::Setup | Action::Update(_) | Action::Revert(_) => return None,
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn target() -> Target {
        let value = serde_json::json!({"host": "h", "repo": "r", "path": "/p", "ref": "origin/main"});
        Target::of("production", &value).unwrap().0
    }

    fn shell(script: &str) -> String {
        let mut child = Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn job_contains_reference_of_the_action() {
        for (action, reference, remote, back) in [
            (Action::Update(None), "origin/main", "''", "''"),
            (Action::Update(Some("main".into())), "main", "1", "''"),
            (Action::Update(Some("HEAD~1".into())), "HEAD~1", "''", "''"),
            (Action::Revert(2), "''", "''", "2"),
        ] {
            let text = job(&target(), &action, "e.json", &[]).unwrap();
            // `~` is quoted.
            for line in [
                format!("REF={}\n", if reference == "''" { "''".into() } else { sh(reference) }),
                format!("REMOTE={remote}\n"),
                format!("BACK={back}\n"),
            ] {
                assert!(text.contains(&line), "{action:?}: {line}");
            }
        }
        for action in [Action::Current, Action::Previous, Action::List, Action::Exec("x".into())] {
            assert!(job(&target(), &action, "e.json", &[]).is_none() && query(&target(), &action).is_some());
        }
    }

    #[test]
    fn scripts_have_valid_shell_syntax() {
        for action in [Action::Setup, Action::Update(None), Action::Revert(1)] {
            let job = job(&target(), &action, "e.json", &["a b".into()]).unwrap();
            let follow = follow(&target(), &JobRun { id: "1".into(), received: 0, may_start: true, is_other: false }, &job);
            for text in [job, follow] {
                let mut child = Command::new("sh").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
                child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
                assert!(child.wait().unwrap().success(), "{text}");
            }
        }
    }

    #[test]
    fn default_post_deploy_hook_reloads_the_apps() {
        let mut target = target();
        target.name = "it's".into();
        assert!(job(&target, &Action::Update(None), "a b.json", &[]).unwrap().contains("startOrReload"));
        assert!(default_post_deploy("it's", "a b.json").contains(r"ostler startOrReload 'a b.json' --env 'it'\''s';"));
    }

    proptest! {
        /// The shell receives each value of the config unchanged, and executes no part of it.
        #[test]
        fn script_passes_values_unchanged(hook in "[^\0\r]{0,30}", value in "[^\0]{0,30}", name in "[a-z$`'\"\\\\ ]{1,20}") {
            let mut target = target();
            target.hooks.post_deploy = Some(hook.clone());
            target.env.insert("A".into(), value.clone());
            let text = job(&target, &Action::Update(None), "e", std::slice::from_ref(&name)).unwrap();
            let text = text.rsplit_once("deploy\nexit 0").unwrap().0.to_owned();
            let output = shell(&format!("{text}\nvariables; printf '%s\\001%s\\001' \"$POST_DEPLOY\" \"$A\"; names"));
            prop_assert_eq!(output, format!("{hook}\u{1}{value}\u{1}{name}\n"));
        }
    }
}
