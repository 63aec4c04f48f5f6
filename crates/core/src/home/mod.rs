//! Home: its files, its owner, and the rights with which paths are followed.

pub mod home_owner;
pub mod home_paths;
pub mod rights;
pub mod trust;
