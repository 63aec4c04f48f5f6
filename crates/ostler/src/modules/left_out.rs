//! Modules in a program that was built without the feature `machine`: they are not started, and a
//! message reports it.

use serde_json::Value;

use ostler_core::message;

use crate::cx::Cx;
use crate::error::CliError;
use crate::module_conf::{INTERNAL, path, read};

/// Modules of PM2 whose functions are built into ostler.
const BUILT_IN: &[&str] = &["pm2-logrotate", "pm2-server-monit"];

/// Reports which installed modules are not started.
///
/// # Errors
/// Returns an error if the home cannot be used.
pub(crate) fn start_all(cx: &mut Cx) -> Result<(), CliError> {
    let path = path(cx)?;
    // As with modules: broken settings keep no app from starting.
    let settings = read(&path).unwrap_or_default();
    let lists = INTERNAL.iter().filter_map(|list| settings.get(*list)).filter_map(Value::as_object);
    for name in lists.flat_map(|list| list.keys()).filter(|name| !BUILT_IN.contains(&name.as_str())) {
        cx.out.warn_err(message!(
            "cannot start module {name}: this program was built without the feature `machine`",
            name = crate::text::shown(name)
        ));
    }
    Ok(())
}
