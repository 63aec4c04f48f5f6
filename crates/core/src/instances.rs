//! How many instances, which number each has, which ones go.

/// More instances of one app are taken for a mistake.
pub const MAX_INSTANCES: u32 = 10_000;

/// A wish that cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstancesError {
    /// Neither a number nor `max`.
    #[error("{0:?} is no number of instances (accepted: a number, \"max\" or 0 for one per CPU, -1 for one less)")]
    NotANumber(String),
    /// More than [`MAX_INSTANCES`].
    #[error("{0} instances are too many (at most {MAX_INSTANCES})")]
    TooMany(i64),
}

/// `max` is 0, anything else a whole number.
///
/// # Errors
/// Anything else. PM2 differs: it takes any other text for `max`.
pub fn parse(text: &str) -> Result<i64, InstancesError> {
    match text.trim() {
        "max" => Ok(0),
        number => number.parse().map_err(|_| InstancesError::NotANumber(text.chars().take(40).collect())),
    }
}

/// The number of instances for a wish: 0 is one per CPU, -n is n less than that, at least one.
///
/// # Errors
/// More than [`MAX_INSTANCES`].
pub fn resolve(wish: i64, cpus: u32) -> Result<u32, InstancesError> {
    let cpus = cpus.clamp(1, MAX_INSTANCES);
    if wish <= 0 {
        return Ok(u32::try_from(i64::from(cpus).saturating_add(wish)).unwrap_or(1).max(1));
    }
    u32::try_from(wish).ok().filter(|count| *count <= MAX_INSTANCES).ok_or(InstancesError::TooMany(wish))
}

/// The lowest instance number (`NODE_APP_INSTANCE`) that is not in use.
pub fn lowest_free(used: &[u32]) -> u32 {
    let mut used = used.to_vec();
    used.sort_unstable();
    used.dedup();
    // In sorted order the first one that is not at its own place leaves a gap there.
    (0..).zip(&used).find(|(place, number)| place != *number).map_or(used.len() as u32, |(place, _)| place)
}

/// What `scale` has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Make so many more.
    Add(u32),
    /// Delete these.
    Remove(Vec<u32>),
    /// It is as wished.
    Nothing,
}

/// From the ids of an app to so many instances. The lowest ids go first, as in PM2.
pub fn scale(ids: &[u32], to: u32) -> Scale {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    let (have, to) = (ids.len(), to as usize);
    match have.cmp(&to) {
        std::cmp::Ordering::Less => Scale::Add(u32::try_from(to - have).unwrap_or(u32::MAX)),
        std::cmp::Ordering::Equal => Scale::Nothing,
        std::cmp::Ordering::Greater => {
            ids.truncate(have - to);
            Scale::Remove(ids)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes() {
        for (text, cpus, expected) in [
            ("1", 8, 1),
            ("max", 8, 8),
            (" 0 ", 8, 8),
            ("-1", 8, 7),
            ("-7", 8, 1),
            ("-9", 8, 1),
            ("-1", 1, 1),
            ("16", 8, 16),
            ("10000", 8, 10_000),
            ("max", 0, 1),
            ("-9223372036854775808", 8, 1),
        ] {
            assert_eq!(parse(text).and_then(|wish| resolve(wish, cpus)), Ok(expected), "{text} on {cpus}");
        }
        for text in ["", "many", "1.5", "0x2", "MAX", "99999999999999999999"] {
            assert!(matches!(parse(text), Err(InstancesError::NotANumber(_))), "{text}");
        }
        assert_eq!(resolve(10_001, 8), Err(InstancesError::TooMany(10_001)));
    }

    #[test]
    fn free_numbers() {
        for (used, expected) in [(&[][..], 0), (&[0], 1), (&[1, 2], 0), (&[2, 0], 1), (&[0, 1, 2], 3), (&[0, 0, 5], 1), (&[u32::MAX], 0)] {
            assert_eq!(lowest_free(used), expected, "{used:?}");
        }
    }

    #[test]
    fn scaling() {
        assert_eq!(scale(&[3, 1, 2], 5), Scale::Add(2));
        assert_eq!(scale(&[3, 1, 2], 3), Scale::Nothing);
        assert_eq!(scale(&[3, 1, 2], 1), Scale::Remove(vec![1, 2]));
        assert_eq!(scale(&[3, 1, 2], 0), Scale::Remove(vec![1, 2, 3]));
        assert_eq!(scale(&[], 2), Scale::Add(2));
    }
}
