//! Real servers from npm, unmodified: started as two instances, loaded, reloaded twice, no request lost. And libraries that speak to the manager.
//!
//! The packages lie in `real-apps` of the cache; `tests/fixtures/real/install.sh` brings them. The apps are a few lines each, in
//! `tests/fixtures/real`; a test copies them into its home beside a link to the packages. Apps as people write them are in `examples/`.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, clippy::unwrap_used, reason = "a test")]

mod apps;
mod boards;
mod examples;
mod gui;
mod modules;
mod node;
mod probes;
mod prometheus;
