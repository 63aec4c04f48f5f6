//! Turns files and options into [`ostler_core::app::AppSpec`]. Only the client uses this crate; the
//! daemon never reads a configuration.
//!
//! Three steps, each usable alone:
//!
//! 1. **load** ([`load()`], [`load_stdin()`]): find the format, parse or evaluate ([`find`]
//!    recognizes config file arguments).
//! 2. **check**: every app against the one table of attributes ([`keys`]); all problems at once,
//!    each with its position in the file. The result is a [`RawApp`]: attributes under their main
//!    names, in canonical form.
//! 3. **normalize** ([`normalize()`], [`from_options()`], [`merge()`]): paths, script, interpreter,
//!    environment, defaults.
#![forbid(unsafe_code)]

mod check;
mod context;
mod fault;
mod file;
pub mod find;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod jobs;
pub mod keys;
mod load;
mod normalize;
mod problem;
mod statics;
mod values;

pub use check::RawApp;
pub use context::{AccountError, Context, Engine, UnknownEngine};
pub use file::{Examined, Loaded, add_new, examine, examine_stdin, load, load_made, load_stdin, outline, select, values};
pub use guard::{ResolvedPath, walk};
pub use normalize::{
    EnvOption, Normalized, Overlay, UpdatedApp, attempt, finish_order, from_options, merge, normalize, normalize_update, variables_in,
};
pub use ostler_core::home::trust::Origin;
pub use problem::{Position, Problem, ProblemKind, Problems, Severity};
