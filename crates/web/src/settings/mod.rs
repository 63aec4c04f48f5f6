//! Settings: addresses to listen on and trusted names. Stored in `<home>/web/settings.json`, which
//! `ostler web enable` writes.

pub(crate) mod names;
pub mod otlp;
pub mod tls;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ostler_core::{marked, message};
use serde::{Deserialize, Serialize};

use crate::json_file::{FileError, JsonFile};
use crate::settings::otlp::{Otlp, OtlpError, port_file, write_port_file};
use crate::settings::tls::{Tls, TlsError};

/// Default port of the dashboard.
pub const PORT: u16 = 9616;
/// Default port of PM2's JSON page.
pub const PM2_PORT: u16 = 9615;

/// Default maximum size of the history files in megabytes.
pub const HISTORY_MB: u32 = 128;

/// Settings of the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Whether the dashboard is enabled.
    pub enabled: bool,
    /// Address to listen on, or path of a unix socket.
    pub listen: String,
    /// Port, if it listens on an address.
    pub port: u16,
    /// Port of PM2's JSON page; none = the page is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pm2_port: Option<u16>,
    /// Whether a proxy in front of it encrypts, and reports its clients (`X-Forwarded-For`,
    /// `X-Forwarded-Proto`).
    pub behind_proxy: bool,
    /// Certificate and key for encryption by the dashboard itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Host names that browsers may use, in addition to loopback names and `listen`.
    pub hosts: Vec<String>,
    /// Maximum size of the history files in megabytes; none = 128.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_mb: Option<u32>,
    /// Origins (`https://ops.example.com`) whose pages may make changes, in addition to its own.
    pub trusted_origins: Vec<String>,
    /// Settings of OpenTelemetry.
    #[serde(skip_serializing_if = "Otlp::is_usual")]
    pub otlp: Otlp,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: "127.0.0.1".into(),
            port: PORT,
            pm2_port: None,
            behind_proxy: false,
            tls: None,
            hosts: Vec::new(),
            history_mb: None,
            trusted_origins: Vec::new(),
            otlp: Otlp::default(),
        }
    }
}

/// Reason why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The address is reachable from other machines, without encryption.
    #[error(
        "{}",
        message!(
            "{address} is reachable from other machines without encryption, so passwords could be read on the network; listen on 127.0.0.1 \
             behind a proxy with TLS, confirm such a proxy with --behind-proxy, or set --tls-cert and --tls-key",
            address = _0
        )
    )]
    Public(String),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The settings of OpenTelemetry are invalid.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The file with the port for traces cannot be written.
    #[error("{}", message!("cannot write \"{path}\"", path = path.display()))]
    PortFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The value is neither an address nor a path.
    #[error("{}", message!("{address} is not an address to listen on: expected 127.0.0.1, ::1, another address of this machine, or the path of a socket", address = format!("{_0:?}")))]
    Address(String),
}

impl Settings {
    fn file(home: &Path) -> JsonFile {
        JsonFile::edited(home, "settings.json", marked!("; correct it, or remove it and run `ostler web enable`"))
    }

    /// Returns the path of the settings file.
    pub fn path(home: &Path) -> PathBuf {
        Self::file(home).path().to_owned()
    }

    /// Reads the settings of this home; a home without settings has the default ones.
    ///
    /// # Errors
    /// Returns [`FileError::Read`] or [`FileError::Broken`] if the file cannot be used.
    pub fn read(home: &Path) -> Result<Self, SettingsError> {
        Ok(Self::file(home).read()?.unwrap_or_default())
    }

    /// Writes the settings.
    ///
    /// # Errors
    /// Returns an error if [`Settings::check`] fails, or if the folder or the file cannot be
    /// written.
    pub fn write(&self, home: &Path) -> Result<(), SettingsError> {
        self.check()?;
        Self::file(home).write(self)?;
        let port = self.otlp.receiver_port().filter(|_| self.enabled);
        write_port_file(home, port).map_err(|source| SettingsError::PortFile { path: port_file(home), source })
    }

    /// Returns the settings without secrets, for display.
    pub fn shown(&self) -> Self {
        Self { otlp: self.otlp.shown(), ..self.clone() }
    }

