//! `--json`: one JSON value on stdout.

use serde::Serialize;

use super::Out;

/// Prints the value in one line.
pub(crate) fn json<T: Serialize>(out: &mut Out, value: &T) {
    // ostler's own types have string keys and finite numbers only.
    let mut bytes = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
    bytes.push(b'\n');
    out.data(&bytes);
}
