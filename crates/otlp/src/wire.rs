//! Iterator over the fields of a protobuf message, without copies. The cost does not depend on
//! lengths that the message claims.

use prost::encoding::{WireType, decode_key, decode_varint};

/// Invalid message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not valid protobuf: {0}")]
pub struct Malformed(String);

/// Value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Integers, enums, booleans.
    Varint(u64),
    /// `fixed64`, `double`.
    Fixed64(u64),
    /// `fixed32`, `float`.
    Fixed32(u32),
    /// Texts, bytes, messages.
    Bytes(&'a [u8]),
}

/// Fields of a message: number and value.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (value, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| Malformed("it ends within a number".into()))?;
        self.0 = rest;
        Ok(*value)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let failed = |error: prost::DecodeError| Malformed(error.to_string());
        let (number, kind) = decode_key(&mut self.0).map_err(failed)?;
        let value = match kind {
            WireType::Varint => Value::Varint(decode_varint(&mut self.0).map_err(failed)?),
            WireType::SixtyFourBit => Value::Fixed64(u64::from_le_bytes(self.take()?)),
            WireType::ThirtyTwoBit => Value::Fixed32(u32::from_le_bytes(self.take()?)),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut self.0).map_err(failed)?).unwrap_or(usize::MAX);
                let (value, rest) = self.0.split_at_checked(length).ok_or_else(|| Malformed("it ends within a field".into()))?;
                self.0 = rest;
                Value::Bytes(value)
            }
            WireType::StartGroup | WireType::EndGroup => return Err(Malformed("it has a group".into())),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Returns the submessages with this field number.
pub(crate) fn messages(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    Fields::of(message).filter_map(move |field| match field {
        Ok((found, Value::Bytes(bytes))) if found == number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_decode_each_wire_type() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x19, 1, 0, 0, 0, 0, 0, 0, 0, 0x25, 2, 0, 0, 0];
        let fields: Vec<_> = Fields::of(&bytes).map(Result::unwrap).collect();
        assert_eq!(fields, [(1, Value::Varint(150)), (2, Value::Bytes(b"hi")), (3, Value::Fixed64(1)), (4, Value::Fixed32(2))]);
        for bad in [
            &[0x12, 0x05, 1][..],
            &[0x19, 1, 2],
            &[0x0b],
            &[0x08],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x07],
        ] {
            let mut fields = Fields::of(bad);
            assert!(fields.next().is_some_and(|field| field.is_err()) && fields.next().is_none(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn decoding_terminates_on_arbitrary_bytes(bytes: Vec<u8>) {
            proptest::prop_assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }
}
