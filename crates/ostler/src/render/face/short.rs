//! Short durations and sizes for narrow columns.

use ostler_core::message;

/// Formats an age as `13s`, `14m`, `47h` or `12d`.
pub(crate) fn short_age(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Formats a size as `108 MB`: base 1024, as in `max_memory_restart`.
pub(crate) fn memory(bytes: u64) -> String {
    ostler_core::text::units::size_text(bytes)
}

/// Formats the duration of an action as `0.4 s` or `2 min 5 s`.
pub(crate) fn seconds(ms: u64) -> String {
    match ms {
        0..60_000 => message!("{seconds}.{tenths} s", seconds = ms / 1000, tenths = ms % 1000 / 100),
        _ => message!("{minutes} min {seconds} s", minutes = ms / 60_000, seconds = ms / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_use_the_largest_fitting_unit() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (172_799, "47h"), (172_800, "2d"), (8_640_000, "100d")]
        {
            assert_eq!(short_age(seconds * 1000 + 999), text);
        }
    }

    #[test]
    fn sizes_have_at_most_four_characters_and_a_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KB"),
            (113_246_208, "108 MB"),
            (1 << 30, "1.0 GB"),
            (15 << 30, "15 GB"),
            (3 << 40, "3.0 TB"),
            (u64::MAX, "16777216 TB"),
        ] {
            assert_eq!(memory(bytes), text);
        }
    }

    #[test]
    fn actions_are_timed_in_tenths_of_a_second() {
        assert_eq!([seconds(0), seconds(460), seconds(59_999), seconds(125_000)], ["0.0 s", "0.4 s", "59.9 s", "2 min 5 s"]);
    }
}
