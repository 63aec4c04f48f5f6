//! Users and groups by name or number.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;

use rustix::io::Errno;

/// Numeric identity to run a program as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Entry of the user database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Login name.
    pub name: String,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// User to run as, with the values for the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The numeric ids.
    pub credentials: Credentials,
    /// The user's entry (`HOME`, `USER`, `SHELL`); `None` for a number that has no entry.
    pub user: Option<User>,
}

/// Reason why no user or group was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No such user.
    #[error("no such user \"{0}\"")]
    NoUser(String),
    /// The number has no entry, so its group is unknown.
    #[error("user {0} has no entry in the user database: also give a gid")]
    NoGroupOf(u32),
    /// No such group.
    #[error("no such group \"{0}\"")]
    NoGroup(String),
    /// The database could not be read.
    #[error("cannot look up \"{name}\" in the user database")]
    Lookup {
        /// The name or number.
        name: String,
        /// The cause.
        #[source]
        source: Errno,
    },
}

/// Returns the user and group for `uid` and `gid`, which are names or numbers. Without `gid`, the
/// group is the user's primary group; the supplementary groups are the user's. A `gid` alone keeps
/// our own user. Returns `Ok(None)` if neither is given.
///
/// # Errors
/// Returns an error for unknown names. A number that has no entry is fine if the group is known.
pub fn identity(uid: Option<&str>, gid: Option<&str>) -> Result<Option<Identity>, UserError> {
    let (uid, user) = match uid {
        None if gid.is_none() => return Ok(None),
        None => {
            let own = rustix::process::geteuid().as_raw();
            (own, user_by_id(own)?)
        }
        Some(text) => find_user(text)?,
    };
    let gid = match (gid, &user) {
        (Some(text), _) => group(text)?,
        (None, Some(user)) => user.gid,
        (None, None) => return Err(UserError::NoGroupOf(uid)),
    };
    let groups = match &user {
        Some(user) => groups_of(&user.name, gid).map_err(|source| UserError::Lookup { name: user.name.clone(), source })?,
        None => vec![gid],
    };
    Ok(Some(Identity { credentials: Credentials { uid, gid, groups }, user }))
}

/// Finds a user. Names take precedence, as in `chown(1)`: a user may be called `1000`.
fn find_user(text: &str) -> Result<(u32, Option<User>), UserError> {
    if let Some(user) = user_by_name(text)? {
        return Ok((user.uid, Some(user)));
    }
    let uid = numeric_id(text).ok_or_else(|| UserError::NoUser(text.to_owned()))?;
    Ok((uid, user_by_id(uid)?))
}

/// Returns the id in a text. The largest 32-bit number is not an id, because it means "leave
/// unchanged" to the kernel.
fn numeric_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&id| id != u32::MAX)
}

/// Returns a user by login name; `None` means that the user does not exist.
///
/// # Errors
/// Returns an error if the database cannot be read.
pub fn user_by_name(name: &str) -> Result<Option<User>, UserError> {
    let Ok(c_name) = CString::new(name) else { return Ok(None) };
    // SAFETY: the arguments are what the function expects; the buffer outlives the use of the
    // entry.
    entry(|pwd, buf, len, found| unsafe { libc::getpwnam_r(c_name.as_ptr(), pwd, buf, len, found) }, to_user)
        .map_err(|source| UserError::Lookup { name: name.to_owned(), source })
}

/// Returns a user by number; `None` means that there is no such entry.
///
/// # Errors
/// Returns an error if the database cannot be read.
pub fn user_by_id(uid: u32) -> Result<Option<User>, UserError> {
    // SAFETY: as above.
    entry(|pwd, buf, len, found| unsafe { libc::getpwuid_r(uid, pwd, buf, len, found) }, to_user)
        .map_err(|source| UserError::Lookup { name: uid.to_string(), source })
}

/// Returns a group's number by name or number.
///
/// # Errors
/// Returns an error if the name does not exist, or if the database cannot be read.
pub fn group(text: &str) -> Result<u32, UserError> {
    let c_name = CString::new(text).map_err(|_| UserError::NoGroup(text.to_owned()))?;
    // SAFETY: as above.
    let by_name = entry(
        |grp: *mut libc::group, buf, len, found| unsafe { libc::getgrnam_r(c_name.as_ptr(), grp, buf, len, found) },
        |grp| grp.gr_gid,
    )
    .map_err(|source| UserError::Lookup { name: text.to_owned(), source })?;
    by_name.or_else(|| numeric_id(text)).ok_or_else(|| UserError::NoGroup(text.to_owned()))
}

