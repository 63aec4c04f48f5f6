//! View for which something is shown.

use jiff::tz::TimeZone;

use super::style::Paint;

/// The moment, time zone, room and colours of what is shown.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Wall clock, milliseconds since the epoch.
    pub now_ms: u64,
    /// Zone of the times of day.
    pub zone: TimeZone,
    /// Columns of the terminal; none when it goes elsewhere: then nothing is cut or broken.
    pub width: Option<usize>,
    /// Colours.
    pub paint: Paint,
}

impl View {
    /// The view of this moment, in the time zone of the system.
    pub(super) fn now(width: Option<usize>, paint: Paint) -> Self {
        Self { now_ms: wall_ms(), zone: TimeZone::system(), width, paint }
    }

    /// A view at a moment of a test, in UTC and without colours.
    #[cfg(test)]
    pub(crate) fn played(now_ms: u64, width: Option<usize>) -> Self {
        Self { now_ms, zone: TimeZone::UTC, width, paint: Paint(false) }
    }

    /// The same view in colours.
    #[cfg(test)]
    pub(crate) fn colored(&self) -> Self {
        Self { paint: Paint(true), ..self.clone() }
    }

    /// The same view without colours.
    pub(crate) fn plain(&self) -> Self {
        Self { paint: Paint(false), ..self.clone() }
    }

    /// Local time of day: `03:55:45`.
    pub(crate) fn time_of_day(&self, ms: u64) -> String {
        self.local(ms).split_off("2026-11-21 ".len())
    }

    /// Local time for people: `2026-11-21 03:55:45`.
    pub(super) fn local(&self, ms: u64) -> String {
        self.zoned(ms).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Local time with its zone: `2026-11-21 03:55:45 CET`. A schedule may have another zone than the reader.
    pub(super) fn local_with_zone(&self, ms: u64) -> String {
        self.zoned(ms).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }

    fn zoned(&self, ms: u64) -> jiff::Zoned {
        let stamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
        stamp.to_zoned(self.zone.clone())
    }

    /// Time since then, ms.
    pub(super) fn since(&self, ms: u64) -> u64 {
        self.now_ms.saturating_sub(ms)
    }
}

/// Milliseconds since the epoch.
fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
