//! Decoding of trace requests in protobuf or JSON, span by span.

mod json;
mod protobuf;

use crate::span::{Resource, SPANS, Span, TraceId};
use crate::wire::Malformed;

/// Maximum number of instances that one request may name.
pub const INSTANCES: usize = 64;

/// Encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Signal of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `/v1/traces`.
    Traces,
    /// `/v1/metrics`.
    Metrics,
    /// `/v1/logs`.
    Logs,
}

/// Body that cannot be read; the whole request is refused.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Invalid protobuf.
    #[error(transparent)]
    Protobuf(#[from] Malformed),
    /// Invalid JSON, or JSON of another shape.
    #[error("not a valid OTLP request in JSON: {0}")]
    Json(String),
}

/// Result of reading a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeResult {
    /// Spans that were passed to the sink.
    pub taken: usize,
    /// Spans without valid ids, or beyond the maximum number of a request.
    pub refused: usize,
}

/// Reads a trace request and passes each valid span to `sink`. Unknown fields are skipped; long
/// texts are cut.
///
/// # Errors
/// Returns a [`DecodeError`] if the body is invalid. Spans that were already passed on are valid.
pub fn traces(form: BodyEncoding, body: &[u8], sink: &mut dyn FnMut(&Resource, TraceId, Span)) -> Result<DecodeResult, DecodeError> {
    let mut read = DecodeResult::default();
    let mut bounded = |resource: &Resource, found: Option<(TraceId, Span)>| match found {
        Some((trace, span)) if read.taken < SPANS => {
            read.taken += 1;
            sink(resource, trace, span);
        }
        _ => read.refused += 1,
    };
    match form {
        BodyEncoding::Protobuf => protobuf::traces(body, &mut bounded)?,
        BodyEncoding::Json => json::traces(body, &mut bounded)?,
    }
    Ok(read)
}

/// Returns the distinct instance ids (`service.instance.id`) that a request names, at most
/// [`INSTANCES`].
///
/// # Errors
/// Returns a [`DecodeError`] if the body is invalid.
pub fn instances(form: BodyEncoding, body: &[u8]) -> Result<Vec<Box<str>>, DecodeError> {
    let mut found: Vec<Box<str>> = Vec::new();
    let mut add = |resource: Resource| {
        if found.len() < INSTANCES && !resource.instance.is_empty() && !found.contains(&resource.instance) {
            found.push(resource.instance);
        }
    };
    match form {
        BodyEncoding::Protobuf => protobuf::resources(body, &mut add)?,
        BodyEncoding::Json => json::resources(body, &mut add)?,
    }
    Ok(found)
}

/// Counts the spans, points or records in a request without keeping any.
///
/// # Errors
/// Returns a [`DecodeError`] if the body is invalid.
pub fn count(form: BodyEncoding, signal: Signal, body: &[u8]) -> Result<usize, DecodeError> {
    match form {
        BodyEncoding::Protobuf => Ok(protobuf::count(signal, body)?),
        BodyEncoding::Json => json::count(signal, body),
    }
}

#[cfg(test)]
mod tests;
