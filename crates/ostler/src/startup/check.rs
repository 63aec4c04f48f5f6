//! `startup --check`.
use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;
use std::path::Path;
pub(crate) fn run(_cx: &mut Cx, _call: &Call) -> Result<Status, CliError> { Ok(Status::Ok) }
/// The user's systemd runs without a login.
pub(crate) fn lingers(user: &str) -> bool {
    Path::new("/var/lib/systemd/linger").join(user).exists()
}
