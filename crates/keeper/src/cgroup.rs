//! Names of a home's cgroups, and the cgroup of a keeper.
//!
//! Below the group that the keeper was started in (a service, a login, a container) there is one group per home, and in it one per
//! instance. The keeper and the daemon stay above: who started them accounts for them and ends them as before.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ostler_sys::cgroup;

use crate::environment::CGROUP_VAR;

const PREFIX: &str = "ostler-";
/// Name of the group of keeper and daemon where groups beside it are limited: the kernel has processes only in groups without limited ones.
pub const SUPERVISOR_GROUP: &str = "ostler-supervisor";

/// True if cgroups are not switched off by the environment.
pub fn cgroups_wanted() -> bool {
    std::env::var_os(CGROUP_VAR).is_none_or(|value| value != "off")
}

/// Name of the group of a home: by its inode, so that two homes never share one.
///
/// # Errors
/// The home is not there.
pub fn home_group(home: &Path) -> io::Result<String> {
    let found = std::fs::metadata(home)?;
    Ok(format!("{PREFIX}{:x}-{:x}", found.dev(), found.ino()))
}

fn is_home_group(name: &str) -> bool {
    let numbers = name.strip_prefix(PREFIX).and_then(|numbers| numbers.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    numbers.is_some_and(|(dev, ino)| is_number(dev) && is_number(ino))
}

/// The group in which nobody's apps are: above the outermost group of a home; `None` = this one.
fn above_homes(own: &Path) -> Option<&Path> {
    let homes = own.ancestors().filter(|group| group.file_name().and_then(|name| name.to_str()).is_some_and(is_home_group));
    homes.last().and_then(Path::parent)
}

/// Leaves the group of an app that started this keeper: it would end with that app, and what supervises is nobody's app.
pub(crate) fn leave_group_of_app() {
    if !cgroups_wanted() {
        return;
    }
    if let Some(own) = cgroup::own()
        && let Some(above) = above_homes(&own)
    {
        // Not allowed to: then it ends with that app.
        let _ = cgroup::enter(above).or_else(|_| cgroup::enter(&above.join(SUPERVISOR_GROUP)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_all_homes_is_where_the_outermost_keeper_is() {
        for (own, above) in [
            ("/sys/fs/cgroup", None),
            ("/sys/fs/cgroup/system.slice/ostler-web.service", None),
            ("/sys/fs/cgroup/ostler-/x", None),
            ("/sys/fs/cgroup/system.slice/x.service/ostler-supervisor", None),
            ("/sys/fs/cgroup/ostler-1f-zz/x", None),
            ("/sys/fs/cgroup/a.slice/ostler-1f-22/0-abc", Some("/sys/fs/cgroup/a.slice")),
            ("/sys/fs/cgroup/a.slice/ostler-1f-22/0-abc/ostler-1f-33/1-def", Some("/sys/fs/cgroup/a.slice")),
        ] {
            assert_eq!(above_homes(Path::new(own)), above.map(Path::new), "{own}");
        }
    }

    #[test]
    fn each_home_has_a_name_that_is_known_again() {
        let (one, other) = (home_group(Path::new("/")).unwrap(), home_group(Path::new("/proc")).unwrap());
        assert!(one != other && is_home_group(&one) && is_home_group(&other), "{one} {other}");
        assert!(home_group(Path::new("/no/such/home")).is_err());
    }
}
