//! One file per measured feature.

mod boot;
pub(crate) mod cluster;
mod cold;
mod container;
mod crash;
mod fleet;
mod health;
mod idle;
mod kill;
mod killed;
mod last_lines;
mod limit;
mod list;
mod log;
mod memory;
mod monit;
mod pm2_sockets;
pub(crate) mod program;
mod rotate;
mod serve;
mod start;
mod stop;
mod thousand;
mod web;

use crate::lab::Lab;
use crate::report::Row;
use anyhow::Result;

/// Name, measured feature, and function.
pub(crate) type Scenario = (&'static str, &'static str, fn(&Lab) -> Result<Vec<Row>>);

/// The managers side by side, with small apps that do almost nothing.
pub(crate) const APPS: &[Scenario] = &[
    ("list", "one `list`, one `jlist` of 100 apps", list::measure),
    ("cold", "no daemon -> first instruction of the app", cold::measure),
    ("container", "first process of a container: start, and memory", container::measure),
    ("start", "100 apps from one file", start::measure),
    ("stop", "100 apps that obey", stop::measure),
    ("crash", "from the end of a process to the first instruction of the next", crash::measure),
    ("killed", "SIGKILL of apps that have run for more than a second, to the first instruction of the next", killed::measure),
    ("memory", "memory at rest, and per app", memory::measure),
    ("idle", "what 100 quiet apps cost", idle::measure),
    ("health", "what 100 apps cost that are asked whether they are well", health::measure),
    ("limit", "apps that pass their limit of memory", limit::measure),
    ("log", "a flood of lines of 100 bytes, as it is and with a date on each", log::measure),
    ("rotate", "a log that is rotated while 200 MB a second are written to it", rotate::measure),
    ("sockets", "PM2's sockets: lists of 100 apps, calls, and 50,000 lines a second for three subscribers", pm2_sockets::measure),
    ("serve", "files over HTTP, beside PM2's serve and nginx", serve::measure),
    ("monit", "the view of the terminal over 100 apps at rest", monit::measure),
    ("web", "the dashboard: at rest, watched, its history, `/metrics`, search in logs", web::measure),
    ("measured", "what it costs a Node server that the dashboard collects its figures", web::collected::measure),
    ("fleet", "a command on 20 hosts over ssh", fleet::measure),
    ("thousand", "1,000 apps", thousand::measure),
    ("kill", "SIGKILL of the daemon under requests and log lines", kill::measure),
    ("boot", "20 apps on a real systemd, after a reboot", boot::measure),
    ("last", "20,000 lines, then exit(1) (Node)", last_lines::measure),
];

/// Returns milliseconds.
pub(crate) fn ms(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Waits until managers are at rest. They clean up after a start, a new daemon checks its apps once
/// more after a second, and memory is returned only after some idle time.
pub(crate) fn wait_until_idle() {
    std::thread::sleep(std::time::Duration::from_secs(4));
}
