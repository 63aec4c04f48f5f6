//! Signatures of the services.

use base64ct::{Base64, Encoding as _};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// `sha256=<hex>` of timestamp, a full stop, and the body.
pub(super) fn webhook(secret: &str, seconds: u64, body: &str) -> String {
    let bytes = hmac(secret.as_bytes(), format!("{seconds}.{body}").as_bytes());
    bytes.iter().fold("sha256=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// The robot's key signs `timestamp\nkey`.
pub(super) fn dingtalk(secret: &str, ms: u64) -> String {
    base64(&hmac(secret.as_bytes(), format!("{ms}\n{secret}").as_bytes()))
}

/// `timestamp\nkey` is the key, and what is signed is empty.
pub(super) fn feishu(secret: &str, seconds: u64) -> String {
    base64(&hmac(format!("{seconds}\n{secret}").as_bytes(), b""))
}

/// A text as part of a query or path; the colon of a bot's token stays.
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
