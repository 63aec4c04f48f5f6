//! View for which output is rendered.

use jiff::tz::TimeZone;

use super::style::Paint;

/// Time, time zone, width and colours of an output.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Wall clock, milliseconds since the epoch.
    pub now_ms: u64,
    /// Time zone of the times of day.
    pub zone: TimeZone,
    /// Width of the terminal; none without a terminal: then no text is cut or wrapped.
    pub width: Option<usize>,
    /// Colours.
    pub paint: Paint,
}

impl View {
    /// Returns the view of this moment, in the time zone of the system.
    pub(super) fn now(width: Option<usize>, paint: Paint) -> Self {
        Self { now_ms: wall_ms(), zone: TimeZone::system(), width, paint }
    }

    /// Returns the view of a moment in a test, in UTC and without colours.
    #[cfg(test)]
    pub(crate) fn played(now_ms: u64, width: Option<usize>) -> Self {
        Self { now_ms, zone: TimeZone::UTC, width, paint: Paint(false) }
    }

    /// Returns the same view in colours.
    #[cfg(test)]
    pub(crate) fn colored(&self) -> Self {
        Self { paint: Paint(true), ..self.clone() }
    }

    /// Returns the same view without colours.
    pub(crate) fn plain(&self) -> Self {
        Self { paint: Paint(false), ..self.clone() }
    }

    /// Returns the same view with this number of columns less.
    pub(crate) fn narrower(&self, columns: usize) -> Self {
        Self { width: self.width.map(|width| width.saturating_sub(columns).max(1)), ..self.clone() }
    }

    /// Formats a local time of day: `03:55:45`.
    pub(crate) fn time_of_day(&self, ms: u64) -> String {
        self.local(ms).split_off("2026-11-21 ".len())
    }

    /// Formats a local time of day with milliseconds: `03:55:45.120`.
    pub(crate) fn time_of_day_ms(&self, ms: u64) -> String {
        format!("{}.{:03}", self.time_of_day(ms), ms % 1000)
    }

    /// Formats the local date: `2026-11-21`.
    pub(crate) fn date(&self, ms: u64) -> String {
        let mut text = self.local(ms);
        text.truncate("2026-11-21".len());
        text
    }

    /// Formats a local time for a narrow column: `03:55:45` today, `11-20 03:55` this year, else
    /// `2025-11-20`.
    pub(crate) fn short_time(&self, ms: u64) -> String {
        let (date, today) = (self.date(ms), self.date(self.now_ms));
        match date {
            date if date == today => self.time_of_day(ms),
            date if date.get(..4) == today.get(..4) => self.zoned(ms).strftime("%m-%d %H:%M").to_string(),
            date => date,
        }
    }

    /// Formats a local time for users: `2026-11-21 03:55:45`.
    pub(super) fn local(&self, ms: u64) -> String {
        self.zoned(ms).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Formats a local time with its zone: `2026-11-21 03:55:45 CET`. A schedule may have another
    /// zone than the reader.
    pub(super) fn local_with_zone(&self, ms: u64) -> String {
        self.zoned(ms).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }

    fn zoned(&self, ms: u64) -> jiff::Zoned {
        let stamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
        stamp.to_zoned(self.zone.clone())
    }

    /// Returns the time since that moment, ms.
    pub(super) fn since(&self, ms: u64) -> u64 {
        self.now_ms.saturating_sub(ms)
    }
}

/// Returns the wall clock in milliseconds since the epoch.
fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_name_the_day_unless_it_is_today() {
        // 2026-11-21 03:56:40 UTC
        let now_ms = 1_795_233_400_000;
        let view = View::played(now_ms, None);
        let at = |days_ago: u64| view.short_time(now_ms - days_ago * 86_400_000);
        assert_eq!((at(0), at(1), at(400)), ("03:56:40".into(), "11-20 03:56".into(), "2025-10-17".into()));
        assert_eq!(view.time_of_day_ms(now_ms + 7), "03:56:40.007");
    }
}
