//! All interfaces to the kernel. This is the project's only crate with `unsafe`, and it hides the
//! differences between Linux versions.
//!
//! This crate makes no decisions. Each module is one capability (start a program, read the process
//! table, pass a descriptor), and keeps the errno of the failing step. No module caches a fact that
//! could become untrue. Two modules hold global state: `signal` records the ignored signals, which
//! only it changes, and `rights` counts the threads that act as other users.

pub mod cgroup;
pub mod confine;
pub mod fd;
pub mod fs;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
pub mod machine;
mod math;
pub mod memory;
pub mod net;
pub mod process;
pub mod refused_calls;
pub mod seccomp;
pub mod simulated;
pub mod time;
pub mod users;

pub use memory::secret_bytes::SecretBytes;
pub use process::ProcRef;
pub use process::child::{Usage, WaitStatus};
pub use process::cstrings::CStrings;
pub use process::rlimit::Rlimit;
pub use process::spawn::{SpawnError, SpawnSpec, SpawnStep, Spawned, spawn};
pub use process::tree::ProcTable;
pub use time::Clocks;
pub use time::clock::now;
pub use users::user::Credentials;
