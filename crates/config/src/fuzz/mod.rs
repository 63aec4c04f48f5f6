//! Checks of the readers of this crate for any bytes. The crate `ostler-fuzzing` runs them; see
//! `docs/fuzzing.md`.

pub(crate) mod apps;

pub use apps::{attributes, config_app};

pub use crate::load::fuzz::{config_js, config_json, config_stdin, config_toml, config_yaml};
pub use crate::normalize::fuzz::env_file;
