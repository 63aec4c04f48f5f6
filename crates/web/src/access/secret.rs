//! Secrets: 256 random bits, and passwords.

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version};
use ostler_core::message;
use sha2::{Digest as _, Sha256};

/// Minimum length of a password.
const SHORTEST: usize = 8;
/// Maximum length of a password; longer input would waste CPU time.
const LONGEST: usize = 1024;

/// 256 random bits as text; shown once, stored as a hash.
#[derive(Clone)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    pub(super) fn new() -> Self {
        Self(hex(&random::<32>()))
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> String {
        hash_of(&self.0)
    }
}

/// Returns random bits from the kernel.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut done = 0;
    while done < N {
        // The call waits for entropy only just after boot. It does not fail on any supported
        // kernel.
        match rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => done += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => panic!("cannot read random numbers from the kernel: {errno}"),
        }
    }
    bytes
}

/// Returns the stored form of a secret. The secret has 256 random bits, so a fast hash suffices.
/// Only hashes are compared, so the time reveals nothing about the secret.
pub(super) fn hash_of(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reason for rejecting a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short or much too long.
    #[error("{}", message!("a password has 8 to 1024 bytes"))]
    Length,
    /// The hash could not be computed.
    #[error("{}", message!("the password cannot be hashed"))]
    Hash,
}

/// Returns the argon2 parameters: 19 MiB, two passes.
fn recipe() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19 << 10, 2, 1, None).unwrap_or_default())
}

/// Returns the hash of a password for storage.
///
/// # Errors
/// Returns a [`PasswordError`] if the length is invalid or the hash cannot be computed.
pub fn password_hash(password: &str) -> Result<String, PasswordError> {
    if !(SHORTEST..=LONGEST).contains(&password.len()) {
        return Err(PasswordError::Length);
    }
    let salt = argon2::password_hash::SaltString::encode_b64(&random::<16>()).map_err(|_| PasswordError::Hash)?;
    recipe().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string()).map_err(|_| PasswordError::Hash)
}

/// Returns true if the password is correct. Takes about 20 ms and 19 MiB.
pub fn password_fits(password: &str, hash: &str) -> bool {
    password.len() <= LONGEST && PasswordHash::new(hash).is_ok_and(|hash| recipe().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_hash_verifies_only_its_password() {
        let hash = password_hash("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(password_fits("correct horse", &hash) && !password_fits("correct hors", &hash));
        assert!(!password_fits("correct horse", "nonsense") && !password_fits("", ""));
        assert_eq!(password_hash("short"), Err(PasswordError::Length));
        assert_eq!(password_hash(&"x".repeat(1025)), Err(PasswordError::Length));
        assert_ne!(password_hash("correct horse").unwrap(), hash, "salted");
    }

    #[test]
    fn secrets_are_unique_and_not_printed() {
        let (one, other) = (Secret::new(), Secret::new());
        assert!(one.text().len() == 64 && one.text() != other.text() && one.hash() != one.text());
        assert_eq!(format!("{one:?}"), "Secret");
    }
}
