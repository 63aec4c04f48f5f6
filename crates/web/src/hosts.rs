//! Hosts of the hosts file, for links to their dashboards. The dashboard does not connect to them.

use std::path::Path;

use serde::Serialize;

/// Function that reads the hosts file of a home. An error is one line about the file.
pub type HostsReader = fn(&Path) -> Result<Vec<ConfiguredHost>, String>;

/// Host of the hosts file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfiguredHost {
    /// Its name in the file.
    pub name: String,
    /// Name or address for `ssh`.
    pub host: String,
    /// User for `ssh`.
    pub user: Option<String>,
    /// Port for `ssh`.
    pub port: Option<u16>,
    /// True if the host is this machine.
    #[serde(rename = "here")]
    pub is_here: bool,
    /// Address of its dashboard: `http://` or `https://`; none = unknown.
    pub dashboard: Option<String>,
}
