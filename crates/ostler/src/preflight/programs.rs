//! Programs of hooks and health checks.

use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::app::hooks::Hook;
use ostler_core::health::CheckMethod;
use ostler_core::message;
use ostler_sys::Credentials;

use super::Mistake;
use crate::access::{AccessDenied, EXECUTE, may};

/// Warns of programs that the app's user cannot run. A deployment may still create them.
pub(super) fn mistakes(spec: &AppSpec, user: &Credentials) -> Vec<Mistake> {
    let hooks = Hook::ALL.into_iter().filter_map(|hook| Some((hook.name(), spec.hooks.get(hook)?.command.argv.first()?)));
    let checks = spec.health().into_iter().flat_map(|health| [&health.startup, &health.readiness, &health.liveness]).flatten();
    let commands = checks.filter_map(|check| match &check.method {
        CheckMethod::Command(argv) => Some(("health", argv.first()?)),
        CheckMethod::Http(_) | CheckMethod::Tcp { .. } => None,
    });
    let env = spec.env.merged();
    let path = env.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    let mistake = |(key, program): (&'static str, &String)| Some(Mistake::warning(key, unusable(program, &spec.cwd, path, user)?));
    hooks.chain(commands).filter_map(mistake).collect()
}

/// Returns the reason why the user cannot run a program.
fn unusable(program: &str, cwd: &str, path: &str, user: &Credentials) -> Option<String> {
    if program.contains('/') {
        let file = Path::new(cwd).join(program);
        return match may(&file, user, EXECUTE) {
            Ok(()) => None,
            Err(AccessDenied::Missing) => Some(message!("the program {program} does not exist yet", program)),
            Err(AccessDenied::Closed(place)) => {
                Some(message!("uid {uid} cannot run {program}: no access to {place}", uid = user.uid, program, place = place.display()))
            }
        };
    }
    let mut files = path.split(':').filter(|folder| !folder.is_empty()).map(|folder| PathBuf::from(cwd).join(folder).join(program));
    let is_found = files.any(|file| file.is_file() && may(&file, user, EXECUTE).is_ok());
    (!is_found).then(|| message!("the program {program} is in no folder of PATH", program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::account;

    #[test]
    fn missing_programs_are_found() {
        let own = account::caller();
        for (program, is_usable) in [
            ("sh", true),
            ("/bin/sh", true),
            ("no-such-program-here", false),
            ("/no/such/program", false),
            ("./no-such-file", false),
            ("/etc/passwd", false),
        ] {
            assert_eq!(unusable(program, "/", "/usr/bin:/bin", &own).is_none(), is_usable, "{program}");
        }
    }
}
