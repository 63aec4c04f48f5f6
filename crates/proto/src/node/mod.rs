//! Node's message formats on the IPC channel of a child process.

pub mod cluster;
mod ipc;
pub mod preload;

pub use ipc::{Decoder, IpcError, MAX_LINE_BYTES, Message, classify, encode};
