//! Parser for an installed unit file.

use super::quote;

/// Facts about it for `startup --check`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Program that the unit runs.
    pub program: Option<String>,
    /// User of the unit; none = the user whose systemd it is, or root.
    pub user: Option<String>,
    /// Home of the daemon.
    pub home: Option<String>,
    /// `PATH` of the unit.
    pub path: Option<String>,
    /// Whether it has `Type=notify`: then ostler has written it, not PM2.
    pub notifies: bool,
}

impl Installed {
    /// Reads the known keys; other fields are left empty.
    pub(crate) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once('=') else { continue };
            match key {
                "Type" => found.notifies = value == "notify",
                "User" => found.user = quote::unsystemd(value),
                "ExecStart" => found.program = program(value),
                "Environment" => match quote::unsystemd(value).as_deref().and_then(|pair| pair.split_once('=')) {
                    Some(("PATH", path)) => found.path = Some(path.into()),
                    Some(("OSTLER_HOME" | "PM2_HOME", home)) => found.home = Some(home.into()),
                    _ => {}
                },
                _ => {}
            }
        }
        found
    }
}

/// Returns the first word, without the prefix characters that systemd allows.
fn program(line: &str) -> Option<String> {
    let line = line.trim_start_matches(['-', '@', ':', '+', '!']);
    if !line.starts_with('"') {
        return quote::unsystemd(line.split(' ').next()?);
    }
    let mut escaped = false;
    let end = line.char_indices().skip(1).find(|&(_, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    quote::unsystemd(line.get(..=end?.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_read_from_exec_line() {
        for (line, expected) in [
            ("/usr/bin/pm2 resurrect", Some("/usr/bin/pm2")),
            (r#""/opt/a b/pm2" service run %n"#, Some("/opt/a b/pm2")),
            (r#":"/opt/$x/\"q\"/100%%" service"#, Some(r#"/opt/$x/"q"/100%"#)),
            (r#""/opt/unended service"#, None),
        ] {
            assert_eq!(program(line).as_deref(), expected, "{line}");
        }
    }
}
