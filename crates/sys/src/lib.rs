//! Everything the kernel sees. The only crate of the project with `unsafe`; Linux differences end here.
//!
//! Nothing in here decides anything: each module is one capability (start a program, look at the process table, pass a descriptor),
//! with the errno of the failing step kept. No module holds global state, and nothing is cached that could become untrue (which signals
//! are ignored is noted in `signal`, which is where that changes; how many threads act for others in `rights`).

pub mod cgroup;
pub mod fd;
pub mod fs;
pub mod machine;
mod math;
pub mod memory;
pub mod net;
pub mod played;
pub mod process;
pub mod refused;
pub mod time;
pub mod users;

pub use memory::wiped::Wiped;
pub use process::ProcRef;
pub use process::child::{Ending, Usage};
pub use process::cstrings::CStrings;
pub use process::rlimit::Rlimit;
pub use process::spawn::{SpawnError, SpawnSpec, Spawned, Step, spawn};
pub use process::tree::ProcTable;
pub use time::Clocks;
pub use time::clock::now;
pub use users::user::Credentials;
