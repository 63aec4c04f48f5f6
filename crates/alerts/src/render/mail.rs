//! Message as an e-mail.

use jiff::Timestamp;

use super::sign::base64;
use crate::channel::Mail;
use crate::message::Message;

/// Returns head and body of the mail, with CR LF line ends. Retries have the same `Message-ID`, so
/// that mail programs recognize them.
pub fn letter(mail: &Mail, message: &Message) -> String {
    let at = i64::try_from(message.at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    let date = jiff::fmt::rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default();
    let domain = mail.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let head = [
        ("From", format!("ostler <{}>", mail.from)),
        ("To", mail.to.join(",\r\n ")),
        ("Subject", words(&message.title())),
        ("Date", date),
        ("Message-ID", format!("<{}.{}@{domain}>", message.id, "ostler")),
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        ("Content-Transfer-Encoding", "base64".to_owned()),
    ];
    let mut out: String = head.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    out.push_str("\r\n");
    let body = base64(format!("{}\r\n\r\n{}\r\n", message.title(), message.lines().join("\r\n")).as_bytes());
    for line in body.as_bytes().chunks(76) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push_str("\r\n");
    }
    out
}

/// Encodes a header text as encoded words, each within its line (RFC 2047).
fn words(text: &str) -> String {
    if text.is_ascii() && text.len() < 60 && !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = (1..=rest.len().min(42)).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        words.push(format!("=?utf-8?B?{}?=", base64(word.as_bytes())));
        rest = after;
    }
    words.join("\r\n ")
}