    /// Checks the addresses and the certificate.
    ///
    /// # Errors
    /// Returns [`SettingsError::Public`], [`SettingsError::Address`], [`SettingsError::Tls`] or
    /// [`SettingsError::Otlp`].
    pub fn check(&self) -> Result<(), SettingsError> {
        self.otlp.check()?;
        self.tls.as_ref().map(Tls::load).transpose()?;
        if self.socket_path().is_some() {
            return Ok(());
        }
        let address: IpAddr = match self.listen.as_str() {
            "localhost" => return Ok(()),
            other => other.parse().map_err(|_| SettingsError::Address(self.listen.clone()))?,
        };
        if address.to_canonical().is_loopback() || self.behind_proxy || self.tls.is_some() {
            Ok(())
        } else {
            Err(SettingsError::Public(self.listen.clone()))
        }
    }

    /// Returns the maximum size of the history files in bytes.
    pub fn history_bytes(&self) -> u64 {
        u64::from(self.history_mb.unwrap_or(HISTORY_MB).max(1)) << 20
    }

    /// Returns the path of the unix socket, if it listens on one.
    pub fn socket_path(&self) -> Option<&str> {
        self.listen.starts_with('/').then_some(self.listen.as_str())
    }

    /// Returns the sockets in the format of an app's `listen`: the dashboard's, then PM2's page.
    pub fn sockets(&self) -> Vec<String> {
        let at =
            |port: u16| if self.listen.contains(':') { format!("[{}]:{port}", self.listen) } else { format!("{}:{port}", self.listen) };
        let own = self.socket_path().map_or_else(|| at(self.port), str::to_owned);
        // PM2's page needs no login, so it is only for this machine.
        let pm2 = self.pm2_port.map(|port| format!("127.0.0.1:{port}"));
        std::iter::once(own).chain(pm2).collect()
    }

    /// Returns the URL for a browser on this machine; none if it listens on a unix socket.
    pub fn url(&self) -> Option<String> {
        if self.socket_path().is_some() {
            return None;
        }
        let address = self.listen.parse::<IpAddr>().ok();
        let named = self.hosts.first().filter(|_| self.tls.is_some());
        let host = match address {
            // A certificate is valid for a name, not for an address.
            _ if named.is_some() => named.cloned().unwrap_or_default(),
            Some(address) if address.is_unspecified() => "127.0.0.1".to_owned(),
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.listen.clone(),
        };
        Some(format!("{}://{host}:{}/", if self.tls.is_some() { "https" } else { "http" }, self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(listen: &str, behind_proxy: bool) -> Settings {
        Settings { listen: listen.into(), behind_proxy, ..Settings::default() }
    }

    #[test]
    fn remote_address_requires_tls_or_proxy() {
        for (listen, proxy, works) in [
            ("127.0.0.1", false, true),
            ("127.3.3.3", false, true),
            ("::1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("localhost", false, true),
            ("/run/x.sock", false, true),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("10.0.0.7", false, false),
            ("::ffff:10.0.0.7", false, false),
            ("10.0.0.7", true, true),
            ("0.0.0.0", true, true),
        ] {
            assert_eq!(at(listen, proxy).check().is_ok(), works, "{listen} {proxy}");
        }
        for listen in ["", "example.com", "x y", "run/x.sock", "127.0.0.1:80"] {
            assert!(matches!(at(listen, true).check(), Err(SettingsError::Address(_))), "{listen}");
        }
    }

    #[test]
    fn sockets_and_url_follow_settings() {
        let with = |listen: &str, pm2_port| Settings { pm2_port, ..at(listen, true) };
        assert_eq!(with("127.0.0.1", None).sockets(), ["127.0.0.1:9616"]);
        assert_eq!(with("0.0.0.0", Some(9615)).sockets(), ["0.0.0.0:9616", "127.0.0.1:9615"]);
        assert_eq!(with("::1", None).sockets(), ["[::1]:9616"]);
        assert_eq!(with("/run/x", Some(1)).sockets(), ["/run/x", "127.0.0.1:1"]);
        assert_eq!(with("0.0.0.0", None).url().as_deref(), Some("http://127.0.0.1:9616/"));
        assert_eq!(with("::1", None).url().as_deref(), Some("http://[::1]:9616/"));
        assert_eq!(with("/run/x", None).url(), None);
        let tls = Some(Tls { cert: "/c".into(), key: "/k".into() });
        let own = Settings { tls, hosts: vec!["ops.example.com".into()], ..at("0.0.0.0", false) };
        assert_eq!(own.url().as_deref(), Some("https://ops.example.com:9616/"));
        assert!(matches!(own.check(), Err(SettingsError::Tls(_))), "what cannot encrypt does not listen");
    }
}
