//! Marks of resolved groups; bounded. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Maximum number of marks; beyond it, the oldest is removed.
const MARKS: usize = 1000;
/// Maximum length of the name of the user who set a mark.
const WHO: usize = 128;

/// Marks of resolved groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resolved {
    marks: BTreeMap<String, ResolvedMark>,
}

/// Mark of a resolved group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedMark {
    /// Wall clock, ms.
    pub at: u64,
    /// User who set the mark.
    pub by: String,
}

impl Resolved {
    /// Returns the mark of a group.
    pub fn mark_of(&self, id: &str) -> Option<&ResolvedMark> {
        self.marks.get(id)
    }

    pub(super) fn at(&self, id: &str) -> Option<u64> {
        self.marks.get(id).map(|mark| mark.at)
    }

    pub(super) fn mark(&mut self, id: &str, at: u64, by: &str) {
        self.marks.insert(id.to_owned(), ResolvedMark { at, by: by.chars().take(WHO).collect() });
        while self.marks.len() > MARKS
            && let Some(oldest) = self.marks.iter().min_by_key(|(_, mark)| mark.at).map(|(id, _)| id.clone())
        {
            self.marks.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_marks_are_dropped_beyond_the_limit() {
        let mut many = Resolved::default();
        (0..5000_u64).for_each(|n| many.mark(&n.to_string(), n, &"y".repeat(5000)));
        assert!(many.marks.len() == MARKS && many.at("0").is_none() && many.mark_of("4999").unwrap().by.len() == WHO);
    }
}
