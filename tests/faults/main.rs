//! Fault matrix: every system call of ostler's processes × every error that a kernel, a sandbox or
//! an exhausted machine returns.
//!
//! A cell is one call of one part in one phase with one error. [`table`] has the cells, [`stage`] the
//! scenario in which a cell runs, and [`cell`] the judgement. `docs/fault-matrix.md` describes all
//! of it. `cargo xtask faults` runs any part of the matrix.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that meets the unexpected has to stop and tell")]

mod cell;
mod judge;
mod matrix;
mod record;
mod stage;
mod table;

use ostler_testkit::{Part, needs_program};

/// Runs the cells of a part that this run selects.
#[track_caller]
fn runs(part: Part) {
    needs_program!("node");
    matrix::run(part);
}

#[test]
#[ignore = "`cargo xtask faults` runs it: the cells need a machine without other tests"]
fn command() {
    runs(Part::Command);
}

#[test]
#[ignore = "`cargo xtask faults` runs it: the cells need a machine without other tests"]
fn daemon() {
    runs(Part::Daemon);
}

#[test]
#[ignore = "`cargo xtask faults` runs it: the cells need a machine without other tests"]
fn keeper() {
    runs(Part::Keeper);
}

#[test]
#[ignore = "`cargo xtask faults` runs it: the cells need a machine without other tests"]
fn standby() {
    runs(Part::Standby);
}

#[test]
#[ignore = "`cargo xtask faults` runs it: the cells need a machine without other tests"]
fn dashboard() {
    runs(Part::Dashboard);
}

#[test]
#[ignore = "`cargo xtask faults` runs it: the cells need a machine without other tests"]
fn child() {
    runs(Part::Child);
}

/// Writes the calls that each part makes to `tests/faults/calls.txt`, if `OSTLER_FAULTS_RECORD` is
/// set (`cargo xtask faults --record`).
#[test]
fn record_calls() {
    if std::env::var_os("OSTLER_FAULTS_RECORD").is_some() {
        needs_program!("node");
        record::run();
    }
}
