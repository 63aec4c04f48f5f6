//! Variable-length numbers of one to ten bytes. Pure.

/// Appends a number with seven bits per byte, the lowest first.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Takes a number from the front. Returns `None` if the bytes are invalid.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        value |= part << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Maps a signed number to an unsigned number. Values near zero become small numbers.
pub(crate) fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// Reverses [`zigzag`].
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn varint_and_zigzag_round_trip(value: u64, signed: i64) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            let mut rest = &bytes[..];
            proptest::prop_assert_eq!(take(&mut rest), Some(value));
            proptest::prop_assert!(rest.is_empty());
            proptest::prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }

        #[test]
        fn take_never_panics_on_arbitrary_bytes(bytes: Vec<u8>) {
            let _ = take(&mut &bytes[..]);
        }
    }
}
