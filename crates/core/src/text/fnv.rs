//! FNV-1a, a short fingerprint of bytes: for names, and to detect an edit. It is the same in every
//! version. It does not protect against deliberate collisions.

use std::borrow::Borrow;

/// Returns a fingerprint of 32 bits.
///
/// ```
/// assert_eq!(ostler_core::text::fnv::fnv_32(b"foobar"), 0xbf9c_f968);
/// ```
pub fn fnv_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Returns a fingerprint of 64 bits.
///
/// ```
/// assert_eq!(ostler_core::text::fnv::fnv_64(b"foobar"), 0x8594_4171_f739_67e8);
/// ```
pub fn fnv_64(bytes: impl IntoIterator<Item = impl Borrow<u8>>) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325;
    bytes.into_iter().fold(start, |hash, byte| (hash ^ u64::from(*byte.borrow())).wrapping_mul(0x0100_0000_01b3))
}
