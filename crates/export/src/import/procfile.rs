//! A Procfile: a name and a command on each line.

use super::{App, ImportError, Imported};
use crate::Told;

/// Port of the first process, as foreman gives them; each further one has a hundred more.
const FIRST_PORT: usize = 5000;

pub(super) fn read(text: &str) -> Result<Imported, ImportError> {
    let mut told: Vec<Told> = Vec::new();
    let mut apps = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parts = line.split_once(':').map(|(name, command)| (name.trim(), command.trim()));
        let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let Some((name, command)) = parts.filter(|(name, command)| is_name(name) && !command.is_empty()) else {
            told.push(Told {
                app: "-".into(),
                key: format!("line {}", number + 1),
                why: format!("line {} is no `name: command`", number + 1),
            });
            continue;
        };
        let port = FIRST_PORT + 100 * apps.len();
        let mut app = App::new(name, &mut told);
        // A shell reads it, as foreman has it; one word needs none.
        app.set("script", command);
        if name == "release" {
            app.set("autorestart", false);
            app.tell("release", "it runs once at each start of the file: name it in the others' depends_on as completed");
        }
        if command.contains("$PORT") || command.contains("${PORT") {
            app.variable("PORT", port);
        }
        apps.push(app.map);
    }
    if apps.is_empty() { Err(ImportError::NoApps("`name: command`")) } else { Ok(Imported { apps, told }) }
}
