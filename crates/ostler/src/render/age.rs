//! Ages and sizes in PM2's forms.

/// Formats an age as `28s`, `2m`, `47h`, in the largest unit that gives at least two.
pub(crate) fn age(ms: u64) -> String {
    const UNITS: [(u64, &str); 5] = [(31_536_000, "Y"), (2_592_000, "M"), (86_400, "D"), (3_600, "h"), (60, "m")];
    let seconds = ms / 1000;
    let unit = UNITS.iter().find(|(length, _)| seconds / length > 1);
    unit.map_or_else(|| format!("{seconds}s"), |(length, unit)| format!("{}{unit}", seconds / length))
}

/// Formats a size as `51.6mb`, `0b`: base 1024, one decimal from a kilobyte up.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kb", "mb", "gb", "tb"];
    if count < 1024 {
        return format!("{count}b");
    }
    let power = (count.ilog2() / 10).min(4);
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let value = count as f64 / (1u64 << (10 * power)) as f64;
    format!("{value:.1}{}", UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_formatted_as_in_pm2() {
        for (seconds, text) in [
            (0, "0s"),
            (103, "103s"),
            (119, "119s"),
            (120, "2m"),
            (90 * 60, "90m"),
            (7199, "119m"),
            (47 * 3600, "47h"),
            (48 * 3600, "2D"),
            (59 * 86_400, "59D"),
            (60 * 86_400, "2M"),
            (800 * 86_400, "2Y"),
        ] {
            assert_eq!(age(seconds * 1000 + 999), text, "{seconds}");
        }
    }

    #[test]
    fn sizes_are_formatted_as_in_pm2() {
        for (count, text) in [
            (0, "0b"),
            (1023, "1023b"),
            (1024, "1.0kb"),
            (53_936_128, "51.4mb"),
            (1 << 30, "1.0gb"),
            (3 << 40, "3.0tb"),
            (u64::MAX, "16777216.0tb"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
