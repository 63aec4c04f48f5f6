//! Account that an app runs as, and names of users for display, looked up once each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::SpawnFailure;
use ostler_sys::users::user::{self, Identity};

thread_local! {
    static NAMES: RefCell<BTreeMap<String, Rc<str>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Returns the name of a user from a description (a name or a number), or the text itself if the
/// user is unknown.
pub(crate) fn name_of(uid: &str) -> Rc<str> {
    if let Some(known) = NAMES.with_borrow(|names| names.get(uid).cloned()) {
        return known;
    }
    let found = uid.parse().ok().and_then(|number| user::user_by_id(number).ok().flatten()).map(|user| user.name);
    let name: Rc<str> = found.as_deref().unwrap_or(uid).into();
    NAMES.with_borrow_mut(|names| names.insert(uid.to_owned(), Rc::clone(&name)));
    name
}

/// Returns the name of the user that the daemon runs as.
pub(crate) fn daemon_user() -> Rc<str> {
    static UID: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    name_of(UID.get_or_init(|| rustix::process::geteuid().as_raw().to_string()))
}

/// Returns the account that the app runs as, if the description names one.
///
/// # Errors
///
/// Returns the failed step of the start, as a text.
pub(crate) fn account(spec: &AppSpec) -> Result<Option<Identity>, SpawnFailure> {
    let failed = |error| SpawnFailure { step: crate::platform::log::chain(&error), errno: 0 };
    user::identity(spec.uid.as_deref(), spec.gid.as_deref()).map_err(failed)
}
