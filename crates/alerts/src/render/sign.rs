//! Signatures for the services.

use base64ct::{Base64, Encoding as _};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC accepts keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// Returns `sha256=<hex>` over timestamp, a full stop, and the body.
pub(super) fn webhook(secret: &str, seconds: u64, body: &str) -> String {
    let bytes = hmac(secret.as_bytes(), format!("{seconds}.{body}").as_bytes());
    bytes.iter().fold("sha256=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// Signs `timestamp\nkey` with the robot's key.
pub(super) fn dingtalk(secret: &str, ms: u64) -> String {
    base64(&hmac(secret.as_bytes(), format!("{ms}\n{secret}").as_bytes()))
}

/// Uses `timestamp\nkey` as the key and signs an empty message.
pub(super) fn feishu(secret: &str, seconds: u64) -> String {
    base64(&hmac(format!("{seconds}\n{secret}").as_bytes(), b""))
}

/// Encodes a text for a query or path; the colon of a bot token stays.
pub(super) fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
