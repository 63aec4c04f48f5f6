//! Real servers from npm, unmodified: started as two instances, loaded, reloaded twice, without a
//! lost request. Also libraries that communicate with the manager.
//!
//! The packages are in the cache's folder `real-apps`; `tests/fixtures/real/install.sh` installs
//! them. The apps are a few lines each, in `tests/fixtures/real`. A test copies them into its home,
//! beside a link to the packages. Realistic apps are in `examples/`.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

mod any_program;
mod apps;
mod boards;
mod examples;
mod gui;
mod modules;
mod node;
mod probes;
mod prometheus;
