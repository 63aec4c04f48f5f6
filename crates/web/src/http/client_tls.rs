//! Connections to external services: TCP and TLS. rustls uses the root certificates of the system,
//! or the built-in ones if the system has none.

use std::io;
use std::sync::{Arc, OnceLock};

use ostler_alerts::certificate::days_left;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Connection of any kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The peer cannot be reached.
    #[error("cannot connect to {host}, port {port}: {cause}")]
    Unreachable { host: String, port: u16, cause: io::Error },
    /// No certificate can be for this host.
    #[error("{0} is not a name that a certificate can have")]
    Name(String),
    /// The peer is not trusted, or uses no TLS.
    #[error("TLS handshake with {host} failed: {cause}")]
    Handshake { host: String, cause: io::Error },
    /// This program cannot use TLS.
    #[error("cannot set up TLS: {0}")]
    SetUp(rustls::Error),
}

/// Connects by TCP.
///
/// # Errors
/// Returns [`ConnectError::Unreachable`] with the system's error.
pub(crate) async fn connect(host: &str, port: u16) -> Result<Box<dyn Io>, ConnectError> {
    let unreachable = |cause| ConnectError::Unreachable { host: host.to_owned(), port, cause };
    let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
    // A message is one small write.
    let _ = stream.set_nodelay(true);
    Ok(Box::new(stream))
}

/// Encrypts a connection. Returns also the days until the peer's certificate expires.
///
/// # Errors
/// Returns [`ConnectError::Handshake`] if the certificate is not valid.
pub(crate) async fn encrypt(host: &str, stream: Box<dyn Io>) -> Result<(Box<dyn Io>, Option<i64>), ConnectError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::Name(host.to_owned()))?;
    let stream = TlsConnector::from(config()?).connect(name, stream).await;
    let stream = stream.map_err(|cause| ConnectError::Handshake { host: host.to_owned(), cause })?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let days = certificate.and_then(|certificate| days_left(certificate, crate::clock::now_ms()));
    Ok((Box::new(stream), days))
}

/// Created at the first use, because the roots take several hundred kilobytes.
fn config() -> Result<Arc<ClientConfig>, ConnectError> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(ConnectError::SetUp)?;
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    Ok(Arc::clone(CONFIG.get_or_init(|| config)))
}
