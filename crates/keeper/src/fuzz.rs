//! Checks of the decoders of this crate for any bytes. The crate `ostler-fuzzing` runs them; see
//! `docs/fuzzing.md`.

use std::fmt::Debug;

use crate::anchor::ToAnchor;
use crate::link::codec::{Wire, decode, encode};
use crate::link::message::{FromKeeper, ToKeeper};
use crate::state::KeeperState;

/// Checks a message between daemon and keeper, in both directions.
pub fn keeper_messages(bytes: &[u8]) {
    is_exact::<ToKeeper>(bytes);
    is_exact::<FromKeeper>(bytes);
}

/// Checks a message to the anchor, and the state that one keeper hands to the next.
pub fn keeper_state(bytes: &[u8]) {
    is_exact::<ToAnchor>(bytes);
    is_exact::<KeeperState>(bytes);
}

/// Checks that the bytes are either malformed or a value that encodes to the same bytes again.
fn is_exact<T: Wire + Debug>(bytes: &[u8]) {
    if let Ok(value) = decode::<T>(bytes) {
        assert_eq!(&*encode(&value), bytes, "{value:?}");
    }
}
