//! Part of a caller's environment that reaches an app. Other variables are not even stored.

use std::borrow::Cow;

use ostler_core::app::inherit::EnvPolicy;
use ostler_core::app::{AppSpec, EnvMap};
use ostler_sys::users::user::Identity;

use crate::platform::users::account;

/// Returns true if the app runs as another user than the daemon. An unknown user counts as another.
fn is_other(account: Option<&Identity>) -> bool {
    account.is_some_and(|account| account.credentials.uid != rustix::process::geteuid().as_raw())
}

/// Returns the caller's variables that reach an app, and those of its own user.
pub(crate) fn inherited<'a>(spec: &AppSpec, vars: Cow<'a, EnvMap>) -> Cow<'a, EnvMap> {
    let vars = if spec.env.hides_any(&vars) { Cow::Owned(without(&vars, &spec.env.undefined)) } else { vars };
    if spec.env.policy == EnvPolicy::Inherit {
        return vars;
    }
    let account = account(spec);
    let other = account.as_ref().map_or(true, |account| is_other(account.as_ref()));
    let Some(mut narrow) = spec.env.policy.narrowed(&vars, other) else { return vars };
    if other && let Some(user) = account.ok().flatten().and_then(|account| account.user) {
        narrow.extend(personal(&user).map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    Cow::Owned(narrow)
}

fn without(vars: &EnvMap, names: &[String]) -> EnvMap {
    vars.iter().filter(|(name, _)| !names.contains(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Returns a filter for kept variables that reach a process of this account. The description may
/// have changed since they were kept.
pub(crate) fn reaches(spec: &AppSpec, account: Option<&Identity>) -> impl Fn(&str) -> bool {
    let (policy, other) = (spec.env.policy, is_other(account));
    move |name| policy.keeps(name, other)
}

/// Returns the variables that describe a user to its programs.
pub(crate) fn personal(user: &ostler_sys::users::user::User) -> [(&'static str, &str); 4] {
    [("HOME", &user.home), ("USER", &user.name), ("LOGNAME", &user.name), ("SHELL", &user.shell)]
}
