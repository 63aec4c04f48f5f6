//! Expiry date of a certificate, read from its DER encoding. Parses only as much of X.509 as that
//! needs.

use jiff::Timestamp;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// Returns the days until the certificate expires. Returns `None` if the bytes are not a
/// certificate.
pub fn days_left(der: &[u8], now_ms: u64) -> Option<i64> {
    let end = not_after(der)?;
    Some((end.as_millisecond() - i64::try_from(now_ms).ok()?).div_euclid(86_400_000))
}

/// `Certificate { tbs { [0] version?, serial, signature, issuer, validity { not before, not after
/// }, … } … }`.
fn not_after(der: &[u8]) -> Option<Timestamp> {
    let certificate = value(der, SEQUENCE)?.0;
    let mut tbs = value(certificate, SEQUENCE)?.0;
    if tbs.first() == Some(&VERSION) {
        tbs = element(tbs)?.2;
    }
    for _ in ["serial", "signature", "issuer"] {
        tbs = element(tbs)?.2;
    }
    let validity = value(tbs, SEQUENCE)?.0;
    let (tag, text, _) = element(element(validity)?.2)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// Parses `YYMMDDHHMMSSZ`, or the same with a four-digit year.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let full = match tag {
        UTC_TIME => {
            let year: u32 = text.get(..2)?.parse().ok()?;
            format!("{}{text}", if year < 50 { "20" } else { "19" })
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| full.get(from..to);
    let (date, clock) =
        (format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?), format!("{}:{}:{}", part(8, 10)?, part(10, 12)?, part(12, 14)?));
    format!("{date}T{clock}Z").parse().ok()
}

fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (is, value, rest) = element(bytes)?;
    (is == tag).then_some((value, rest))
}

/// Splits off one DER element: returns its tag, its value and the remaining bytes.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // 0x80 is the indefinite form, which has no length.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64ct::{Base64, Encoding as _};
    use proptest::prelude::*;

    fn der() -> Vec<u8> {
        let pem = include_str!("../../../tests/fixtures/tls/cert.pem");
        let lines: String =
            pem.lines().skip_while(|line| !line.contains("BEGIN CERT")).skip(1).take_while(|line| !line.contains("END")).collect();
        Base64::decode_vec(&lines).unwrap()
    }

    /// The expected date is the output of another program for the same certificate.
    #[test]
    fn not_after_reads_expiry_date_of_certificate() {
        assert_eq!(not_after(&der()).unwrap().to_string(), "2126-10-28T09:42:30Z");
    }

    proptest! {
        #[test]
        fn days_left_never_panics_on_damaged_certificate(at in 0_usize..2000, byte in any::<u8>(), cut in 0_usize..2000) {
            let mut bytes = der();
            let length = bytes.len();
            bytes[at % length] = byte;
            let _ = days_left(&bytes[..cut % length], 0);
        }
    }
}
