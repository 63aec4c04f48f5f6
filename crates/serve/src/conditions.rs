//! Conditional requests (RFC 9110, 13): the client has the file already, or wants only one version.

use std::time::{Duration, SystemTime};

/// Validators that distinguish two versions of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validators {
    /// `ETag`, with its quotes.
    pub etag: String,
    /// `Last-Modified`, in whole seconds.
    pub modified: SystemTime,
}

/// Conditional headers of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Headers<'a> {
    pub if_match: Option<&'a str>,
    pub if_none_match: Option<&'a str>,
    pub if_modified_since: Option<&'a str>,
    pub if_unmodified_since: Option<&'a str>,
    pub if_range: Option<&'a str>,
}

/// Decision on a conditional request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConditionOutcome {
    /// Send the file; `ranges` allows a partial response.
    Send {
        /// False if the client wanted a range of another version of the file.
        ranges: bool,
    },
    /// Respond with 304.
    NotModified,
    /// Respond with 412.
    Failed,
}

impl Validators {
    /// Returns the validators of a file with this size, time and encoding.
    pub(crate) fn new(size: u64, seconds: i64, nanoseconds: u32, encoding: &str) -> Self {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Self { etag: format!("\"{seconds:x}.{nanoseconds:x}-{size:x}{encoding}\""), modified }
    }

    pub(crate) fn verdict(&self, headers: Headers<'_>) -> ConditionOutcome {
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        match (headers.if_match, headers.if_unmodified_since.and_then(date)) {
            (Some(tags), _) if !self.is_one_of(tags, true) => return ConditionOutcome::Failed,
            (None, Some(since)) if self.modified > since => return ConditionOutcome::Failed,
            _ => {}
        }
        match (headers.if_none_match, headers.if_modified_since.and_then(date)) {
            (Some(tags), _) if self.is_one_of(tags, false) => return ConditionOutcome::NotModified,
            (None, Some(since)) if self.modified <= since => return ConditionOutcome::NotModified,
            _ => {}
        }
        let ranges = headers.if_range.is_none_or(|wanted| match wanted.trim() {
            tag if tag.starts_with('"') => tag == self.etag,
            day => date(day) == Some(self.modified),
        });
        ConditionOutcome::Send { ranges }
    }

    /// Returns true if the list contains this tag. A strong comparison ignores weak tags.
    fn is_one_of(&self, tags: &str, strong: bool) -> bool {
        let tags = tags.split(',').map(str::trim);
        tags.map(|tag| if strong { tag } else { tag.strip_prefix("W/").unwrap_or(tag) }).any(|tag| tag == "*" || tag == self.etag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "Thu, 01 Jan 1970 00:16:39 GMT";
    const SAME: &str = "Thu, 01 Jan 1970 00:16:40 GMT";
    const AFTER: &str = "Thu, 01 Jan 1970 00:16:41 GMT";
    const TAG: &str = "\"3e8.7-a\"";

    #[test]
    fn verdict_follows_conditional_headers() {
        let file = Validators::new(10, 1000, 7, "");
        assert_eq!(file.etag, TAG);
        let none = Headers::default();
        let send = ConditionOutcome::Send { ranges: true };
        for (headers, expected) in [
            (none, send),
            (Headers { if_none_match: Some(TAG), ..none }, ConditionOutcome::NotModified),
            (Headers { if_none_match: Some("\"x\", W/\"3e8.7-a\""), ..none }, ConditionOutcome::NotModified),
            (Headers { if_none_match: Some("*"), ..none }, ConditionOutcome::NotModified),
            (Headers { if_none_match: Some("\"x\""), if_modified_since: Some(AFTER), ..none }, send),
            (Headers { if_modified_since: Some(SAME), ..none }, ConditionOutcome::NotModified),
            (Headers { if_modified_since: Some(BEFORE), ..none }, send),
            (Headers { if_modified_since: Some("yesterday"), ..none }, send),
            (Headers { if_match: Some(TAG), ..none }, send),
            (Headers { if_match: Some("W/\"3e8.7-a\""), ..none }, ConditionOutcome::Failed),
            (Headers { if_match: Some("\"x\""), ..none }, ConditionOutcome::Failed),
            (Headers { if_unmodified_since: Some(BEFORE), ..none }, ConditionOutcome::Failed),
            (Headers { if_unmodified_since: Some(SAME), ..none }, send),
            (Headers { if_range: Some(TAG), ..none }, send),
            (Headers { if_range: Some("\"x\""), ..none }, ConditionOutcome::Send { ranges: false }),
            (Headers { if_range: Some("W/\"3e8.7-a\""), ..none }, ConditionOutcome::Send { ranges: false }),
            (Headers { if_range: Some(SAME), ..none }, send),
            (Headers { if_range: Some(AFTER), ..none }, ConditionOutcome::Send { ranges: false }),
        ] {
            assert_eq!(file.verdict(headers), expected, "{headers:?}");
        }
    }
}
