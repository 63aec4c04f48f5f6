//! Everything the kernel sees. The only crate of the project with `unsafe`; Linux differences end here.
//!
//! Nothing in here decides anything: each module is one capability (start a program, look at the process table, pass a descriptor),
//! with the errno of the failing step kept. No module holds global state, and nothing is cached that could become untrue (which signals
//! are ignored is noted in `signal`, which is where that changes; how many threads act for others in `rights`).

pub mod access;
pub mod cgroup;
pub mod child;
pub mod clock;
mod clone;
pub mod connections;
pub mod counted;
pub mod cpus;
pub mod cstrings;
pub mod datagram;
pub mod descriptors;
pub mod dial;
pub mod exec;
pub mod fdpass;
pub mod fork;
pub mod host;
pub mod inotify;
pub mod input;
pub mod lent;
pub mod listening;
pub mod lock;
pub mod machine;
mod math;
pub mod memfd;
pub mod memory;
pub mod oom;
pub mod pipe;
pub mod played;
pub mod process;
pub mod refused;
pub mod replace;
pub mod reuseport;
pub mod rights;
pub mod rlimit;
pub mod sample;
pub mod scheduling;
pub mod signal;
mod sock_diag;
pub mod socket;
pub mod spawn;
pub mod text_file;
pub mod threads;
pub mod title;
pub mod tree;
#[cfg(no_tables)]
mod unwinding;
pub mod user;
pub mod wall_timer;
pub mod wiped;

pub use child::{Ending, Usage};
pub use clock::{Clocks, now};
pub use cstrings::CStrings;
pub use process::ProcRef;
pub use rlimit::Rlimit;
pub use spawn::{SpawnError, SpawnSpec, Spawned, Step, spawn};
pub use tree::ProcTable;
pub use user::Credentials;
pub use wiped::Wiped;
