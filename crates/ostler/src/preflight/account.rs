//! User of an app, and whether the caller may start apps as that user.

use ostler_core::app::AppSpec;
use ostler_core::message;
use ostler_sys::Credentials;
use ostler_sys::users::user::identity;
use rustix::process::{getegid, geteuid, getgroups};
use rustix::thread::{CapabilitySet, capabilities};

use super::Mistake;

/// Returns the caller's user and groups.
pub(super) fn caller() -> Credentials {
    let groups = getgroups().unwrap_or_default().into_iter().map(|group| group.as_raw()).collect();
    Credentials { uid: geteuid().as_raw(), gid: getegid().as_raw(), groups }
}

/// Returns true if the caller may start processes of other users.
pub(super) fn may_switch_users() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SETUID | CapabilitySet::SETGID))
}

/// Returns the user of the app; none if it does not exist, which the configuration reports.
///
/// # Errors
/// Returns a mistake if the caller may not start apps as that user.
pub(super) fn credentials(spec: &AppSpec, caller: &Credentials, may_switch_users: bool) -> Result<Option<Credentials>, Mistake> {
    match identity(spec.uid.as_deref(), spec.gid.as_deref()) {
        Ok(None) => Ok(Some(caller.clone())),
        Ok(Some(identity)) if may_switch_users => Ok(Some(identity.credentials)),
        Ok(Some(identity)) => same_user(spec, caller, &identity.credentials).map(Some),
        Err(_) => Ok(None),
    }
}

/// Rejects a user or group that is not the caller's.
fn same_user(spec: &AppSpec, caller: &Credentials, wanted: &Credentials) -> Result<Credentials, Mistake> {
    let shown = |name: &Option<String>, id: u32| name.clone().unwrap_or_else(|| id.to_string());
    if wanted.uid != caller.uid {
        let user = shown(&spec.uid, wanted.uid);
        return Err(Mistake::error(
            "uid",
            message!("only root can start an app as user {user}, and the caller is uid {uid}", user, uid = caller.uid),
        ));
    }
    if wanted.gid != caller.gid {
        let group = shown(&spec.gid, wanted.gid);
        return Err(Mistake::error("gid", message!("only root can start an app with group {group}", group)));
    }
    Ok(wanted.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_switches_users() {
        let spec = |uid: Option<&str>, gid: Option<&str>| AppSpec {
            uid: uid.map(str::to_owned),
            gid: gid.map(str::to_owned),
            ..AppSpec::default()
        };
        let own = Credentials { uid: 4_000_001, gid: 4_000_002, groups: vec![4_000_002] };
        let number = |number: u32| number.to_string();
        let (uid, gid) = (number(own.uid), number(own.gid));
        let (uid, gid) = (uid.as_str(), gid.as_str());
        for (app, expected) in [
            (spec(None, None), Ok(true)),
            (spec(Some(uid), Some(gid)), Ok(true)),
            (spec(Some("root"), None), Err("uid")),
            (spec(Some(uid), Some("0")), Err("gid")),
            (spec(Some("no-such-user-here"), None), Ok(false)),
        ] {
            let found = credentials(&app, &own, false).map(|user| user.is_some()).map_err(|mistake| mistake.key);
            assert_eq!(found, expected, "{:?} {:?}", app.uid, app.gid);
            assert!(credentials(&app, &own, true).is_ok());
        }
    }
}
