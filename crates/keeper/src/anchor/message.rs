//! Messages from the keeper to its anchor. Both run the same program, so the encoding has no
//! version.

use crate::link::codec::{Input, Malformed, Wire, messages};

/// One packet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ToAnchor {
    /// The daemon has its end of the link. From now on, the end of the link means that both are
    /// gone.
    Arm,
    /// Hold these [one descriptor per name, in that order]. Each replaces the descriptor that had
    /// its name before.
    Hold {
        /// Names.
        names: Vec<String>,
    },
    /// Close the descriptors held under these names.
    Release {
        /// Names.
        names: Vec<String>,
    },
    /// Exit, and thereby close everything.
    Leave,
}

messages!(ToAnchor {
    1 => Arm,
    2 => Hold { names },
    3 => Release { names },
    4 => Leave,
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::codec::{decode, encode};

    #[test]
    fn every_message_round_trips() {
        let names = || vec!["ipc:1".to_owned(), String::new()];
        for message in [ToAnchor::Arm, ToAnchor::Hold { names: names() }, ToAnchor::Release { names: names() }, ToAnchor::Leave] {
            assert_eq!(decode::<ToAnchor>(&encode(&message)), Ok(message));
        }
    }
}
