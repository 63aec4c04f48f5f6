//! Confinement of an app (`sandbox`): what its processes may read, write, bind, connect to and call.
//!
//! [`SandboxSpec`] is the description. [`plan`](fn@plan::plan) turns it into rules for one process, and
//! [`kernel`] compares the rules with the abilities of the kernel. The daemon opens the paths and the
//! keeper applies the rules between fork and exec ([`ADR 0027`](../../../../docs/adr/0027-sandbox.md)).

pub mod calls;
pub mod kernel;
pub mod learn;
pub mod own_folder;
pub mod plan;

use serde::{Deserialize, Serialize};

use crate::app::default_box::is_default;

/// Set of restrictions that the others are added to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Only the restrictions that the table names.
    #[default]
    None,
    /// A server: reads the system and its own folder, writes what it declares, binds its ports.
    Web,
    /// `Web` without outgoing connections and without dangerous system calls.
    Strict,
}

impl Profile {
    /// Returns the word in a configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Web => "web",
            Self::Strict => "strict",
        }
    }
}

/// TCP ports that a process may bind or connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ports {
    /// The profile decides.
    #[default]
    Profile,
    /// Every port.
    Any,
    /// These ports, and for `bind` also those that the app declares elsewhere.
    Only(Vec<u16>),
}

/// `sandbox`: confinement of an app's processes. Paths are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxSpec {
    /// The base.
    pub profile: Profile,
    /// `read_only`: without a profile, the whole file system is readable, and only
    /// `read_write_paths` are writable.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// Further paths to read. A leading `-` means that the path may be missing.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only_paths: Vec<String>,
    /// Paths to read and write. A leading `-` means that the path may be missing.
    #[serde(skip_serializing_if = "is_default")]
    pub read_write_paths: Vec<String>,
    /// TCP ports to bind.
    #[serde(skip_serializing_if = "is_default")]
    pub bind_ports: Ports,
    /// TCP ports to connect to.
    #[serde(skip_serializing_if = "is_default")]
    pub connect_ports: Ports,
    /// Separate, empty `/tmp` and `/var/tmp`; none = if the machine allows it, in a profile.
    #[serde(skip_serializing_if = "is_default")]
    pub private_tmp: Option<bool>,
    /// Whether processes of others are hidden in `/proc` and cannot be signalled.
    #[serde(skip_serializing_if = "is_default")]
    pub protect_proc: Option<bool>,
    /// Capabilities to keep, in lower case without `cap_`.
    #[serde(skip_serializing_if = "is_default")]
    pub capabilities: Option<Vec<String>>,
    /// Whether setuid programs gain no rights; none = as the profile needs it.
    #[serde(skip_serializing_if = "is_default")]
    pub no_new_privs: Option<bool>,
    /// Denied system calls, as names and groups without the leading `~`.
    #[serde(skip_serializing_if = "is_default")]
    pub system_calls: Vec<String>,
    /// Families of addresses for new sockets (`unix`, `inet`, …); none = the profile decides.
    #[serde(skip_serializing_if = "is_default")]
    pub address_families: Option<Vec<String>>,
    /// Whether the app does not start if a part of the sandbox is impossible; none = as the profile.
    #[serde(skip_serializing_if = "is_default")]
    pub required: Option<bool>,
}

impl SandboxSpec {
    /// Returns true if the app must not start without a part of its sandbox.
    pub fn is_required(&self) -> bool {
        self.required.unwrap_or(self.profile == Profile::Strict)
    }

    /// Returns true if access to files is restricted.
    pub fn restricts_files(&self) -> bool {
        self.profile != Profile::None || self.read_only
    }

    /// Returns true if signals to processes outside and views of them are refused.
    pub fn isolates_processes(&self) -> bool {
        self.protect_proc.unwrap_or(self.profile != Profile::None)
    }

    /// Returns its name in lists: the profile, or `custom`.
    pub fn label(&self) -> &'static str {
        match self.profile {
            Profile::None => "custom",
            profile => profile.as_str(),
        }
    }
}
