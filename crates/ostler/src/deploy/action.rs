//! Commands of `deploy`.

use crate::error::DeployError;

/// Command for every host of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make the folders and clone.
    Setup,
    /// Bring this ref; the one of the target if none is named.
    Update(Option<String>),
    /// Go back by so many deployments.
    Revert(usize),
    /// Commit that is there now.
    Current,
    /// Commit of the deployment before.
    Previous,
    /// Command in `current`.
    Exec(String),
    /// All deployments.
    List,
}

impl Action {
    /// The action that the words after the environment ask for.
    ///
    /// # Errors
    /// What is wrong with them, for the user.
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

    /// True if a host is changed by it: it runs there as a job.
    pub(super) fn is_job(&self) -> bool {
        matches!(self, Self::Setup | Self::Update(_) | Self::Revert(_))
    }

    /// True if the local tree has to be clean and pushed before it.
    pub(crate) fn brings_local_work(&self) -> bool {
        matches!(self, Self::Update(_))
    }

    /// True if a new release is brought by it.
    pub(crate) fn deploys(&self) -> bool {
        matches!(self, Self::Update(_) | Self::Revert(_))
    }
}

fn number(text: &str) -> Result<usize, DeployError> {
    text.parse().ok().filter(|n| (1..10_000).contains(n)).ok_or_else(|| DeployError::Count(text.to_owned()))
}

/// A name of a commit. It is a word of git's command line on the host: nothing that git takes for an option.
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
    fn words() {
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
