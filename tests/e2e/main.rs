//! The real binary in a private home: one file per verb, one per promise of the design, one for faults.
//!
//! Everything a test starts is found by a marker and killed at its end (see `ostler-testkit`). Nothing waits by sleeping.
#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, missing_docs)]

mod autoscale;
mod clock_jumps;
mod cluster;
mod cluster_faults;
mod cluster_nodes;
mod completion;
mod config;
mod crash;
mod delete;
mod describe;
mod env;
mod faults;
mod faults_hostile;
mod faults_limits;
mod foreground;
mod kill;
mod lanes;
mod list;
mod logs;
mod names;
mod no_daemon;
mod one_daemon;
mod programs;
mod promise_1_daemon_killed;
mod promise_1_keeper_killed;
mod promise_1_random_kills;
mod promise_2_daemon_killed;
mod promise_2_reload;
mod promise_3_no_lost_line;
mod promise_4_escaped;
mod promise_4_no_orphan;
mod promise_4_pid_1;
mod promise_5_state;
mod promise_6_closed;
mod promise_7_idle;
mod readiness;
mod reload;
mod reload_logs;
mod restart;
mod save;
mod scale;
mod seeds_cluster;
mod servers;
mod setup;
mod shop;
mod signal;
mod sockets;
mod start;
mod stop;
mod update;
mod validate;
mod why;
