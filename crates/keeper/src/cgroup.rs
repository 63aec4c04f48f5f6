//! Names of a home's cgroups, and the cgroup of a keeper.
//!
//! A keeper starts in some cgroup: of a service, a login or a container. Below that cgroup there is
//! one group per home, and in it one group per instance. The keeper and the daemon stay above, so
//! the service manager still accounts for them and stops them as before.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ostler_sys::cgroup;

use crate::environment::CGROUP_VAR;

const PREFIX: &str = "ostler-";
/// Name of the group of keeper and daemon if sibling groups have limits: the kernel allows
/// processes only in groups without controlled children.
pub const SUPERVISOR_GROUP: &str = "ostler-supervisor";

/// Words that switch cgroups off.
const OFF: [&str; 4] = ["off", "false", "no", "0"];

/// Returns true unless the environment switches cgroups off.
pub fn cgroups_wanted() -> bool {
    std::env::var_os(CGROUP_VAR).is_none_or(|value| !OFF.iter().any(|off| value.eq_ignore_ascii_case(off)))
}

/// Returns the name of a home's group. It contains the home's inode, so two homes never share a
/// group.
///
/// # Errors
/// Returns an error if the home does not exist.
pub fn home_group(home: &Path) -> io::Result<String> {
    let found = std::fs::metadata(home)?;
    Ok(format!("{PREFIX}{:x}-{:x}", found.dev(), found.ino()))
}

fn is_home_group(name: &str) -> bool {
    let numbers = name.strip_prefix(PREFIX).and_then(|numbers| numbers.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    numbers.is_some_and(|(dev, ino)| is_number(dev) && is_number(ino))
}

/// Returns the group above the outermost group of any home: no apps run in it. `None` means that
/// this group already qualifies.
fn above_homes(own: &Path) -> Option<&Path> {
    let homes = own.ancestors().filter(|group| group.file_name().and_then(|name| name.to_str()).is_some_and(is_home_group));
    homes.last().and_then(Path::parent)
}

/// Leaves the cgroup of an app that started this keeper. Otherwise the keeper would be killed
/// together with that app.
pub(crate) fn leave_group_of_app() {
    if !cgroups_wanted() {
        return;
    }
    if let Some(own) = cgroup::own()
        && let Some(above) = above_homes(&own)
    {
        // If this is not permitted, the keeper dies with that app.
        let _ = cgroup::enter(above).or_else(|_| cgroup::enter(&above.join(SUPERVISOR_GROUP)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_homes_finds_the_group_above_the_outermost_home() {
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
    fn home_group_names_are_distinct_and_recognized() {
        let (one, other) = (home_group(Path::new("/")).unwrap(), home_group(Path::new("/proc")).unwrap());
        assert!(one != other && is_home_group(&one) && is_home_group(&other), "{one} {other}");
        assert!(home_group(Path::new("/no/such/home")).is_err());
    }
}
