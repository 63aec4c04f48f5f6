//! Boot units of PM2.

use std::path::{Path, PathBuf};

/// Folder for the units of PM2 and of administrators.
const FOLDER: &str = "/etc/systemd/system";

/// systemd unit that starts a PM2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// `pm2-<user>.service`.
    pub name: String,
    /// User whose apps it starts.
    pub user: String,
}

/// Returns the units that start the PM2 of this home.
pub(crate) fn units(home: &Path) -> Vec<Unit> {
    let files = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut units: Vec<Unit> = files.filter_map(|file| of(&file.path(), home)).collect();
    units.sort_by(|a, b| a.name.cmp(&b.name));
    units
}

fn of(path: &PathBuf, home: &Path) -> Option<Unit> {
    let name = path.file_name()?.to_str()?.to_owned();
    if !name.ends_with(".service") {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    Some(Unit { user: starts(&text, home)?, name })
}

/// Returns the user of the unit, if it starts the PM2 of this home.
fn starts(text: &str, home: &Path) -> Option<String> {
    let values = |key: &'static str| text.lines().filter_map(move |line| line.trim().strip_prefix(key)?.strip_prefix('='));
    let has_home = values("Environment").any(|value| {
        let place = value.trim().trim_matches('"').strip_prefix("PM2_HOME=");
        place.is_some_and(|place| Path::new(place) == home)
    });
    let starts = values("ExecStart").any(|line| line.split_whitespace().any(|word| word.rsplit('/').next() == Some("pm2")));
    let is_ours = values("ExecStart").any(|line| line.contains("ostler"));
    (has_home && starts && !is_ours).then(|| values("User").next().unwrap_or("root").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_that_starts_the_home_is_recognized() {
        let unit = "[Service]\nType=forking\nUser=www\nEnvironment=PATH=/usr/bin\nEnvironment=PM2_HOME=/home/www/.pm2\nPIDFile=/home/www/.pm2/pm2.pid\n\
                    ExecStart=/usr/lib/node_modules/pm2/bin/pm2 resurrect\nExecStop=/usr/lib/node_modules/pm2/bin/pm2 kill\n";
        assert_eq!(starts(unit, Path::new("/home/www/.pm2")), Some("www".into()));
        assert_eq!(starts(unit, Path::new("/root/.pm2")), None);
        assert_eq!(starts(&unit.replace("User=www\n", ""), Path::new("/home/www/.pm2")), Some("root".into()));
        assert_eq!(
            starts("[Service]\nEnvironment=PM2_HOME=/root/.pm2\nExecStart=/usr/bin/ostler resurrect\n", Path::new("/root/.pm2")),
            None
        );
    }
}
