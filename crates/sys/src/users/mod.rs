//! Users and their rights.

pub mod rights;
pub mod user;
