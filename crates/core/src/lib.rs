//! Pure decisions: no I/O, no clock, no threads, no randomness of its own.
//!
//! Everything that ostler *decides* lives here as total functions over plain data, so that it can be tested by table, by property
//! and in the simulation. Whoever performs the effects (the daemon) feeds results back as events.
#![forbid(unsafe_code)]

pub mod app;
pub mod args;
pub mod autoscale;
pub mod backoff;
pub mod balance;
pub mod budget;
pub mod causes;
pub mod command;
pub mod cron;
pub mod date_format;
pub mod default_box;
pub mod diff;
pub mod error_lines;
pub mod errors;
pub mod export_settings;
pub mod files;
pub mod fnv;
pub mod git;
pub mod given;
pub mod goal;
pub mod health;
pub mod home_owner;
pub mod home_paths;
pub mod hooks;
pub mod inherit;
pub mod inspector;
pub mod instances;
pub mod lifecycle;
pub mod limits;
pub mod masking;
pub mod observation;
pub mod order;
pub mod os_text;
pub mod package;
pub mod probe;
pub mod program;
pub mod restart;
pub mod rights;
pub mod ring;
pub mod rollout;
pub mod rotate;
pub mod runtime;
pub mod safeguards;
pub mod scrape;
pub mod secrets;
pub mod select;
pub mod serving;
pub mod shards;
pub mod signal;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod sticky;
pub mod stop;
pub mod suggest;
pub mod time;
pub mod trust;
pub mod unanswered;
pub mod units;
pub mod watch;
