//! Commands on hosts: `ssh` with its arguments, or the shell of this machine.

use std::process::Command;

use ostler_fleet::ssh::{self, Host, Login};

use super::target::Target;

/// Options that close a hanging connection, unless the target sets others.
const OPTIONS: [&str; 3] = ["ConnectTimeout=20", "ServerAliveInterval=10", "ServerAliveCountMax=3"];

/// First line from a host that is reachable. Before this line no script is sent, so nothing was
/// changed.
pub(super) const HELLO: &str = "ostler-deploy is here";

/// Command for the login shell, of any kind, if a script follows on standard input.
const FED: &str = "echo ostler-deploy is here; exec sh";

/// Use of the remote shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// `sh` that reads its script from standard input.
    Fed,
    /// `sh` runs this script with the caller's standard input, and with a terminal if it needs one.
    Given(&'a str),
}

/// Returns the words of the command line.
pub(super) fn words(target: &Target, host: &Host, way: Way<'_>, home: Option<&str>) -> Vec<String> {
    if host.is_local() {
        let script = match way {
            Way::Fed => FED,
            Way::Given(script) => script,
        };
        return ["sh", "-c", script].map(str::to_owned).to_vec();
    }
    let login =
        Login { host: host.clone(), key: target.key.clone(), options: target.ssh_options.clone(), forward_agent: target.forward_agent };
    let command = match way {
        Way::Fed => FED.to_owned(),
        Way::Given(script) => ssh::command(script),
    };
    ssh::words(&login, &OPTIONS, target.needs_tty && way != Way::Fed, &command, home)
}

/// Returns the command.
pub(super) fn process(target: &Target, host: &Host, way: Way<'_>) -> Command {
    let home = std::env::var("HOME").ok();
    let words = words(target, host, way, home.as_deref());
    let mut process = Command::new(words.first().map_or("ssh", String::as_str));
    process.args(words.get(1..).unwrap_or_default());
    process
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
    fn command_line_follows_target() {
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
    fn bootstrap_command_prints_hello_first() {
        let output = Command::new("sh").args(["-c", FED]).stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{HELLO}\n"));
    }
}
