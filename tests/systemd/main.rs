//! ostler as a service of a real systemd: each test boots a machine of its own in namespaces (see `ostler_testkit::Machine`).
#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, missing_docs)]

mod boot;
mod credentials;
mod export;
mod lifecycle;
mod migrate;
mod seeds_boot;
mod setup;
mod users;
