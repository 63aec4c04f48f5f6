//! Stand-in for the embedded engine in a build without it (feature `js`): the runtime on `PATH`
//! evaluates each file.

use super::{Answer, Failure, Job, Refusal};
use crate::context::Context;

/// Refuses every file.
///
/// # Errors
/// Always returns an error: the missing feature, as a part of the sentence "… needs a JavaScript
/// runtime".
pub(super) fn run(_: &Job<'_>, _: &Context) -> Result<Answer, Box<Refusal>> {
    Err(Box::new((Failure::Unsupported("this program is built without its JavaScript engine (feature `js`): the file".into()), None)))
}
