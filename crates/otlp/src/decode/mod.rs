//! Requests with traces: protobuf or JSON, read span by span.

mod json;
mod protobuf;

use crate::span::{Resource, SPANS, Span, TraceId};
use crate::wire::Malformed;

/// Most instances that one request may name.
pub const INSTANCES: usize = 64;

/// Form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Kind of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `/v1/traces`.
    Traces,
    /// `/v1/metrics`.
    Metrics,
    /// `/v1/logs`.
    Logs,
}

/// A body that cannot be read: all of it is refused.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No protobuf.
    #[error(transparent)]
    Protobuf(#[from] Malformed),
    /// No JSON, or JSON of another shape.
    #[error("this is no request of OTLP in JSON: {0}")]
    Json(String),
}

/// What was in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Spans that were handed on.
    pub taken: usize,
    /// Spans without valid ids, or above the number that a request may have.
    pub refused: usize,
}

/// Reads a request with traces, and hands each valid span to `sink`. What is not known is skipped; what is too long is cut.
///
/// # Errors
/// [`DecodeError`]; what was handed on before is valid.
pub fn traces(form: Form, body: &[u8], sink: &mut dyn FnMut(&Resource, TraceId, Span)) -> Result<Read, DecodeError> {
    let mut read = Read::default();
    let mut bounded = |resource: &Resource, found: Option<(TraceId, Span)>| match found {
        Some((trace, span)) if read.taken < SPANS => {
            read.taken += 1;
            sink(resource, trace, span);
        }
        _ => read.refused += 1,
    };
    match form {
        Form::Protobuf => protobuf::traces(body, &mut bounded)?,
        Form::Json => json::traces(body, &mut bounded)?,
    }
    Ok(read)
}

/// The instance ids (`service.instance.id`) that a request names, each once and not more than [`INSTANCES`].
///
/// # Errors
/// [`DecodeError`].
pub fn instances(form: Form, body: &[u8]) -> Result<Vec<Box<str>>, DecodeError> {
    let mut found: Vec<Box<str>> = Vec::new();
    let mut add = |resource: Resource| {
        if found.len() < INSTANCES && !resource.instance.is_empty() && !found.contains(&resource.instance) {
            found.push(resource.instance);
        }
    };
    match form {
        Form::Protobuf => protobuf::resources(body, &mut add)?,
        Form::Json => json::resources(body, &mut add)?,
    }
    Ok(found)
}

/// How many spans, points or records are in a request of which nothing is taken.
///
/// # Errors
/// [`DecodeError`].
pub fn count(form: Form, signal: Signal, body: &[u8]) -> Result<usize, DecodeError> {
    match form {
        Form::Protobuf => Ok(protobuf::count(signal, body)?),
        Form::Json => json::count(signal, body),
    }
}

#[cfg(test)]
mod tests;
