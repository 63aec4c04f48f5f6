//! Schedules in the syntax of other schedulers.
//!
//! ostler's syntax ([`ostler_core::cron`]) has seconds, `L`, `W`, `#`, and requires both day fields
//! to match. Other schedulers support less, or give the same text another meaning; such a text is
//! not written.

use ostler_core::marked;

/// Pattern as the values of its fields, without the special words for days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    second: Vec<u32>,
    minute: Vec<u32>,
    hour: Vec<u32>,
    day: Vec<u32>,
    month: Vec<u32>,
    weekday: Vec<u32>,
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Reason why a schedule cannot be written elsewhere.
pub(crate) type Reason = &'static str;

impl Fields {
    /// Reads a pattern that is known to be valid.
    ///
    /// # Errors
    /// Returns an error if it has a word that only ostler supports.
    pub(crate) fn parse(pattern: &str) -> Result<Self, Reason> {
        let pattern = match pattern.trim().to_ascii_lowercase().as_str() {
            "@hourly" => "0 * * * *".to_owned(),
            "@daily" | "@midnight" => "0 0 * * *".to_owned(),
            "@weekly" => "0 0 * * 0".to_owned(),
            "@monthly" => "0 0 1 * *".to_owned(),
            "@yearly" | "@annually" => "0 0 1 1 *".to_owned(),
            _ => pattern.trim().to_owned(),
        };
        let mut words: Vec<&str> = pattern.split_whitespace().collect();
        if words.len() == 5 {
            words.insert(0, "0");
        }
        let [second, minute, hour, day, month, weekday] = words[..] else { return Err(marked!("the pattern must have five fields")) };
        let mut weekday = field(weekday, 0, 7, DAYS, 0)?;
        if weekday.contains(&7) {
            weekday.retain(|day| *day != 7);
            weekday.push(0);
            weekday.sort_unstable();
            weekday.dedup();
        }
        Ok(Self {
            second: field(second, 0, 59, &[], 0)?,
            minute: field(minute, 0, 59, &[], 0)?,
            hour: field(hour, 0, 23, &[], 0)?,
            day: field(day, 1, 31, &[], 0)?,
            month: field(month, 1, 12, MONTHS, 1)?,
            weekday,
        })
    }

    /// Returns five fields, as in Kubernetes and Nomad.
    ///
    /// # Errors
    /// Returns an error if it has seconds, or both day fields, of which classic cron needs only one
    /// to match.
    pub(crate) fn five(&self) -> Result<String, Reason> {
        if self.second != [0] {
            return Err(marked!("seconds are not supported"));
        }
        if self.day.len() < 31 && self.weekday.len() < 7 {
            return Err(marked!("it runs if day of month or weekday matches, not only if both match"));
        }
        let text = |values: &[u32], first, last| listed(values, first, last, "*", ",", "-");
        Ok(format!(
            "{} {} {} {} {}",
            text(&self.minute, 0, 59),
            text(&self.hour, 0, 23),
            text(&self.day, 1, 31),
            text(&self.month, 1, 12),
            text(&self.weekday, 0, 6)
        ))
    }

    /// Returns `OnCalendar` of systemd, where both day fields count, too.
    pub(crate) fn calendar(&self, zone: Option<&str>) -> String {
        let number = |values: &[u32], first: u32, last: u32| {
            let two = |value: u32| format!("{value:02}");
            if values.len() as u32 == last - first + 1 {
                "*".to_owned()
            } else {
                values.iter().map(|v| two(*v)).collect::<Vec<_>>().join(",")
            }
        };
        let mut out = String::new();
        if self.weekday.len() < 7 {
            let names = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
            let days: Vec<&str> = self.weekday.iter().filter_map(|day| names.get(*day as usize).copied()).collect();
            out.push_str(&format!("{} ", days.join(",")));
        }
        out.push_str(&format!("*-{}-{} ", number(&self.month, 1, 12), number(&self.day, 1, 31)));
        out.push_str(&format!("{}:{}:{}", number(&self.hour, 0, 23), number(&self.minute, 0, 59), number(&self.second, 0, 59)));
        if let Some(zone) = zone {
            out.push_str(&format!(" {zone}"));
        }
        out
    }
}

