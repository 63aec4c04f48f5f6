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
const STDIN_COMMAND: &str = "echo ostler-deploy is here; exec sh";

/// Use of the remote shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptSource<'a> {
    /// `sh` that reads its script from standard input.
    Stdin,
    /// `sh` runs this script with the caller's standard input, and with a terminal if it needs one.
    Argument(&'a str),
}

/// Returns the words of the command line.
pub(super) fn words(target: &Target, host: &Host, source: ScriptSource<'_>, home: Option<&str>) -> Vec<String> {
    if host.is_local() {
        let script = match source {
            ScriptSource::Stdin => STDIN_COMMAND,
            ScriptSource::Argument(script) => script,
        };
        return ["sh", "-c", script].map(str::to_owned).to_vec();
    }
    let login =
        Login { host: host.clone(), key: target.key.clone(), options: target.ssh_options.clone(), forward_agent: target.forward_agent };
    let command = match source {
        ScriptSource::Stdin => STDIN_COMMAND.to_owned(),
        ScriptSource::Argument(script) => ssh::command(script),
    };
    ssh::words(&login, &OPTIONS, target.needs_tty && source != ScriptSource::Stdin, &command, home)
}

/// Returns the command.
pub(super) fn process(target: &Target, host: &Host, source: ScriptSource<'_>) -> Command {
    let home = std::env::var("HOME").ok();
    let words = words(target, host, source, home.as_deref());
    let mut process = Command::new(words.first().map_or("ssh", String::as_str));
    process.args(words.get(1..).unwrap_or_default());
    process
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(members: serde_json::Value, source: ScriptSource<'_>) -> String {
        let mut all = json!({"host": "h", "repo": "r", "path": "/p", "ref": "x"});
        for (key, value) in members.as_object().unwrap() {
            all[key] = value.clone();
        }
        let target = Target::of("p", &all).unwrap().0;
        words(&target, &target.hosts[0], source, Some("/home/me")).join(" ")
    }

    #[test]
    fn command_line_follows_target() {
        let ours = "-o ConnectTimeout=20 -o ServerAliveInterval=10 -o ServerAliveCountMax=3";
        for (members, source, words) in [
            (json!({}), ScriptSource::Stdin, format!("ssh {ours} -T -- h {STDIN_COMMAND}")),
            (json!({"host": "localhost"}), ScriptSource::Stdin, format!("sh -c {STDIN_COMMAND}")),
            (json!({"host": "localhost"}), ScriptSource::Argument("x y"), "sh -c x y".into()),
            (json!({}), ScriptSource::Argument("it's"), format!(r"ssh {ours} -T -- h sh -c 'it'\''s'")),
            (
                json!({"user": "u", "port": 7, "key": "~/k", "ssh_options": ["A=1"], "forward-agent": true, "needs_tty": true}),
                ScriptSource::Argument("x"),
                format!("ssh -o A=1 {ours} -A -tt -p 7 -i /home/me/k -l u -- h sh -c x"),
            ),
            (json!({"needs_tty": true}), ScriptSource::Stdin, format!("ssh {ours} -T -- h {STDIN_COMMAND}")),
        ] {
            assert_eq!(line(members, source), words);
        }
    }

    #[test]
    fn bootstrap_command_prints_hello_first() {
        let output = Command::new("sh").args(["-c", STDIN_COMMAND]).stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{HELLO}\n"));
    }
}
