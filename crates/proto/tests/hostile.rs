//! Bytes of hostile clients and apps: the corpora of the fuzz targets, and a bounded number of
//! mutations.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "hostile/changes.rs"]
mod changes;
#[path = "hostile/checks.rs"]
mod checks;

use proptest::prelude::*;
use proptest::sample::Index;

use changes::{change, changed, corpus};

/// Name of a target and its check.
type Target = (&'static str, fn(&[u8]));

/// Targets whose checks take the raw bytes.
const OTHERS: [Target; 4] =
    [("app_ipc", checks::ipc), ("sd_notify", checks::notify), ("native_frames", checks::native), ("dump_file", checks::dump)];

fn of_json(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        checks::app(&value);
    }
}

#[test]
fn corpora_are_handled_without_panic() {
    for (name, bytes) in corpus("pm2_stream") {
        println!("{name}");
        checks::stream(&bytes);
    }
    for (name, bytes) in corpus("pm2_app") {
        println!("{name}");
        of_json(&bytes);
    }
    for (target, check) in OTHERS {
        for (name, bytes) in corpus(target) {
            println!("{target}: {name}");
            check(&bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_streams_are_handled_without_panic(file in any::<Index>(), changes in prop::collection::vec(change(), 1..6)) {
        checks::stream(&changed(&corpus("pm2_stream"), &file, &changes));
    }

    #[test]
    fn mutated_apps_are_handled_without_panic(file in any::<Index>(), changes in prop::collection::vec(change(), 1..4)) {
        of_json(&changed(&corpus("pm2_app"), &file, &changes));
    }

    #[test]
    fn mutated_app_messages_are_handled_without_panic(file in any::<Index>(), changes in prop::collection::vec(change(), 1..6)) {
        checks::ipc(&changed(&corpus("app_ipc"), &file, &changes));
    }

    #[test]
    fn mutated_notifications_are_handled_without_panic(file in any::<Index>(), changes in prop::collection::vec(change(), 1..6)) {
        checks::notify(&changed(&corpus("sd_notify"), &file, &changes));
    }

    #[test]
    fn mutated_native_frames_are_handled_without_panic(file in any::<Index>(), changes in prop::collection::vec(change(), 1..6)) {
        checks::native(&changed(&corpus("native_frames"), &file, &changes));
    }

    #[test]
    fn mutated_saved_lists_are_handled_without_panic(file in any::<Index>(), changes in prop::collection::vec(change(), 1..4)) {
        checks::dump(&changed(&corpus("dump_file"), &file, &changes));
    }
}
