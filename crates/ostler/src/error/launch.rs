//! Error of a start of the keeper.

use std::error::Error;
use std::fmt;
use std::path::Path;

use ostler_core::message;
use ostler_keeper::{LaunchError, NEEDED_FILES, READY_MS};

/// Reason why no keeper runs.
#[derive(Debug)]
pub(crate) struct LaunchProblem(LaunchError);

impl From<LaunchError> for LaunchProblem {
    fn from(error: LaunchError) -> Self {
        Self(error)
    }
}

impl fmt::Display for LaunchProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match &self.0 {
            LaunchError::Home { step, path, .. } => home_problem(step, path),
            LaunchError::Spawn(_) => message!("cannot start the keeper"),
            LaunchError::FewFiles { hard } => message!(
                "the limit of open files is {hard}, at least {needed} are needed: raise it (ulimit -Hn, LimitNOFILE=, --ulimit nofile=)",
                hard,
                needed = NEEDED_FILES
            ),
            LaunchError::Prepare(_) => message!("cannot prepare the start of the keeper"),
            LaunchError::Failed(reason) => message!("the keeper {reason}", reason),
            LaunchError::Ended(status) => message!(
                "the keeper exited before it was ready ({status}); see its log (pm2.log in the home, or PM2_LOG_FILE_PATH)",
                status = format!("{status:?}")
            ),
            LaunchError::Timeout => message!("the keeper was not ready within {seconds} s", seconds = READY_MS / 1000),
        })
    }
}

fn home_problem(step: &str, path: &Path) -> String {
    let path = path.display();
    match step {
        "create the home" => message!("cannot create the home \"{path}\"", path),
        "open" => message!("cannot open \"{path}\"", path),
        "connect to" => message!("cannot connect to \"{path}\"", path),
        step => message!("cannot {step} \"{path}\"", step, path),
    }
}

impl Error for LaunchProblem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn english_text_is_that_of_the_error() {
        let home = |step| LaunchError::Home { step, path: "/h".into(), source: io::ErrorKind::PermissionDenied.into() };
        for error in [
            home("create the home"),
            home("open"),
            home("connect to"),
            home("lock"),
            LaunchError::FewFiles { hard: 64 },
            LaunchError::Prepare(io::ErrorKind::OutOfMemory.into()),
            LaunchError::Failed("has no home".into()),
            LaunchError::Timeout,
        ] {
            let (text, cause) = (error.to_string(), error.source().map(ToString::to_string));
            let problem = LaunchProblem::from(error);
            assert_eq!((problem.to_string(), problem.source().map(ToString::to_string)), (text, cause));
        }
    }
}
