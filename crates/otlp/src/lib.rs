//! OpenTelemetry's protocol (OTLP), both ways, without touching anything: bytes and times come in as arguments.
//!
//! # Theory of operation
//! **In:** a request is read span by span ([`decode`]), each cut to bounds before it is kept, so what a request costs is what its bytes cost. The [`store`] keeps the traces
//! that somebody will look for: slow ones, failed ones, and a few of each route; the oldest go when it is full. [`rate`] bounds what a sender may send, [`answer`] is what it is told.
//!
//! **Out:** figures and records become the protocol's JSON ([`encode`]); the [`queue`] bounds what waits, and decides when it is sent again.
//!
//! Shapes and rules: <https://opentelemetry.io/docs/specs/otlp/> (1.5), field numbers of `opentelemetry-proto` 1.5.
#![forbid(unsafe_code)]

pub mod answer;
pub mod decode;
pub mod encode;
pub mod queue;
pub mod rate;
pub mod span;
pub mod store;
mod wire;
