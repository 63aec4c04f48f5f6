//! Several copies behind one port: the cost of reloads, crashes and connections.

mod bad_release;
mod balance;
mod crash;
mod daemon_kill;
mod many;
mod reload;
mod throughput;

use super::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("reload", "three reloads under load", reload::measure),
    ("bad", "a reload to a release that does not come up", bad_release::measure),
    ("worker", "SIGKILL of a worker under load", crash::measure),
    ("primary", "SIGKILL of the daemon (or primary) under load", daemon_kill::measure),
    ("throughput", "CPU per request and requests per second", throughput::measure),
    ("balance", "how evenly connections are spread", balance::measure),
    ("many", "50,000 short and 10,000 idle connections over a reload", many::measure),
];
