//! PM2's formats: `jlist`, `dump.pm2`, the environment of an app, and the protocols of its sockets.

pub mod amp;
pub mod rpc;

mod attributes;
mod conf;
mod dump;
mod entry;
mod log_places;
mod pm2_env;
mod prepare;
mod process;

pub use conf::{ConfError, read_conf};
pub use dump::{Dump, DumpEntry, DumpError, EntryError, of_entries, parse_dump, to_dump};
pub use entry::AttributeError;
pub use log_places::{LogAccount, LogPlace, LogPlaces, Packet, PacketError, ReaderInput};
pub use pm2_env::{PM2_VERSION, View, pm2_env, scalar_env, versioning};
pub use prepare::{Prepared, prepared, reconfigured, restart_vars};
pub use process::{Process, ProcessForm};
