//! Checks of the output of apps for any bytes; see [`crate::fuzz`].

use super::format::{Format, Formatted, cut};
use super::record::{LineStart, decode, encode};

/// Checks lines of an app: each becomes one line of a log, or one object, with the same text.
pub fn log_lines(bytes: &[u8]) {
    let kept = cut(bytes);
    assert!(kept <= bytes.len() && bytes.len() - kept <= 3, "a cut of {} bytes", bytes.len() - kept);
    if std::str::from_utf8(bytes).is_ok() {
        assert!(std::str::from_utf8(&bytes[..kept]).is_ok(), "a character is split");
    }
    let dated = Format::Dated(Box::new(|ms, out| out.extend_from_slice(ms.to_string().as_bytes())));
    let formatted = |format: &Format, bytes: &[u8], close: bool, lead: LineStart| {
        let mut output = Formatted::default();
        format.format(bytes, 0, close, 42, &mut output);
        output.for_lead(lead).to_vec()
    };
    assert_eq!(formatted(&Format::Plain, bytes, false, LineStart::Fresh), bytes);
    let whole = formatted(&dated, bytes, false, LineStart::Fresh);
    let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(count(&whole), count(bytes), "one line each");
    // A batch may end after each line.
    if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (first, second) = bytes.split_at(end + 1);
        let parts = [
            formatted(&dated, first, false, LineStart::Fresh),
            if second.is_empty() { Vec::new() } else { formatted(&dated, second, false, LineStart::Fresh) },
        ];
        assert_eq!(parts.concat(), whole, "in two batches");
    }
    let json = Format::Json { stamp: None, process_id: 7, app_name: String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned() };
    let objects = formatted(&json, bytes, true, LineStart::Fresh);
    let lines: Vec<&[u8]> = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n').collect();
    let objects: Vec<serde_json::Value> = objects
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap_or_default())
        .collect();
    assert_eq!(objects.len(), if bytes.is_empty() { 0 } else { lines.len() });
    for (object, line) in objects.iter().zip(lines) {
        assert_eq!(object["message"], String::from_utf8_lossy(line).as_ref());
        assert_eq!(object["process_id"], 7);
    }
}

/// Checks the record of a batch in transit: a valid one is stable.
pub fn log_checkpoint(bytes: &[u8]) {
    let _ = decode(bytes);
    let mut slot = vec![0; 256];
    let length = bytes.len().min(248);
    slot[8..8 + length].copy_from_slice(&bytes[..length]);
    let sum = ostler_core::text::fnv::fnv_64(&slot[8..]);
    slot[..8].copy_from_slice(&sum.to_le_bytes());
    if let Some(checkpoint) = decode(&slot) {
        assert!(checkpoint.stream < 2);
        assert_eq!(decode(&encode(&checkpoint)), Some(checkpoint));
    }
}