/// Returns a group's name, if its number has an entry.
///
/// # Errors
/// Returns an error if the database cannot be read.
pub fn group_by_id(gid: u32) -> Result<Option<String>, UserError> {
    // SAFETY: as above.
    entry(|grp: *mut libc::group, buf, len, found| unsafe { libc::getgrgid_r(gid, grp, buf, len, found) }, |grp| text(grp.gr_name))
        .map_err(|source| UserError::Lookup { name: gid.to_string(), source })
}

fn text(p: *const libc::c_char) -> String {
    // SAFETY: null or a string in the caller's buffer, whose entry was just filled.
    if p.is_null() { String::new() } else { unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned() }
}

fn to_user(pwd: &libc::passwd) -> User {
    User { uid: pwd.pw_uid, gid: pwd.pw_gid, name: text(pwd.pw_name), home: text(pwd.pw_dir), shell: text(pwd.pw_shell) }
}

/// Calls one of the `get…_r` functions with a buffer that grows until the entry fits.
fn entry<E, T>(
    call: impl Fn(*mut E, *mut libc::c_char, libc::size_t, *mut *mut E) -> libc::c_int,
    convert: impl FnOnce(&E) -> T,
) -> Result<Option<T>, Errno> {
    const MAX_BYTES: usize = 1 << 20;
    let mut buf: Vec<libc::c_char> = vec![0; 1024];
    loop {
        let mut space = MaybeUninit::<E>::uninit();
        let mut found = std::ptr::null_mut();
        match call(space.as_mut_ptr(), buf.as_mut_ptr(), buf.len(), &raw mut found) {
            0 if found.is_null() => return Ok(None),
            // SAFETY: points to `space`, which the call has filled.
            0 => return Ok(Some(convert(unsafe { &*found }))),
            libc::ERANGE if buf.len() < MAX_BYTES => buf.resize(buf.len() * 4, 0),
            libc::EINTR => {}
            // Some databases return these instead of "not found", see getpwnam(3).
            libc::ENOENT | libc::ESRCH => return Ok(None),
            errno => return Err(Errno::from_raw_os_error(errno)),
        }
    }
}

fn groups_of(name: &str, gid: u32) -> Result<Vec<u32>, Errno> {
    const MAX_GROUPS: usize = 65536; // NGROUPS_MAX
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: `count` is the capacity of `groups`.
        let fits = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) } >= 0;
        let count = usize::try_from(count).unwrap_or(0);
        if fits {
            groups.truncate(count);
            return Ok(groups);
        }
        if groups.len() >= MAX_GROUPS {
            return Err(Errno::RANGE);
        }
        groups.resize(count.clamp(groups.len() * 2, MAX_GROUPS), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_number() {
        for text in ["root", "0"] {
            let identity = identity(Some(text), None).unwrap().unwrap();
            assert_eq!((identity.credentials.uid, identity.credentials.gid), (0, 0), "{text}");
            assert!(identity.credentials.groups.contains(&0));
            assert_eq!(identity.user.unwrap().name, "root");
        }
    }

    #[test]
    fn group_name_is_found_by_id() {
        assert_eq!((group_by_id(0).unwrap().as_deref(), group_by_id(3_999_999_999).unwrap()), (Some("root"), None));
    }

    #[test]
    fn unknown_users_and_groups_are_errors() {
        let unknown = "no-such-user-here";
        assert_eq!(identity(Some(unknown), None), Err(UserError::NoUser(unknown.into())));
        assert_eq!(identity(Some("root"), Some(unknown)), Err(UserError::NoGroup(unknown.into())));
        assert_eq!(identity(Some("3999999999"), None), Err(UserError::NoGroupOf(3_999_999_999)));
        assert_eq!(identity(Some("4294967295"), Some("0")), Err(UserError::NoUser("4294967295".into())));
        for bad in ["", "a\0b", "-1", "1.5", "99999999999999"] {
            assert!(identity(Some(bad), Some("0")).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn user_id_without_an_entry_needs_a_group() {
        let identity = identity(Some("3999999999"), Some("3999999998")).unwrap().unwrap();
        let groups = vec![3_999_999_998];
        assert_eq!(identity.credentials, Credentials { uid: 3_999_999_999, gid: 3_999_999_998, groups });
        assert_eq!(identity.user, None);
        assert_eq!(super::identity(None, None), Ok(None));
    }
}
