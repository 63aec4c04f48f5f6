//! OpenTelemetry protocol (OTLP) for receiving and sending, without I/O: bytes and times are
//! arguments.
//!
//! # Theory of operation
//! **Receiving:** a request is read span by span ([`decode`]). Each span is cut to limits before it
//! is kept, so the cost of a request depends only on its size. The [`store`] keeps the interesting
//! traces: slow ones, failed ones, and a few of each route. When the store is full, it removes the
//! oldest. [`rate`] limits the amount of data per sender, and [`answer`] builds the responses.
//!
//! **Sending:** metrics and records become OTLP JSON ([`encode`]). The [`queue`] bounds the waiting
//! requests and schedules retries.
//!
//! Shapes and rules: <https://opentelemetry.io/docs/specs/otlp/> (1.5), field numbers of
//! `opentelemetry-proto` 1.5.
#![forbid(unsafe_code)]

pub mod answer;
pub mod decode;
pub mod encode;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
pub mod queue;
pub mod rate;
pub mod span;
pub mod store;
mod wire;
