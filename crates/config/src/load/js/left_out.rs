//! Stand-in for the embedded engine in a program that was built without it (feature `js`): each file is left to the runtime on `PATH`.

use super::{Answer, Failure, Job, Refusal};
use crate::context::Context;

/// Refuses.
///
/// # Errors
/// Always: what the file needs, as a part of the sentence "… needs a JavaScript runtime".
pub(super) fn run(_: &Job<'_>, _: &Context) -> Result<Answer, Box<Refusal>> {
    Err(Box::new((Failure::Unsupported("this program is built without its JavaScript engine (feature `js`): the file".into()), None)))
}
