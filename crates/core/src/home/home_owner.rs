//! User as whom root uses a home.
//!
//! In a folder that another user controls, every file that root writes could be swapped for a link.
//! Root therefore acts as that user there: the client becomes the owner of the home before it does
//! anything else.

/// Owners on the path of a home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HomePath {
    /// Owner of the home itself; none if it does not exist.
    pub home: Option<u32>,
    /// First owner of a folder above the home that is not root.
    pub folder: Option<u32>,
    /// Owner of a link on the path, or of the folder that holds the link, if that is not root.
    pub link: Option<u32>,
}

/// User as whom a command of root uses a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActAs {
    /// Root.
    Root,
    /// Root, in the folder of this user, who cannot use the home.
    RootInFolderOf(u32),
    /// This user, who owns the home.
    Owner(u32),
}

/// Decides as whom root uses a home. `keeps_root`: a home that does not exist yet belongs to root
/// in any folder, as in PM2.
pub fn act_as(path: HomePath, keeps_root: bool) -> ActAs {
    match path {
        HomePath { link: Some(user), .. } => ActAs::Owner(user),
        HomePath { home: Some(user), .. } if user != 0 => ActAs::Owner(user),
        HomePath { folder: None, .. } => ActAs::Root,
        HomePath { home: Some(_), folder: Some(user), .. } => ActAs::RootInFolderOf(user),
        HomePath { home: None, folder: Some(user), .. } if keeps_root => ActAs::RootInFolderOf(user),
        HomePath { home: None, folder: Some(user), .. } => ActAs::Owner(user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_acts_as_the_owner_of_a_home() {
        let (alice, bob) = (1000, 1001);
        let path = |home, folder, link| HomePath { home, folder, link };
        // Path; as ostler; as pm2.
        let cases = [
            (path(None, None, None), ActAs::Root, ActAs::Root),
            (path(Some(0), None, None), ActAs::Root, ActAs::Root),
            (path(Some(alice), None, None), ActAs::Owner(alice), ActAs::Owner(alice)),
            (path(Some(alice), Some(alice), None), ActAs::Owner(alice), ActAs::Owner(alice)),
            (path(Some(alice), Some(bob), None), ActAs::Owner(alice), ActAs::Owner(alice)),
            (path(Some(0), Some(alice), None), ActAs::RootInFolderOf(alice), ActAs::RootInFolderOf(alice)),
            (path(None, Some(alice), None), ActAs::Owner(alice), ActAs::RootInFolderOf(alice)),
            (path(Some(0), None, Some(alice)), ActAs::Owner(alice), ActAs::Owner(alice)),
            (path(None, Some(alice), Some(bob)), ActAs::Owner(bob), ActAs::Owner(bob)),
        ];
        for (path, as_ostler, as_pm2) in cases {
            assert_eq!((act_as(path, false), act_as(path, true)), (as_ostler, as_pm2), "{path:?}");
        }
    }
}
