//! Encryption of the dashboard. Certificate and key are files, which are read again when they are
//! replaced.

use std::cell::RefCell;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ostler_core::message;
use ostler_http::{Encryption, PlainStream};
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

/// Files for encryption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The certificate, followed by the intermediate certificates: PEM.
    pub cert: PathBuf,
    /// Its private key: PEM.
    pub key: PathBuf,
}

/// Reason why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or is not PEM.
    #[error("{}", message!("cannot read \"{path}\"", path = path.display()))]
    Read {
        /// The file.
        path: PathBuf,
        /// Description of the problem.
        source: pem::Error,
    },
    /// The file contains no certificate.
    #[error("{}", message!("no certificate in \"{path}\"", path = path.display()))]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The files do not match, or their kind is not supported.
    #[error("{}", message!("\"{cert}\" and \"{key}\" cannot be used together", cert = cert.display(), key = key.display()))]
    Unusable {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// The reason.
        source: rustls::Error,
    },
}

impl Tls {
    /// Loads the files.
    ///
    /// # Errors
    /// Returns a [`TlsError`] if the files cannot be used.
    pub(crate) fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let Self { cert, key } = self;
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Read { path, source }
        };
        let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(read(cert))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate { path: cert.clone() });
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(read(key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
        config.map(Arc::new).map_err(|source| TlsError::Unusable { cert: cert.clone(), key: key.clone(), source })
    }

    /// Returns the versions of both files.
    fn stamps(&self) -> [Option<FileVersion>; 2] {
        [&self.cert, &self.key]
            .map(|path| std::fs::metadata(path).ok().map(|meta| (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec())))
    }
}

/// Version of a file: inode, size and modification time. Each replacement has a different one.
type FileVersion = (u64, u64, i64, i64);

/// Loaded certificate.
struct Certificate {
    files: Tls,
    known: RefCell<([Option<FileVersion>; 2], Arc<ServerConfig>)>,
}

impl Certificate {
    /// Returns the present configuration. If changed files cannot be used, this is reported once,
    /// and the former certificate stays in use: a renewal may be in progress.
    fn current(&self) -> Arc<ServerConfig> {
        let stamps = self.files.stamps();
        let mut known = self.known.borrow_mut();
        if known.0 != stamps {
            known.0 = stamps;
            match self.files.load() {
                Ok(config) => known.1 = config,
                Err(error) => {
                    log_line(&format!("the previous certificate stays in use: {}", ostler_core::text::causes::with_causes(&error)))
                }
            }
        }
        Arc::clone(&known.1)
    }
}

/// Writes a line to the log.
fn log_line(text: &str) {
    use io::Write as _;
    let _ = writeln!(io::stderr(), "{text}");
}

/// Returns the encryption with these files.
///
/// # Errors
/// Returns a [`TlsError`] if the files cannot be used.
pub(crate) fn encryption(files: &Tls) -> Result<Encryption, TlsError> {
    // Taken before the files are read, so that a later write counts as another version.
    let stamps = files.stamps();
    let certificate = Certificate { files: files.clone(), known: RefCell::new((stamps, files.load()?)) };
    Ok(Rc::new(move |stream| {
        let agreeing = TlsAcceptor::from(certificate.current()).accept(stream);
        Box::pin(async move { Ok(Box::new(agreeing.await?) as Box<dyn PlainStream>) })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a self-signed key and certificate for localhost, valid until 2049
    /// (`tests/fixtures/tls`).
    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tls").join(name)).unwrap()
    }

    #[test]
    fn certificates_reload_and_bad_files_are_rejected() {
        let folder = std::env::temp_dir().join(format!("ostler-web-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = Tls { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        assert!(matches!(files.load(), Err(TlsError::Read { path, .. }) if path == files.cert));
        std::fs::write(&files.cert, "nothing").unwrap();
        assert!(matches!(files.load(), Err(TlsError::NoCertificate { .. } | TlsError::Read { .. })));
        std::fs::write(&files.cert, fixture("cert.pem")).unwrap();
        assert!(matches!(files.load(), Err(TlsError::Read { path, .. }) if path == files.key));
        std::fs::write(&files.key, fixture("key.pem")).unwrap();
        let certificate = Certificate { files: files.clone(), known: RefCell::new((files.stamps(), files.load().unwrap())) };
        let first = certificate.current();
        assert!(Arc::ptr_eq(&first, &certificate.current()), "read once");
        let replace = |path: &Path, text: &[u8]| {
            std::fs::write(folder.join("new"), text).unwrap();
            std::fs::rename(folder.join("new"), path).unwrap();
        };
        replace(&files.cert, b"half of it");
        assert!(Arc::ptr_eq(&first, &certificate.current()), "the former one serves on");
        replace(&files.cert, &fixture("cert.pem"));
        assert!(!Arc::ptr_eq(&first, &certificate.current()), "a new one is taken");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
