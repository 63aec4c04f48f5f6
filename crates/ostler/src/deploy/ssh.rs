//! Commands on hosts: `ssh` with its arguments, or the shell of this machine; and what to do when a connection ends.

use std::process::Command;
use std::time::Duration;

use super::script::command;
use super::target::{Host, Target};

/// Exit code of `ssh` when it is the connection that failed.
pub(super) const LOST: i32 = 255;

/// First line of a host that is there. Until it has come, no script was sent, so nothing was changed.
pub(super) const HELLO: &str = "ostler-deploy is here";

/// What the login shell, of whatever kind, is told when a script is to follow.
const FED: &str = "echo ostler-deploy is here; exec sh";

/// Way in which the shell is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// `sh` that reads its script from standard input.
    Fed,
    /// This script, with the caller's standard input; with a terminal where one is needed.
    Given(&'a str),
}

/// The command line.
pub(super) fn words(target: &Target, host: &Host, way: Way<'_>, home: Option<&str>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    if host.is_local() {
        let script = match way {
            Way::Fed => FED,
            Way::Given(script) => script,
        };
        return ["sh", "-c", script].map(str::to_owned).to_vec();
    }
    words.push("ssh".into());
    // The first value of an option counts: ours are last.
    for option in &target.ssh_options {
        words.extend(["-o".into(), option.clone()]);
    }
    for option in ["ConnectTimeout=20", "ServerAliveInterval=10", "ServerAliveCountMax=3"] {
        words.extend(["-o".into(), option.into()]);
    }
    if target.forward_agent {
        words.push("-A".into());
    }
    words.push(if target.needs_tty && way != Way::Fed { "-tt" } else { "-T" }.into());
    if let Some(port) = host.port {
        words.extend(["-p".into(), port.to_string()]);
    }
    if let Some(key) = &target.key {
        let at_home = key.strip_prefix("~/").zip(home).map(|(rest, home)| format!("{home}/{rest}"));
        words.extend(["-i".into(), at_home.unwrap_or_else(|| key.clone())]);
    }
    if let Some(user) = &host.user {
        words.extend(["-l".into(), user.clone()]);
    }
    words.extend(["--".into(), host.name.clone()]);
    words.push(match way {
        Way::Fed => FED.into(),
        Way::Given(script) => command(script),
    });
    words
}

/// The command.
pub(super) fn process(target: &Target, host: &Host, way: Way<'_>) -> Command {
    let home = std::env::var("HOME").ok();
    let words = words(target, host, way, home.as_deref());
    let mut process = Command::new(words.first().map_or("ssh", String::as_str));
    process.args(words.get(1..).unwrap_or_default());
    process
}

/// Most connections in a row that bring nothing new.
const MOST_RETRIES: u32 = 6;

/// Wait before the next connection, when one was lost; none: give up. A host that was never there is not asked again.
pub(super) fn retry(was_there: bool, in_vain: u32) -> Option<Duration> {
    (was_there && in_vain < MOST_RETRIES).then(|| Duration::from_secs(1 << in_vain.min(4)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(members: serde_json::Value, way: Way<'_>) -> String {
        let mut all = json!({"host": "h", "repo": "r", "path": "/p", "ref": "x"});
        for (key, value) in members.as_object().unwrap() {
            all[key] = value.clone();
        }
        let target = Target::of("p", &all).unwrap().0;
        words(&target, &target.hosts[0], way, Some("/home/me")).join(" ")
    }

    #[test]
    fn command_lines() {
        let ours = "-o ConnectTimeout=20 -o ServerAliveInterval=10 -o ServerAliveCountMax=3";
        for (members, way, words) in [
            (json!({}), Way::Fed, format!("ssh {ours} -T -- h {FED}")),
            (json!({"host": "localhost"}), Way::Fed, format!("sh -c {FED}")),
            (json!({"host": "localhost"}), Way::Given("x y"), "sh -c x y".into()),
            (json!({}), Way::Given("it's"), format!(r"ssh {ours} -T -- h sh -c 'it'\''s'")),
            (
                json!({"user": "u", "port": 7, "key": "~/k", "ssh_options": ["A=1"], "forward-agent": true, "needs_tty": true}),
                Way::Given("x"),
                format!("ssh -o A=1 {ours} -A -tt -p 7 -i /home/me/k -l u -- h sh -c x"),
            ),
            (json!({"needs_tty": true}), Way::Fed, format!("ssh {ours} -T -- h {FED}")),
        ] {
            assert_eq!(line(members, way), words);
        }
    }

    #[test]
    fn the_first_line() {
        let output = Command::new("sh").args(["-c", FED]).stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{HELLO}\n"));
    }

    #[test]
    fn when_to_try_again() {
        for (was_there, in_vain, seconds) in
            [(false, 0, None), (true, 0, Some(1)), (true, 3, Some(8)), (true, 5, Some(16)), (true, 6, None)]
        {
            assert_eq!(retry(was_there, in_vain), seconds.map(Duration::from_secs), "{was_there} {in_vain}");
        }
    }
}
