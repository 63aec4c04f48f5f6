//! Error about a user or group.

use std::error::Error;
use std::fmt;

use ostler_core::message;
use ostler_sys::users::user::UserError;

/// User or group that does not exist, or cannot be looked up.
#[derive(Debug)]
pub(crate) struct AccountProblem(UserError);

impl From<UserError> for AccountProblem {
    fn from(error: UserError) -> Self {
        Self(error)
    }
}

impl fmt::Display for AccountProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match &self.0 {
            UserError::NoUser(name) => message!("no such user \"{name}\"", name),
            UserError::NoGroupOf(uid) => message!("user {uid} has no entry in the user database: also give a gid", uid),
            UserError::NoGroup(name) => message!("no such group \"{name}\"", name),
            UserError::Lookup { name, .. } => message!("cannot look up \"{name}\" in the user database", name),
        })
    }
}

impl Error for AccountProblem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn english_text_is_that_of_the_error() {
        for error in [
            UserError::NoUser("x".into()),
            UserError::NoGroupOf(7),
            UserError::NoGroup("x".into()),
            UserError::Lookup { name: "x".into(), source: Errno::ACCESS },
        ] {
            let problem = AccountProblem::from(error.clone());
            assert_eq!(problem.to_string(), error.to_string());
            assert_eq!(problem.source().map(ToString::to_string), error.source().map(ToString::to_string));
        }
    }
}
