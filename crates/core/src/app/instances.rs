//! Instances of an app: their count, their numbers, and the order of removal.

use crate::message;

/// Largest number of instances of one app; a larger number is treated as a mistake.
pub const MAX_INSTANCES: u32 = 10_000;

/// Reason why a number of instances is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstancesError {
    /// Neither a number nor `max`.
    #[error("{}", message!("{text} is not a valid number of instances (accepted: a number, \"max\" or 0 for one per CPU, -1 for one less)", text = format!("{_0:?}")))]
    NotANumber(String),
    /// More than [`MAX_INSTANCES`].
    #[error("{}", message!("{count} instances are too many (at most {most})", count = _0, most = MAX_INSTANCES))]
    TooMany(i64),
}

/// Reads a number of instances: `max` is 0, anything else must be a whole number.
///
/// # Errors
/// Returns an error for any other text. PM2 differs: it treats any other text as `max`.
pub fn parse(text: &str) -> Result<i64, InstancesError> {
    match text.trim() {
        "max" => Ok(0),
        number => number.parse().map_err(|_| InstancesError::NotANumber(text.chars().take(40).collect())),
    }
}

/// Returns the number of instances: 0 is one per CPU, -n is n fewer than that, at least one.
///
/// # Errors
/// Returns an error for more than [`MAX_INSTANCES`].
pub fn resolve(wish: i64, cpus: u32) -> Result<u32, InstancesError> {
    let cpus = cpus.clamp(1, MAX_INSTANCES);
    if wish <= 0 {
        return Ok(u32::try_from(i64::from(cpus).saturating_add(wish)).unwrap_or(1).max(1));
    }
    u32::try_from(wish).ok().filter(|count| *count <= MAX_INSTANCES).ok_or(InstancesError::TooMany(wish))
}

/// Returns the lowest instance number (`NODE_APP_INSTANCE`) that is not in use.
pub fn lowest_free(used: &[u32]) -> u32 {
    let mut used = used.to_vec();
    used.sort_unstable();
    used.dedup();
    // In sorted order, the first number that differs from its index marks a gap.
    (0..).zip(&used).find(|(place, number)| place != *number).map_or(used.len() as u32, |(place, _)| place)
}

/// Order in which the instances of an app are removed when it scales down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaving {
    /// Highest numbers first, because many apps do one-time work in number 0. PM2 differs: it
    /// removes the oldest first. Under the name `pm2`, ostler does the same, because scripts see
    /// the ids.
    #[default]
    Newest,
    /// Lowest ids first.
    Oldest,
}

/// Returns the instances to remove, in order. `instances` are pairs of id and number; `too_many` is
/// the number of instances to remove.
pub fn leaving(instances: &[(u32, u32)], too_many: usize, first: Leaving) -> Vec<u32> {
    let mut instances = instances.to_vec();
    match first {
        Leaving::Newest => instances.sort_unstable_by_key(|(id, number)| std::cmp::Reverse((*number, *id))),
        Leaving::Oldest => instances.sort_unstable(),
    }
    instances.into_iter().take(too_many).map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_count_is_parsed_and_resolved() {
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
    fn lowest_free_number_is_chosen() {
        for (used, expected) in [(&[][..], 0), (&[0], 1), (&[1, 2], 0), (&[2, 0], 1), (&[0, 1, 2], 3), (&[0, 0, 5], 1), (&[u32::MAX], 0)] {
            assert_eq!(lowest_free(used), expected, "{used:?}");
        }
    }

    #[test]
    fn scale_down_removes_newest_or_oldest_first() {
        let instances = [(4, 1), (7, 0), (2, 2)];
        for (too_many, newest, oldest) in [(0, &[][..], &[][..]), (1, &[2], &[2]), (2, &[2, 4], &[2, 4]), (9, &[2, 4, 7], &[2, 4, 7])] {
            assert_eq!(leaving(&instances, too_many, Leaving::Newest), newest);
            assert_eq!(leaving(&instances, too_many, Leaving::Oldest), oldest);
        }
        let plain = [(0, 0), (1, 1), (2, 2)];
        assert_eq!(leaving(&plain, 2, Leaving::Newest), [2, 1]);
        assert_eq!(leaving(&plain, 2, Leaving::Oldest), [0, 1]);
    }
}
