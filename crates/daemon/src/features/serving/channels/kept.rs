//! Facts that an app reports about itself and that are kept: metrics, actions, options.

use std::io::{self, Write};

use ostler_core::serving::budget::BufferedBytes;
use serde_json::{Map, Value};

use crate::state::slots::Axm;

/// Most distinct metrics, actions and options.
const MAX_ENTRIES: usize = 1000;
/// Memory of a value beyond its text: `[0,0,0]`.
const VALUE_BYTES: usize = 8;

/// Returns the budget, less the present entries.
pub(super) fn of(axm: &Axm) -> BufferedBytes {
    let mut kept = BufferedBytes::default();
    let maps = [&axm.monitor, &axm.options];
    let entries = maps.into_iter().flatten().map(|(name, value)| name.len() + size_of(value));
    for size in entries.chain(axm.actions.iter().map(size_of)) {
        kept.replace(0, size);
    }
    kept
}

/// Takes over entries, as far as there is room. Returns true if there was room for all.
pub(super) fn merge(known: &mut Map<String, Value>, said: &Map<String, Value>, kept: &mut BufferedBytes) -> bool {
    let mut all = true;
    for (name, value) in said {
        let former = known.get(name).map(|former| name.len() + size_of(former));
        let fits = (former.is_some() || known.len() < MAX_ENTRIES) && kept.replace(former.unwrap_or(0), name.len() + size_of(value));
        if fits {
            known.insert(name.clone(), value.clone());
        }
        all &= fits;
    }
    all
}

/// Adds an action, if it is new and there is room. Returns true if there was room.
pub(super) fn add(known: &mut Vec<Value>, action: &Map<String, Value>, kept: &mut BufferedBytes) -> bool {
    if known.iter().any(|known| known.get("action_name") == action.get("action_name")) {
        return true;
    }
    let action = Value::from(action.clone());
    let fits = known.len() < MAX_ENTRIES && kept.replace(0, size_of(&action));
    if fits {
        known.push(action);
    }
    fits
}

fn size_of(value: &Value) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut text = Count(0);
    // A parsed value can always be written, and the counter cannot fail.
    let _ = serde_json::to_writer(&mut text, value);
    text.0 + VALUE_BYTES * values_in(value)
}

fn values_in(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(values_in).sum(),
        Value::Object(map) => map.values().map(values_in).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::serving::budget::KEPT_BYTES;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn metrics_beyond_the_budget_are_dropped() {
        let (mut known, mut kept) = (Map::new(), BufferedBytes::default());
        assert!(merge(&mut known, &map(json!({"a": {"value": 1}, "b": "x".repeat(60_000)})), &mut kept));
        assert!(!merge(&mut known, &map(json!({"c": "y".repeat(6000), "a": {"value": 2}})), &mut kept));
        assert_eq!((known.len(), &known["a"]), (2, &json!({"value": 2})));
        // Less memory for one value makes room for another.
        assert!(merge(&mut known, &map(json!({"b": 0, "c": "y".repeat(6000)})), &mut kept));
        let again = of(&Axm { monitor: known.clone(), ..Axm::default() });
        assert_eq!(again, kept);
    }

    #[test]
    fn small_values_cost_more_than_their_text() {
        let (mut known, mut kept) = (Map::new(), BufferedBytes::default());
        assert!(!merge(&mut known, &map(json!({"zeros": vec![0; KEPT_BYTES / 4]})), &mut kept));
        let many: Map<String, Value> = (0..2 * MAX_ENTRIES).map(|n| (n.to_string(), json!(n))).collect();
        assert!(!merge(&mut known, &many, &mut kept));
        assert_eq!(known.len(), MAX_ENTRIES);
    }

    #[test]
    fn repeated_action_is_kept_once() {
        let (mut known, mut kept) = (Vec::new(), BufferedBytes::default());
        for _ in 0..3 {
            assert!(add(&mut known, &map(json!({"action_name": "gc", "arity": 0})), &mut kept));
        }
        assert_eq!(known.len(), 1);
        assert!(!add(&mut known, &map(json!({"action_name": "x".repeat(KEPT_BYTES)})), &mut kept));
    }
}
