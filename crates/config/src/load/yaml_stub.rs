//! YAML in a build without the feature `yaml`: reports that YAML is not supported.

use ostler_core::message;

use super::Document;
use crate::problem::{Problem, ProblemKind};

/// Rejects every text.
pub(super) fn parse(_: &str) -> Result<Document, Problem> {
    let message = message!("this program was built without the feature `yaml` and cannot read YAML: use a complete build, JSON or TOML");
    Err(Problem::error(ProblemKind::Malformed, message))
}