/// Returns the values of a field.
fn field(text: &str, first: u32, last: u32, names: &[&str], base: u32) -> Result<Vec<u32>, Reason> {
    const SPECIAL: Reason = marked!("`L`, `W` and `#` are not supported");
    // Sunday as 7 is a valid value, but not an additional day.
    let end = if last == 7 { 6 } else { last };
    let value = |word: &str| -> Result<u32, Reason> {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(word)).and_then(|at| u32::try_from(at).ok());
        named.map(|at| at + base).or_else(|| word.parse().ok()).filter(|value| (first..=last).contains(value)).ok_or(SPECIAL)
    };
    let mut all = Vec::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0).ok_or(SPECIAL)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (first, end),
            Some((from, to)) => (value(from)?, value(to)?),
            None => (value(range)?, if step.is_some() { end } else { value(range)? }),
        };
        all.extend((from..=to).step_by(step.unwrap_or(1) as usize));
    }
    all.sort_unstable();
    all.dedup();
    if all.is_empty() { Err(SPECIAL) } else { Ok(all) }
}

/// Writes values in short form: all of them, steps from the first, ranges.
fn listed(values: &[u32], first: u32, last: u32, all: &str, comma: &str, dash: &str) -> String {
    if values.len() as u32 == last - first + 1 {
        return all.to_owned();
    }
    if let [a, b, ..] = values
        && *a == first
        && values.len() > 2
        && values.iter().copied().eq((first..=last).step_by((b - a) as usize))
        && b - a > 1
    {
        return format!("{all}/{}", b - a);
    }
    let mut parts: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(start) = values.get(at) {
        let mut end = at;
        while values.get(end + 1).is_some_and(|next| *next == values[end] + 1) {
            end += 1;
        }
        match end - at {
            0 => parts.push(start.to_string()),
            1 => parts.extend([start.to_string(), values[end].to_string()]),
            _ => parts.push(format!("{start}{dash}{}", values[end])),
        }
        at = end + 1;
    }
    parts.join(comma)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn five_converts_patterns_or_explains_refusal() {
        for (pattern, expected) in [
            ("0 3 * * *", Ok("0 3 * * *")),
            ("*/15 * * * *", Ok("*/15 * * * *")),
            ("0 0 3 * * *", Ok("0 3 * * *")),
            ("5/20 9-17 ? JAN-MAR mon-fri", Ok("5,25,45 9-17 * 1-3 1-5")),
            ("0 0 * * 7", Ok("0 0 * * 0")),
            ("0 0 * * 5-7", Ok("0 0 * * 0,5,6")),
            ("@weekly", Ok("0 0 * * 0")),
            ("@YEARLY", Ok("0 0 1 1 *")),
            ("30 0 3 * * *", Err("seconds are not supported")),
            ("0 0 L * *", Err("`L`, `W` and `#` are not supported")),
            ("0 0 * * 5#2", Err("`L`, `W` and `#` are not supported")),
            ("0 0 13 * 5", Err("it runs if day of month or weekday matches, not only if both match")),
        ] {
            assert_eq!(Fields::parse(pattern).and_then(|fields| fields.five()).as_deref(), expected.as_deref(), "{pattern}");
        }
    }

    #[test]
    fn calendar_writes_systemd_expression() {
        for (pattern, expected) in
            [("0 3 * * *", "*-*-* 03:00:00"), ("*/30 * * * *", "*-*-* *:00,30:00"), ("30 0 3 13 * 5", "Fri *-*-13 03:00:30")]
        {
            assert_eq!(Fields::parse(pattern).map(|fields| fields.calendar(None)).as_deref(), Ok(expected), "{pattern}");
        }
        assert_eq!(Fields::parse("@daily").map(|f| f.calendar(Some("Europe/Berlin"))).as_deref(), Ok("*-*-* 00:00:00 Europe/Berlin"));
    }

    proptest! {
        /// The written text means the same times when it is read.
        #[test]
        fn exported_pattern_parses_to_same_fields(minute in "(\\*|[0-5][0-9]?|\\*/[1-9]|[1-9]-[1-5][0-9])(,[0-5]?[0-9])?", hour in "(\\*|1?[0-9](-2[0-3])?)", weekday in "(\\*|[0-7])") {
            let pattern = format!("{minute} {hour} * * {weekday}");
            if let Ok(fields) = Fields::parse(&pattern) {
                let again = Fields::parse(&fields.five().unwrap());
                prop_assert_eq!(again, Ok(fields));
            }
        }

        #[test]
        fn parse_never_panics_on_any_text(text in "[0-9*/,?L#W a-z-]{0,30}") {
            let _ = Fields::parse(&text).and_then(|fields| fields.five());
        }
    }
}
