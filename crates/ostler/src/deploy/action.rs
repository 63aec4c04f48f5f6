//! Commands of `deploy`.

use crate::error::DeployError;

/// Command for every host of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Creates the folders and clones.
    Setup,
    /// Deploys this ref; the ref of the target if none is given.
    Update(Option<String>),
    /// Goes back by this number of deployments.
    Revert(usize),
    /// Prints the deployed commit.
    Current,
    /// Prints the commit of the previous deployment.
    Previous,
    /// Runs a command in `current`.
    Exec(String),
    /// Lists all deployments.
    List,
}

impl Action {
    /// Words of the commands.
    pub(crate) const WORDS: &[&str] = &["setup", "update", "revert", "current", "previous", "exec", "list", "ref"];

    /// Parses the words after the environment.
    ///
    /// # Errors
    /// Returns the problem with the words, for the user.
    pub(crate) fn of(words: &[String]) -> Result<Self, DeployError> {
        let (name, rest) = words.split_first().map_or(("update", &[][..]), |(name, rest)| (name.as_str(), rest));
        let action = match name {
            "setup" => Self::Setup,
            "update" => Self::Update(None),
            "ref" => Self::Update(rest.first().map(|name| git_ref(name)).transpose()?),
            "revert" => Self::Revert(rest.first().map_or(Ok(1), |text| number(text))?),
            "curr" | "current" => Self::Current,
            "prev" | "previous" => Self::Previous,
            "list" => Self::List,
            "exec" | "run" if rest.is_empty() => return Err(DeployError::NoCommand(name.to_owned())),
            "exec" | "run" => return Ok(Self::Exec(rest.join(" "))),
            other => return Err(DeployError::UnknownCommand(other.to_owned())),
        };
        let takes_one = matches!(name, "ref" | "revert");
        match rest.get(usize::from(takes_one)) {
            Some(word) => Err(DeployError::Unwanted { command: name.to_owned(), word: word.clone() }),
            None => Ok(action),
        }
    }

    /// Returns true if the action changes a host. It then runs there as a job.
    pub(super) fn is_job(&self) -> bool {
        matches!(self, Self::Setup | Self::Update(_) | Self::Revert(_))
    }

    /// Returns true if the action requires a clean and pushed local tree.
    pub(crate) fn brings_local_work(&self) -> bool {
        matches!(self, Self::Update(_))
    }

    /// Returns true if the action deploys a new release.
    pub(crate) fn deploys(&self) -> bool {
        matches!(self, Self::Update(_) | Self::Revert(_))
    }
}

fn number(text: &str) -> Result<usize, DeployError> {
    text.parse().ok().filter(|n| (1..10_000).contains(n)).ok_or_else(|| DeployError::Count(text.to_owned()))
}

/// Checks a commit name, which becomes a word of git's command line on the host. A name that git
/// would read as an option is rejected.
pub(crate) fn git_ref(text: &str) -> Result<String, DeployError> {
    if text.is_empty() || text.starts_with('-') || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(DeployError::Ref(text.to_owned()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_parses_command_words() {
        let of = |line: &str| Action::of(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        for (line, action) in [
            ("", Action::Update(None)),
            ("update", Action::Update(None)),
            ("setup", Action::Setup),
            ("ref", Action::Update(None)),
            ("ref v1.2", Action::Update(Some("v1.2".into()))),
            ("revert", Action::Revert(1)),
            ("revert 3", Action::Revert(3)),
            ("curr", Action::Current),
            ("current", Action::Current),
            ("prev", Action::Previous),
            ("previous", Action::Previous),
            ("list", Action::List),
            ("exec ls -l", Action::Exec("ls -l".into())),
            ("run x", Action::Exec("x".into())),
        ] {
            assert_eq!(of(line), Ok(action), "{line}");
        }
        for line in ["exec", "nosuch", "revert x", "revert 0", "revert -1", "ref --upload-pack=x", "setup now", "revert 1 2", "list all"] {
            assert!(of(line).is_err(), "{line}");
        }
    }
}
