//! Code of the keeper that stays in memory when its disk is gone.

use std::hint::black_box;
use std::path::Path;

use ostler_sys::{
    ProcRef, memory,
    net::socket,
    process,
    process::{child, fork, signal, spawn},
    time::clock,
};
use rustix::io::Errno;

use crate::children::Children;
use crate::daemon::watchdog::Watchdog;
use crate::run::{Keeper, complain};

/// Tracks what the keeper uses, and counts as used what it needs when something goes wrong: that may happen while its disk is gone.
pub(crate) fn track_use() {
    memory::track_use();
    let rarely: [*const (); 33] = [
        Keeper::start_first_daemon as *const (),
        Keeper::daemon_time as *const (),
        Keeper::daemon_ended as *const (),
        Keeper::kill_daemon as *const (),
        Keeper::lost_link as *const (),
        Keeper::look_at_daemon as *const (),
        Keeper::doubt_daemon as *const (),
        Keeper::tend_anchor as *const (),
        Keeper::on_anchor as *const (),
        Keeper::adopted_ended as *const (),
        Keeper::somebody_knocks as *const (),
        complain as *const (),
        // The first exit of an app, and the judgement of a daemon that does not acknowledge it.
        Keeper::reap as *const (),
        Keeper::ended as *const (),
        Children::end as *const (),
        Children::acknowledge as *const (),
        Watchdog::expect as *const (),
        Watchdog::on_answer as *const (),
        Watchdog::doubt as *const (),
        Watchdog::look as *const (),
        Watchdog::deadline_ms as *const (),
        // What these call.
        child::reap_any as *const (),
        child::reap as *const (),
        child::signal as *const (),
        child::is_ours as *const (),
        ProcRef::of as *const (),
        process::signal_fd as *const (),
        process::ending_by_fd as *const (),
        process::is_refusal as *const (),
        spawn::spawn_at as *const (),
        socket::packet_pair as *const (),
        fork::fork as *const (),
        clock::boot_ms as *const (),
    ];
    rarely.into_iter().for_each(memory::use_code);
    use_tables_of_errors();
    use_library();
}

/// Runs the functions of the standard library that a new daemon or standby needs. They are in pages far from ours.
fn use_library() {
    let mut names = black_box(Vec::<String>::new());
    names.push(black_box(String::new()));
    let file = Path::new(black_box("/proc/self")).join(black_box("stat"));
    black_box((names, std::fs::read(file).ok()));
    // A fork counts the threads in this way.
    black_box(std::fs::read_dir(black_box("/proc/self/task")).map_or(0, Iterator::count));
    black_box(black_box(std::io::Error::from(Errno::NOENT)).to_string());
    // The end of a process in words, and the numbers of all messages.
    black_box(signal::name(black_box(9)).to_string());
    black_box(format!("{} {} {} {}", black_box(-1_i32), black_box(1_u32), black_box(1_u64), black_box(1_usize)));
}

/// Takes an error of the system apart. The tables by which that is done are constants in pages of
/// their own, which reading the first bytes of a function does not bring in.
fn use_tables_of_errors() {
    let error = black_box(std::io::Error::from(Errno::AGAIN));
    black_box((Errno::from_io_error(&error), error.kind()));
}
