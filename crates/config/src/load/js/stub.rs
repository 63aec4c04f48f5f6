//! Stand-in for the embedded engine in a build without it (feature `js`): the runtime on `PATH`
//! evaluates each file.

use ostler_core::message;

use super::{EvalFailure, Evaluand, Evaluation, Refusal};
use crate::context::Context;

/// Refuses every file.
///
/// # Errors
/// Always returns an error: the missing feature, as a part of the sentence "… needs a JavaScript
/// runtime".
pub(super) fn run(_: &Evaluand<'_>, _: &Context) -> Result<Evaluation, Box<Refusal>> {
    Err(Box::new((
        EvalFailure::Unsupported(message!("this program is built without its JavaScript engine (feature `js`): the file")),
        None,
    )))
}
