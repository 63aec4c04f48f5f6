//! YAML, in a program that was built without the feature `yaml`: it says so.

use super::Document;
use crate::problem::{Kind, Problem};

/// No YAML is read.
pub(super) fn parse(_: &str) -> Result<Document, Problem> {
    let message = "YAML cannot be read by this program, which was built without the feature `yaml`: use the complete one, JSON or TOML";
    Err(Problem::error(Kind::Malformed, message))
}
