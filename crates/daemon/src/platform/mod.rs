//! Interface to the system: event loop, keeper, threads, files, rights.

pub(crate) mod conf;
pub(crate) mod confinement;
pub(crate) mod fd_budget;
pub(crate) mod files;
pub(crate) mod incident;
pub(crate) mod ipc;
pub(crate) mod keeper_connection;
pub(crate) mod log;
pub(crate) mod node_version;
pub(crate) mod one_shot_watch;
pub(crate) mod probe;
pub(crate) mod reactor;
pub(crate) mod rights;
pub(crate) mod sample;
pub(crate) mod secrets;
pub(crate) mod settings;
pub(crate) mod shared_folder;
pub(crate) mod threads;
pub(crate) mod users;
pub(crate) mod waker;
pub(crate) mod working_trees;
