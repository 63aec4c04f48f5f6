//! Messages of the keeper to its anchor. Both are always the same program, so these bytes have no versions.

use crate::link::codec::{Input, Malformed, Wire, messages};

/// One packet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ToAnchor {
    /// The daemon has its end of the link: from now on the end of the link means that both are gone.
    Arm,
    /// Hold these [one descriptor per name, in that order], each in place of what had its name before.
    Hold {
        /// Names.
        names: Vec<String>,
    },
    /// Close what is held under these names.
    Release {
        /// Names.
        names: Vec<String>,
    },
    /// End, and with that close everything.
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
    fn every_message_survives_the_way() {
        let names = || vec!["ipc:1".to_owned(), String::new()];
        for message in [ToAnchor::Arm, ToAnchor::Hold { names: names() }, ToAnchor::Release { names: names() }, ToAnchor::Leave] {
            assert_eq!(decode::<ToAnchor>(&encode(&message)), Ok(message));
        }
    }
}
