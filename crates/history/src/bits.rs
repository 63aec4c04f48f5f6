//! Encoding of numbers as Rice codes; each group has its own parameter. Pure.

/// Numbers per group.
const GROUP: usize = 32;
/// Bits that a parameter takes.
const PARAMETER: u32 = 5;
/// Parameter of a group that contains only zeros.
const ZEROS: u64 = 31;
/// The largest parameter.
const MOST: u32 = 30;
/// Quotient from which on the number follows unencoded.
const ESCAPE: u64 = 20;

/// Appends numbers.
pub(crate) fn pack(values: &[u64], out: &mut Vec<u8>) {
    let mut bits = Writer { out, word: 0, used: 0 };
    for group in values.chunks(GROUP) {
        if group.iter().all(|value| *value == 0) {
            bits.put(ZEROS, PARAMETER);
            continue;
        }
        let parameter = best(group);
        bits.put(u64::from(parameter), PARAMETER);
        for value in group {
            bits.rice(*value, parameter);
        }
    }
    bits.end();
}

/// Takes `count` numbers from the front. Returns `None` if the bytes are invalid.
pub(crate) fn unpack(bytes: &mut &[u8], count: usize) -> Option<Vec<u64>> {
    let mut bits = Reader { bytes, at: 0 };
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let size = GROUP.min(count - values.len());
        let parameter = bits.take(PARAMETER)?;
        for _ in 0..size {
            values.push(if parameter == ZEROS { 0 } else { bits.rice(u32::try_from(parameter).ok()?)? });
        }
    }
    let whole = bits.at.div_ceil(8);
    *bytes = bytes.get(whole..)?;
    Some(values)
}

/// Returns the parameter with the shortest code, near that of the average.
fn best(group: &[u64]) -> u32 {
    let sum: u128 = group.iter().map(|value| u128::from(*value)).sum();
    let average = u64::try_from(sum / group.len() as u128).unwrap_or(u64::MAX);
    let near = (64 - average.leading_zeros()).min(MOST);
    let cost = |parameter: u32| -> u64 { group.iter().map(|value| length(*value, parameter)).sum() };
    (near.saturating_sub(3)..=(near + 1).min(MOST)).min_by_key(|parameter| cost(*parameter)).unwrap_or(near)
}

fn length(value: u64, parameter: u32) -> u64 {
    let quotient = value >> parameter;
    if quotient >= ESCAPE { ESCAPE + 64 } else { quotient + 1 + u64::from(parameter) }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    word: u8,
    used: u32,
}

impl Writer<'_> {
    fn bit(&mut self, bit: bool) {
        self.word |= u8::from(bit) << self.used;
        self.used += 1;
        if self.used == 8 {
            self.out.push(self.word);
            (self.word, self.used) = (0, 0);
        }
    }

    fn put(&mut self, value: u64, width: u32) {
        for at in 0..width {
            self.bit(value >> at & 1 == 1);
        }
    }

    fn rice(&mut self, value: u64, parameter: u32) {
        let quotient = (value >> parameter).min(ESCAPE);
        for _ in 0..quotient {
            self.bit(true);
        }
        if quotient == ESCAPE {
            self.put(value, 64);
        } else {
            self.bit(false);
            self.put(value, parameter);
        }
    }

    fn end(self) {
        if self.used > 0 {
            self.out.push(self.word);
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bit(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1 == 1;
        self.at += 1;
        Some(bit)
    }

    fn take(&mut self, width: u32) -> Option<u64> {
        let mut value = 0;
        for at in 0..width {
            value |= u64::from(self.bit()?) << at;
        }
        Some(value)
    }

    fn rice(&mut self, parameter: u32) -> Option<u64> {
        let mut quotient = 0;
        while self.bit()? {
            quotient += 1;
            if quotient == ESCAPE {
                return self.take(64);
            }
        }
        Some(quotient << parameter | self.take(parameter)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeros_pack_to_few_bytes() {
        let mut bytes = Vec::new();
        pack(&[0; 320], &mut bytes);
        assert_eq!(bytes.len(), 7);
    }

    proptest! {
        #[test]
        fn pack_round_trips(values in prop::collection::vec(prop_oneof![0u64..3, 0u64..100, any::<u64>()], 0..200)) {
            let mut bytes = Vec::new();
            pack(&values, &mut bytes);
            bytes.push(7);
            let mut rest = &bytes[..];
            prop_assert_eq!(unpack(&mut rest, values.len()), Some(values));
            prop_assert_eq!(rest, &[7][..]);
        }

        #[test]
        fn unpack_never_panics_on_arbitrary_bytes(bytes: Vec<u8>, count in 0usize..500) {
            let _ = unpack(&mut &bytes[..], count);
        }
    }
}
