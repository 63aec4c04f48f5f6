//! Evaluation of a service's response to a message. Some services report a failure in the body of a
//! 200.

use serde_json::Value;

use ostler_core::message;

use crate::channel::Service;
use crate::text::plain;

/// HTTP response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// Unparsed `Retry-After` header.
    pub retry_after: Option<String>,
    /// Beginning of the body.
    pub body: String,
}

/// Result of sending a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryResult {
    /// It was delivered.
    Delivered,
    /// It failed for now and will be retried.
    Later {
        /// Delay that the service requests.
        after_ms: Option<u64>,
        /// The reason.
        why: String,
    },
    /// It failed permanently: a retry would fail again.
    Refused(String),
}

/// Maximum delay that is accepted from a service.
const MOST_WAIT_MS: u64 = 3_600_000;

/// Evaluates a response. `now_ms` is for a `Retry-After` header that is a date.
pub fn delivery_result(service: &Service, answer: &HttpReply, now_ms: u64) -> DeliveryResult {
    let value: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let body_text = || plain(&answer.body, 200);
    let status = answer.status;
    match status {
        200..=299 => in_body(service, answer, &value),
        429 => {
            // Telegram and Discord put the delay into the body, in seconds.
            let in_body = value["parameters"]["retry_after"].as_f64().or_else(|| value["retry_after"].as_f64()).map(seconds);
            let after_ms = answer.retry_after.as_deref().and_then(|text| retry_after(text, now_ms)).or(in_body);
            DeliveryResult::Later { after_ms: Some(after_ms.unwrap_or(60_000).min(MOST_WAIT_MS)), why: message!("too many messages (429)") }
        }
        300..=399 => DeliveryResult::Refused(message!("redirects are not followed ({status})", status)),
        408 | 425 | 500..=599 => {
            let after_ms = answer.retry_after.as_deref().and_then(|text| retry_after(text, now_ms)).map(|ms| ms.min(MOST_WAIT_MS));
            DeliveryResult::Later { after_ms, why: message!("it answered {status} {text}", status, text = body_text()) }
        }
        _ => DeliveryResult::Refused(message!("it answered {status} {text}", status, text = body_text())),
    }
}

fn in_body(service: &Service, answer: &HttpReply, value: &Value) -> DeliveryResult {
    let fault =
        |code: i64, key: &str| message!("it answered {code}: {text}", code, text = plain(value[key].as_str().unwrap_or_default(), 200));
    let later = |why: String| DeliveryResult::Later { after_ms: Some(60_000), why };
    match service {
        Service::DingTalk { .. } | Service::WeCom { .. } => match value["errcode"].as_i64() {
            Some(0) => DeliveryResult::Delivered,
            // Codes for rate limits and for a busy service.
            Some(code @ (130_101 | 130_102 | 410_100 | 45_009 | 45_033 | -1)) => later(fault(code, "errmsg")),
            Some(code) => DeliveryResult::Refused(fault(code, "errmsg")),
            None => DeliveryResult::Refused(message!("invalid answer: {text}", text = plain(&answer.body, 200))),
        },
        Service::Feishu { .. } => match value["code"].as_i64().or_else(|| value["StatusCode"].as_i64()) {
            Some(0) => DeliveryResult::Delivered,
            Some(code @ (9499 | 11_232 | 11_233 | 99_991_400)) => later(fault(code, "msg")),
            Some(code) => DeliveryResult::Refused(fault(code, "msg")),
            None => DeliveryResult::Refused(message!("invalid answer: {text}", text = plain(&answer.body, 200))),
        },
        Service::Telegram { .. } if value["ok"] == Value::Bool(false) => {
            DeliveryResult::Refused(fault(value["error_code"].as_i64().unwrap_or(0), "description"))
        }
        // A Slack webhook answers `ok` in plain text. The Web API and compatible services answer
        // with `ok: false` on failure.
        Service::Slack { .. } if value["ok"] == Value::Bool(false) => match value["error"].as_str() {
            Some("ratelimited" | "rate_limited") => later(message!("too many messages")),
            other => DeliveryResult::Refused(message!("it answered {text}", text = plain(other.unwrap_or_default(), 200))),
        },
        _ => DeliveryResult::Delivered,
    }
}

/// Parses seconds or a date.
fn retry_after(text: &str, now_ms: u64) -> Option<u64> {
    if let Ok(number) = text.trim().parse::<f64>() {
        return Some(seconds(number));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(u64::try_from(at.as_millisecond()).ok()?.saturating_sub(now_ms))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within an hour")]
fn seconds(number: f64) -> u64 {
    if number.is_finite() { (number.clamp(0.0, 3600.0) * 1000.0) as u64 } else { MOST_WAIT_MS }
}
